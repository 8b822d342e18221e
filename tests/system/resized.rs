//! A publisher comes back with a smaller picture, and nobody who watches is left without segments.

use crate::http;
use crate::media::{Publisher, play_all};
use crate::network::Network;
use crate::playlist::Watch;
use crate::process::wait_for;
use std::time::Duration;

/// Until the next segments are out.
const PATIENCE: Duration = Duration::from_secs(40);

/// Publishes a made-up picture of this size with a keyframe every two seconds.
fn publish(network: &Network, size: &str) -> Publisher {
    let picture = format!("testsrc2=size={size}:rate=25");
    let arguments = ["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"]
        .into_iter()
        .chain(["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "50", "-c:a", "aac"])
        .map(AsRef::as_ref)
        .collect::<Vec<&std::ffi::OsStr>>();
    Publisher::start(&arguments, &network.rtmp(&network.live.key))
}

#[test]
fn a_smaller_picture_leaves_no_rung_without_segments() {
    let network = Network::start(&["--source", "none"]);
    let large = publish(&network, "854x480");
    let mut watch = Watch::new(network.master(&network.live.name));
    watch.until_more(2, PATIENCE);
    large.vanish();
    let small = publish(&network, "640x360");
    let url = watch.last.as_ref().unwrap().variants.iter().find(|v| v.name == "480p").unwrap().url.clone();
    // Not every variant goes on in the master playlist: the source does.
    let from = watch.seen["source"].keys().last().copied().unwrap();
    wait_for("the smaller picture is out", PATIENCE, || {
        watch.look()?;
        let newest = watch.seen["360p"].keys().last().copied().unwrap();
        if newest >= from + 4 { Ok(()) } else { Err(format!("the newest is {newest}, it was {from}")) }
    });
    let names: Vec<_> = watch.last.as_ref().unwrap().variants.iter().map(|v| v.name.clone()).collect();
    assert!(!names.contains(&"480p".to_owned()), "{names:?}");

    // A player that had chosen 480p reads on there.
    let text = String::from_utf8(http::get(&url).unwrap()).unwrap();
    assert!(text.contains("\n../360p/") && text.contains("#EXT-X-DISCONTINUITY\n"), "{text}");
    let gaps = text.matches("#EXT-X-GAP").count();
    assert!(gaps <= 1, "more than the segment that the lost publisher had begun: {text}");
    for name in ["source", "360p", "480p"] {
        play_all(&url.replace("480p", name));
    }
    small.stop();
    network.assert_well();
}
