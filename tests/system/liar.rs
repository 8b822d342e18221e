//! A transcoder returns something else than the stream. It is caught, not paid and replaced, and no viewer sees it.

use crate::http::{get, get_json};
use crate::media::{Publisher, cuts, likeness, size};
use crate::network::Network;
use crate::playlist::Watch;
use crate::process::wait_for;
use serde_json::Value;
use std::time::Duration;

/// Until the liar has had a segment and the honest one has made what followed.
const CAUGHT: Duration = Duration::from_secs(60);
/// An honest 360p rendition of these pictures is above 0.95 in its worst frame, another of the pictures is below 0.7.
const SAME_PICTURE: f64 = 0.8;

fn assert_caught(lie: &str) {
    let network = Network::start(&["--source", "none", "--verify-before-publish", "--liar", lie]);
    let liar = network.transcoder_address(0).unwrap();
    let is_liar = |address: &Value| address.as_str().is_some_and(|a| a.eq_ignore_ascii_case(&liar));
    let _publisher = Publisher::file(cuts(), -1, &network.rtmp(&network.live.key));
    let mut watch = Watch::new(network.master(&network.live.name));

    let caught = wait_for("the lie is caught", CAUGHT, || {
        watch.look().or_else(|error| if watch.seen.is_empty() { Ok(()) } else { Err(error) })?;
        let segments = network.segments()?;
        segments
            .iter()
            .find(|s| is_liar(&s["worker"]) && s["result"] == "fail")
            .cloned()
            .ok_or_else(|| format!("{segments:?}"))
    });
    assert!(caught["fault"].as_str().is_some_and(|fault| !fault.is_empty()), "no fault named: {caught}");
    let suspended = wait_for("the liar is suspended", CAUGHT, || {
        watch.look()?;
        let all = network.transcoders()?;
        all.iter()
            .find(|t| is_liar(&t["address"]) && t["state"] == "suspended")
            .cloned()
            .ok_or_else(|| format!("{all:?}"))
    });
    assert!(
        suspended["suspended"]["reason"].as_str().is_some_and(|reason| !reason.is_empty()),
        "no reason named: {suspended}"
    );

    assert_evidence(&network, &caught);

    // What followed was made by the other one, and the viewer has seen the stream itself all the time.
    watch.until_more(4, CAUGHT);
    watch.assert_whole();
    for (seq, (_, rendition)) in &watch.seen["360p"] {
        let Some((_, source)) = watch.seen["source"].get(seq) else { continue };
        let likeness = likeness(source, rendition, 640, 360);
        assert!(likeness > SAME_PICTURE, "segment {seq} as published is like its source to {likeness}");
    }

    // One that repeats the previous segment has nothing to repeat for its first, and is paid for that one only.
    let segments = network.segments().unwrap();
    let of_liar: Vec<_> = segments.iter().filter(|s| is_liar(&s["worker"])).collect();
    let passed: Vec<_> = of_liar.iter().filter(|s| s["result"] == "pass").collect();
    assert!(passed.len() <= usize::from(lie == "previous"), "a lie passed: {passed:?}");
    for failed in of_liar.iter().filter(|s| s["result"] != "pass") {
        assert!(failed["paid_wei"].is_null() || failed["paid_wei"] == "0", "a lie was paid: {failed}");
    }
    let tickets = get_json(&format!("{}/api/v1/tickets", network.ready.transcoder_apis[0])).unwrap();
    assert_eq!(tickets["received"]["count"], passed.len(), "the liar got a ticket for a lie: {tickets}");
    let honest = get_json(&format!("{}/api/v1/tickets", network.ready.transcoder_apis[1])).unwrap();
    assert_ne!(honest["received"]["count"], 0, "the honest one got none: {honest}");
}

/// The evidence of what was `caught` is there, to look at and to judge again.
fn assert_evidence(network: &Network, caught: &Value) {
    let api = format!("{}/api/v1/evidence", network.ready.orchestrator_api);
    let record = wait_for("the evidence is kept", CAUGHT, || {
        let all = get_json(&api)?;
        let same = |record: &&Value| ["seq", "attempt", "stream"].iter().all(|key| record[*key] == caught[*key]);
        all.as_array().and_then(|all| all.iter().find(same)).cloned().ok_or_else(|| all.to_string())
    });
    assert_eq!(
        caught["fault"].as_str().unwrap(),
        format!("{}: {}", words(&record["rendition"]), words(&record["fault"]))
    );
    let beyond = ["luma", "chroma", "bits"].iter().any(|figure| {
        record["figures"][*figure].as_u64().unwrap() > record["figures"][format!("{figure}_limit")].as_u64().unwrap()
    });
    assert!(beyond, "no figure is beyond its limit: {record}");
    let file = |name: &str| get(&format!("{api}/{}/{name}", words(&record["id"]))).unwrap();
    let side = |name: &str| size(&file(name));
    let (width, height) = (record["width"].as_u64().unwrap(), record["height"].as_u64().unwrap());
    assert_eq!(side("rendition.jpg"), (width, height));
    assert!(side("source.jpg").0 >= width);
    let likeness = likeness(&file("source.mp4"), &file("rendition.mp4"), width, height);
    assert!(likeness < SAME_PICTURE, "the evidence shows a rendition that is like its source to {likeness}");
    assert!(get(&format!("{api}/{}/evidence.json", words(&record["id"]))).is_err());
}

fn words(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn a_transcoder_that_returns_black_is_caught_and_never_seen() {
    assert_caught("black");
}

#[test]
fn a_transcoder_that_returns_the_previous_segment_is_caught_and_never_seen() {
    assert_caught("previous");
}
