//! FFmpeg publishes by RTMP and RTMPS, the old one and the new one, and a browser plays what came of it as it comes.

use crate::browser::{Shown, Viewer};
use crate::http::{get, get_json};
use crate::media::{Publisher, pattern, recent_ffmpeg, size};
use crate::network::{Network, certificate};
use crate::playlist::Watch;
use std::ffi::OsString;
use std::time::Duration;

/// Until three segments are out in every variant.
const START: Duration = Duration::from_secs(60);

#[test]
fn ffmpeg_by_rtmp_and_rtmps_is_played_in_a_browser() {
    let dir = tempfile::tempdir().unwrap();
    let [chain, key] = certificate(dir.path());
    let secure = [
        ("MILLRACE_BROADCASTER_RTMPS_LISTEN", "127.0.0.1:0"),
        ("MILLRACE_BROADCASTER_TLS_CERTIFICATE", &chain),
        ("MILLRACE_BROADCASTER_TLS_KEY", &key),
    ];
    let network = Network::start_with(&["--source", "none"], &secure);
    let ingest = get_json(&format!("{}/api/v1/ingest", network.ready.broadcaster_api)).unwrap();
    let issuer = ["-tls_verify", "1", "-ca_file", &chain];
    for program in [OsString::from("ffmpeg")].into_iter().chain(recent_ffmpeg()) {
        for (protocol, key) in [("rtmp_url", &network.live), ("rtmps_url", &network.side)] {
            println!("{} by {protocol}", program.display());
            let url = format!("{}/{}", ingest[protocol].as_str().unwrap(), key.key);
            let secure = if protocol == "rtmps_url" { &issuer[..] } else { &[] };
            let mut arguments = pattern("640x360", &["-preset", "veryfast"]);
            arguments.extend(secure.iter().map(OsString::from));
            let publisher = Publisher::start_by(&program, &arguments, &url);
            network.until_stream_is(&key.name, "live");
            let viewers = ["360p", "source"].map(|rendition| Viewer::start(&network.master(&key.name), rendition));
            let mut watch = Watch::new(network.master(&key.name));
            watch.until_more(3, START);
            watch.assert_whole();
            watch.assert_same_frames();
            for viewer in viewers {
                let shown = viewer.shown(360);
                let Shown { latency, parts, stalls, errors, .. } = &shown;
                println!("{latency:.2} s behind live, {parts} parts, {stalls} stalls, {errors:?}");
                assert!(shown.parts > 0, "it played whole segments only");
            }
            let thumbnail = network.master(&key.name).replace("master.m3u8", "thumbnail.jpg");
            assert_eq!(size(&get(&thumbnail).unwrap()), (320, 180));
            publisher.stop();
            network.until_stream_is(&key.name, "ended");
        }
    }
    network.assert_well();
}
