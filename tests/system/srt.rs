//! FFmpeg publishes by SRT to the whole network, and every rendition is played with the source's frames and times.

use crate::browser::Viewer;
use crate::media::{Publisher, cuts, frames};
use crate::network::Network;
use crate::playlist::Watch;
use crate::process::wait_for;
use std::time::Duration;

/// Until the clip of 10 s has been published, and its last segment has made its way through the network.
const END: Duration = Duration::from_secs(60);
/// Pictures of the clip, 25 a second.
const PICTURES: usize = 250;
/// From one to the next, ticks of 90 kHz.
const STEP: i64 = 3_600;

#[test]
fn ffmpeg_publishes_by_srt_and_every_rendition_has_the_sources_frames_and_times() {
    let network = Network::start(&["--source", "none"]);
    let url = format!("{}?linger=5&streamid=#!::r={},m=publish", network.ready.srt_url, network.live.key);
    let publisher = Publisher::file(cuts(), 0, &url);
    network.until_stream_is(&network.live.name, "live");
    let viewer = Viewer::start(&network.master(&network.live.name), "360p");
    let mut watch = Watch::new(network.master(&network.live.name));
    wait_for("every playlist says that the stream has ended", END, || {
        watch.look()?;
        let variants = watch.last.iter().flat_map(|master| &master.variants);
        let open: Vec<_> = variants.filter(|v| !v.media.ended).map(|v| v.name.clone()).collect();
        if open.is_empty() { Ok(()) } else { Err(format!("{open:?} go on")) }
    });
    let (status, said) = publisher.ended(END);
    assert!(status.success(), "{said}");
    network.until_stream_is(&network.live.name, "ended");

    watch.assert_whole();
    watch.assert_same_frames();
    let source = watch.seen["source"].values().flat_map(|(_, bytes)| frames(bytes).unwrap());
    let times: Vec<i64> = source.map(|frame| frame.pts).collect();
    assert_eq!(times.len(), PICTURES);
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == STEP), "{times:?}");
    watch.assert_plays(&["360p", "source"]);
    viewer.shown(360);
    network.assert_well();
    assert!(!network.logs().contains(&network.live.key), "a key is in the logs");
}
