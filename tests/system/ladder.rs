//! A real ffmpeg pushes by RTMP, and each variant of the ladder is what its source says it is.

use crate::media::{Publisher, clip, frames, play};
use crate::network::Network;
use crate::playlist::{Watch, read};
use crate::process::wait_for;
use std::time::Duration;

/// A file, and the variants that it must give: name, width, height.
struct Expected {
    clip: &'static str,
    frame_rate: f64,
    variants: &'static [(&'static str, u64, u64)],
}

const EXPECTED: [Expected; 2] = [
    Expected {
        clip: "bigbuckbunny.mp4",
        frame_rate: 25.0,
        variants: &[("360p", 640, 360), ("480p", 854, 480), ("720p", 1280, 720), ("source", 1280, 720)],
    },
    Expected { clip: "livepeer-rtmp.flv", frame_rate: 30.0, variants: &[("360p", 640, 360), ("source", 640, 360)] },
];
/// Until the third segment is out: publishing starts at an IDR, and a segment is two seconds or the clip's own GOP.
const START: Duration = Duration::from_secs(40);

/// The last segments' way through the network, or the origin's patience with them (`LINGER`), and some.
const END: Duration = Duration::from_secs(20);

#[test]
fn each_variant_has_its_size_and_its_sources_frames() {
    for Expected { clip: name, frame_rate, variants } in EXPECTED {
        // A network for each: on a key that was used before, segments of the clip before would be listed still.
        let network = Network::start(&["--source", "none"]);
        let Some(path) = clip(name) else { continue };
        let publisher = Publisher::file(&path, -1, &network.rtmp(&network.live.key));
        network.until_stream_is(&network.live.name, "live");
        let mut watch = Watch::new(network.master(&network.live.name));
        watch.until_more(3, START);
        watch.assert_whole();

        let master = watch.last.as_ref().unwrap();
        let mut listed: Vec<_> =
            master.variants.iter().map(|v| (v.name.as_str(), v.width.unwrap(), v.height.unwrap())).collect();
        listed.sort_unstable();
        assert_eq!(listed, variants, "{name}");
        for variant in &master.variants {
            let of = format!("{name}, {}", variant.name);
            assert!(
                variant.codecs.contains("avc1.") && variant.codecs.contains("mp4a.40.2"),
                "{of}: {}",
                variant.codecs
            );
            assert!(variant.audio, "{of}: no audio group");
            assert!(
                (variant.frame_rate.unwrap() - frame_rate).abs() < 0.1,
                "{of}: {:?} frames a second",
                variant.frame_rate
            );
            assert_eq!(variant.media.target_duration, master.audio[0].media.target_duration, "{of}");
            assert!(variant.media.segments.iter().all(|s| s.at.is_some()), "{of}: no program date time");
        }

        watch.assert_same_frames();
        for (variant, width, height) in variants {
            let newest = &watch.seen[*variant].values().next_back().unwrap().1;
            let decoded = frames(newest).unwrap();
            assert!(
                decoded.iter().all(|f| (f.width, f.height) == (*width, *height)),
                "{name}, {variant}: {:?}",
                decoded[0]
            );
        }
        for variant in &master.variants {
            play(&variant.url, 30);
        }

        publisher.stop();
        network.until_stream_is(&network.live.name, "ended");
        // A rendition ends when its last segment is in, or has been given up.
        wait_for("every playlist says that the stream has ended", END, || {
            let ended = read(&network.master(&network.live.name))?;
            let open: Vec<_> = ended.variants.iter().filter(|v| !v.media.ended).map(|v| v.name.clone()).collect();
            if open.is_empty() && ended.audio.iter().all(|a| a.media.ended) {
                Ok(())
            } else {
                Err(format!("{name}: {open:?} go on"))
            }
        });
        network.assert_well();
    }
}
