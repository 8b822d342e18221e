//! A publisher behind address translation, and a network behind another with its public address configured: `nat.sh` has the wires.

use crate::media::recent_ffmpeg;
use crate::network::alone;
use crate::process::output;
use std::io::Write;
use std::process::Command;

/// Pictures that are published, and those that may be missing: what FFmpeg sent before its first keyframe was asked for again.
const PICTURES: u32 = 180;
const MISSING: u32 = 30;

#[test]
fn whip_passes_address_translation_on_both_sides() {
    let Some(program) = recent_ffmpeg() else { return };
    let rules = "nft add table ip nat && nft add chain ip nat out '{ type nat hook postrouting priority srcnat; }'";
    if let Err(why) = output(Command::new("unshare").args(["--mount", "--net", "sh", "-c", rules])) {
        let _ = writeln!(std::io::stderr(), "\nskipped: no network namespaces with nftables, which want root: {why}");
        return;
    }
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/system/nat.sh");
    let mut wired = Command::new("unshare");
    wired.args(["--mount", "--net", script, env!("CARGO_BIN_EXE_millrace")]).arg(program).arg(dir.path());
    let said = output(&mut wired).unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let pictures = said.lines().find_map(|line| line.strip_prefix("pictures: ")?.parse::<u32>().ok());
    assert!((PICTURES - MISSING..=PICTURES).contains(&pictures.unwrap()), "{said}");
}
