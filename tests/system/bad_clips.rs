//! Input that breaks naive pipelines plays, and the stream beside it does not notice.

use crate::media::{Publisher, clip, cuts};
use crate::network::Network;
use crate::playlist::Watch;
use crate::process::wait_for;
use std::time::Duration;

/// How long a clip may take to show that it plays.
const VERDICT: Duration = Duration::from_secs(40);

/// Publishes the clip beside a good stream, and fails unless both play whole.
fn assert_plays(name: &str, again: i32) {
    let Some(path) = clip(name) else { return };
    let network = Network::start(&["--source", "none"]);
    let mut good = Publisher::file(cuts(), -1, &network.rtmp(&network.side.key));
    let mut side = Watch::new(network.master(&network.side.name));
    side.until_more(1, VERDICT);

    let mut bad = Publisher::file(&path, again, &network.rtmp(&network.live.key));
    let mut watch = Watch::new(network.master(&network.live.name));
    wait_for(&format!("{name} plays"), VERDICT, || {
        side.look()?;
        watch
            .look()
            .map_err(|error| format!("{error}; the encoder {}", if bad.is_running() { "runs" } else { "has ended" }))?;
        let listed: Vec<_> = watch.seen.iter().map(|(variant, of)| (variant, of.len())).collect();
        if listed.len() > 1 && watch.newest().is_some() { Ok(()) } else { Err(format!("segments listed: {listed:?}")) }
    });
    watch.assert_whole();
    watch.assert_same_frames();

    side.until_more(3, VERDICT);
    side.assert_whole();
    let discontinuities = side.seen.values().flat_map(|of| of.values()).filter(|(s, _)| s.discontinuity).count();
    assert_eq!(discontinuities, 0, "{name} has broken the stream beside it");
    assert!(good.is_running(), "{name} has ended the stream beside it");
    network.assert_well();
}

#[test]
fn a_clip_with_missing_timestamps_plays() {
    assert_plays("missing-dts.ts", 2);
}

#[test]
fn a_clip_with_422_chroma_plays() {
    assert_plays("livepeer-422.ts", 0);
}

#[test]
fn a_vertical_clip_plays() {
    assert_plays("portrait.ts", 9);
}

#[test]
fn a_clip_without_audio_plays() {
    assert_plays("bikes.mp4", 1);
}
