//! A publisher whose pictures carry closed captions: every rendition has them, and the master playlist says so.

use crate::browser::Viewer;
use crate::http::get;
use crate::media::{Publisher, captions, pattern};
use crate::network::Network;
use crate::playlist::Watch;
use crate::process::output;
use millrace_media::h264::annexb_nals;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Until three segments are out in every variant.
const START: Duration = Duration::from_secs(60);
/// Pictures a second, and of one line of captions.
const RATE: usize = 30;
const LINE: usize = 2 * RATE;

/// Ten seconds of H.264, of which every two say another line on CC1.
fn captioned(dir: &Path) -> PathBuf {
    let [plain, spoken, path] = ["plain.h264", "spoken.h264", "captioned.mp4"].map(|name| dir.join(name));
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error"]).args(pattern("640x360", &["-preset", "ultrafast", "-bf", "0", "-threads", "1"]));
    output(ffmpeg.args(["-an", "-t", "10", "-x264-params", "slices=1"]).arg(&plain)).unwrap();
    let plain = std::fs::read(plain).unwrap();
    let (mut out, mut picture) = (std::fs::File::create(&spoken).unwrap(), 0);
    for nal in annexb_nals(&plain) {
        if matches!(nal[0] & 0x1f, 1 | 5) {
            out.write_all(&message(said(picture))).unwrap();
            picture += 1;
        }
        out.write_all(&[&[0, 0, 0, 1], nal].concat()).unwrap();
    }
    assert_eq!(picture, 10 * RATE);
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-framerate", "30", "-i"]).arg(&spoken).args(["-c", "copy"]);
    output(ffmpeg.arg(&path)).unwrap();
    path
}

/// What CEA-608 says in this picture: two rows that roll up, each command twice, then the letters of a line by twos.
fn said(picture: usize) -> [u8; 2] {
    let line = format!("THIS IS LINE {} ", picture / LINE);
    let letters = line.as_bytes().chunks(2).map(|pair| [pair[0], *pair.get(1).unwrap_or(&b' ')]);
    let commands = [[0x14, 0x25], [0x14, 0x2d], [0x14, 0x70]].into_iter().flat_map(|command| [command; 2]);
    let said = commands.chain(letters).nth(picture % LINE).unwrap_or([0, 0]);
    said.map(|byte| byte | u8::from(byte.count_ones() % 2 == 0) << 7)
}

/// An SEI message with one pair of CEA-608 (ATSC A/53 part 4); nothing in it looks like a start code.
fn message([first, second]: [u8; 2]) -> Vec<u8> {
    let data = [0xb5, 0, 0x31, b'G', b'A', b'9', b'4', 3, 0x41, 0xff, 0xfc, first, second, 0xff];
    [&[0, 0, 0, 1, 6, 4, data.len() as u8], &data[..], &[0x80]].concat()
}

#[test]
fn closed_captions_are_in_every_rendition_and_shown_in_a_browser() {
    let dir = tempfile::tempdir().unwrap();
    let network = Network::start(&["--source", "none"]);
    let publisher = Publisher::file(&captioned(dir.path()), -1, &network.rtmp(&network.live.key));
    network.until_stream_is(&network.live.name, "live");
    // By parts hls.js 1.7 forgets at each what was said before.
    let viewers =
        ["360p", "source"].map(|rendition| Viewer::play_whole(&network.master(&network.live.name), rendition, 8));
    let mut watch = Watch::new(network.master(&network.live.name));
    watch.until_more(4, START);
    watch.assert_whole();
    watch.assert_same_frames();
    for name in ["360p", "source"] {
        let lines: Vec<String> = watch.seen[name].values().map(|(_, bytes)| captions(bytes)).collect();
        println!("{name}: {lines:?}");
        assert!(lines.iter().all(|line| line.contains("THIS IS LINE ")), "{name}: {lines:?}");
    }
    let master = String::from_utf8(get(&network.master(&network.live.name)).unwrap()).unwrap();
    let named = r#"#EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID="captions",NAME="CC1",INSTREAM-ID="CC1""#;
    assert!(master.contains(named) && !master.contains("CC3") && !master.contains("SERVICE"), "{master}");
    let variants = master.lines().filter(|line| line.starts_with("#EXT-X-STREAM-INF"));
    assert!(
        variants.clone().count() == 2 && variants.clone().all(|line| line.contains(r#"CLOSED-CAPTIONS="captions""#))
    );
    for viewer in viewers {
        let shown = viewer.shown(360);
        println!("a viewer could read {:?}", shown.captions);
        assert!(shown.captions.iter().any(|cue| cue.contains("THIS IS LINE ")), "{:?}", shown.captions);
    }
    publisher.stop();
    network.assert_well();
}
