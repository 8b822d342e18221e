//! A transcoder is killed in the middle of a segment.

use crate::media::{Publisher, cuts};
use crate::network::Network;
use crate::playlist::Watch;
use crate::process::{signal, wait_for};
use std::time::Duration;

/// Two segments and the transcoding of them.
const START: Duration = Duration::from_secs(30);
/// Connecting anew, a bond that is still there, and the devices found again.
const BACK: Duration = Duration::from_secs(20);

#[test]
fn a_killed_transcoder_loses_no_segment_and_comes_back() {
    let network = Network::start(&["--source", "none"]);
    let _publisher = Publisher::file(cuts(), -1, &network.rtmp(&network.live.key));
    let mut watch = Watch::new(network.master(&network.live.name));
    watch.until_more(2, START);

    // Parts flow through it all the time, so whenever it works it is in the middle of a segment.
    let addresses = [0, 1].map(|index| network.transcoder_address(index).unwrap());
    let look = |address: &str| {
        let all = network.transcoders()?;
        let one = all.iter().find(|t| t["address"].as_str().is_some_and(|a| a.eq_ignore_ascii_case(address)));
        one.cloned().ok_or_else(|| format!("{address} is not in {all:?}"))
    };
    let state = |address: &str| look(address).map(|t| t["state"].as_str().unwrap_or_default().to_owned());
    let victim = wait_for("a transcoder works", START, || {
        let states = [state(&addresses[0])?, state(&addresses[1])?];
        states.iter().position(|s| s == "working").ok_or_else(|| format!("{states:?}"))
    });
    let joined = look(&addresses[victim]).unwrap()["since"].clone();
    assert!(signal("KILL", network.ready.pids.transcoders[victim]));
    // It is started again within a second, so either its absence or its new beginning shows.
    wait_for("the orchestrator notices", BACK, || match look(&addresses[victim]) {
        Ok(now) if now["since"] == joined && now["state"] != "gone" => Err(now.to_string()),
        _ => Ok(()),
    });

    watch.until_more(5, 2 * START);
    watch.assert_whole();
    watch.assert_same_frames();
    wait_for("the killed transcoder is back", BACK, || match state(&addresses[victim])? {
        now if now == "ready" || now == "working" => Ok(()),
        now => Err(now),
    });
}
