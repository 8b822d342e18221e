//! Every call of `ffmpeg`: to make the clip, to publish it, and to make the ladder alone.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use millrace_media::transcode::X264_PRESET;
use tokio::process::Command;

use super::network::Network;
use super::{BenchArgs, BenchError, Rung, SIZE, process};
use crate::children::tail;

/// A run that makes something in a file may take this many times its length: ten times what a slow core needs.
const PATIENCE: u32 = 10;
/// A publication ends this long after its length, at the latest.
const PUBLISH_SLACK: Duration = Duration::from_secs(20);
/// What a lane of a transcoder tells x264; `crates/media/src/transcode/lane.rs` has the reasons.
const X264: &str =
    "bframes=0:threads=1:rc-lookahead=0:sync-lookahead=0:scenecut=0:keyint=infinite:open-gop=0:force-cfr=1";
/// A segment of the line is as long as the clip's group of pictures.
const KEY_FRAMES: &str = "expr:gte(t,n_forced*2)";

/// The clip: H.264 and AAC in FLV, as an encoder would send it.
pub(super) struct Clip {
    path: PathBuf,
    log: PathBuf,
    /// What it was made from.
    pub(super) from: String,
    /// Its length.
    pub(super) seconds: u32,
    pub(super) bframes: u32,
    /// Bytes of the file.
    pub(super) bytes: u64,
}

/// What one run of `ffmpeg` took.
pub(super) struct Run {
    /// Seconds of processor time.
    pub(super) cpu: f64,
    pub(super) wall: Duration,
}

impl Clip {
    /// Makes the clip in `dir`.
    pub(super) async fn make(dir: &Path, args: &BenchArgs) -> Result<Self, BenchError> {
        let (path, log) = (dir.join("clip.flv"), dir.join("ffmpeg.log"));
        let (mut command, from) = input(args.source.as_ref(), SIZE);
        let picture = format!("scale={}:{},setsar=1,fps=30,format=yuv420p", SIZE.0, SIZE.1);
        command
            .args(["-t", &args.seconds.to_string(), "-vf", &picture])
            .args(["-c:v", "libx264", "-preset", "veryfast", "-profile:v", "high", "-bf", &args.bframes.to_string()])
            .args(["-b:v", "3M", "-maxrate", "3M", "-bufsize", "3M"])
            .args(["-force_key_frames", KEY_FRAMES, "-g", "60", "-sc_threshold", "0"])
            .args(["-c:a", "aac", "-b:a", "128k", "-ac", "2", "-ar", "48000", "-f", "flv"])
            .arg(&path);
        run("ffmpeg, making the clip,", command, &log, Duration::from_secs(u64::from(args.seconds * PATIENCE))).await?;
        let bytes = std::fs::metadata(&path).map_err(BenchError::io(path.display()))?.len();
        Ok(Self { path, log, from, seconds: args.seconds, bframes: args.bframes, bytes })
    }

    /// Publishes the clip in real time for `seconds`, again and again if that is longer than it is.
    pub(super) async fn publish(&self, network: &Network, seconds: u32) -> Result<(), BenchError> {
        let mut command = command();
        command.args(["-stream_loop", "-1", "-re", "-i"]).arg(&self.path);
        command.args(["-t", &seconds.to_string(), "-c", "copy", "-f", "flv", &network.publish_url()]);
        let limit = Duration::from_secs(seconds.into()) + PUBLISH_SLACK;
        run("ffmpeg, publishing,", command, &self.log, limit).await
    }
}

/// A command with the input of a clip of this size, in a loop: `source`, or the clip that the figures are about, or a test picture with
/// noise. And its name.
pub(super) fn input(source: Option<&PathBuf>, (width, height): (u32, u32)) -> (Command, String) {
    let mut command = command();
    match source.cloned().or_else(found) {
        Some(file) => {
            command.args(["-stream_loop", "-1", "-i"]).arg(&file).args(["-map", "0:v:0", "-map", "0:a:0?"]);
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (command, format!("{name}, in a loop"))
        }
        None => {
            let picture = format!("testsrc2=size={width}x{height}:rate=30,noise=alls=20:allf=t");
            let sound = "anoisesrc=color=pink:sample_rate=48000";
            command.args(["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", sound]);
            (command, "a test picture with noise".to_owned())
        }
    }
}

/// The clip that the project's figures are about, if it is here.
fn found() -> Option<PathBuf> {
    let folder = std::env::var_os("MILLRACE_MEDIA").map_or("../shared/media".into(), PathBuf::from);
    Some(folder.join("bigbuckbunny.mp4")).filter(|file| file.is_file())
}

/// Makes the ladder from the clip as fast as it goes, with the options of a transcoder's lanes: the same decoder, scaler and
/// encoders, on single threads where the lanes have single threads, and containers that nobody keeps.
pub(super) async fn make_ladder(clip: &Clip, rungs: &[Rung]) -> Result<Run, BenchError> {
    let mut graph =
        format!("[0:v]split={}{}", rungs.len(), (0..rungs.len()).map(|n| format!("[s{n}]")).collect::<String>());
    for (n, rung) in rungs.iter().enumerate() {
        // One of the source's own size is not scaled, in a lane neither.
        let scale = match (rung.width, rung.height) {
            SIZE => "null".to_owned(),
            (width, height) => format!("scale={width}:{height}:flags=bicubic"),
        };
        graph += &format!(";[s{n}]{scale}[v{n}]");
    }
    let mut command = command();
    command.args(["-threads", "1", "-i"]).arg(&clip.path);
    command.args(["-filter_complex_threads", "1", "-filter_complex", &graph]);
    for n in 0..rungs.len() {
        command.args(["-map", &format!("[v{n}]")]);
    }
    command.args(["-map", "0:a:0?", "-c:a", "copy", "-c:v", "libx264", "-preset", X264_PRESET, "-profile:v", "high"]);
    for (n, rung) in rungs.iter().enumerate() {
        let rate = rung.bitrate.to_string();
        for option in ["b", "maxrate", "bufsize"] {
            command.args([&format!("-{option}:v:{n}"), &rate]);
        }
    }
    command.args(["-threads", "1", "-x264-params", X264, "-forced-idr", "1", "-force_key_frames", KEY_FRAMES]);
    // Every picture once, as it comes: by itself ffmpeg would repeat some for a constant rate.
    command.args(["-fps_mode", "passthrough"]);
    command.args(["-f", "mp4", "-movflags", "+frag_keyframe+empty_moov+default_base_moof", "/dev/null"]);
    let (cpu, start) = (process::children_seconds(), Instant::now());
    let limit = Duration::from_secs(u64::from(clip.seconds * PATIENCE));
    run("ffmpeg, making the ladder alone,", command, &clip.log, limit).await?;
    Ok(Run { cpu: process::children_seconds() - cpu, wall: start.elapsed() })
}

pub(super) fn command() -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y"]);
    command
}

/// Runs it to its end. It is killed when the caller gives up.
pub(super) async fn run(
    what: &'static str,
    mut command: Command,
    log: &Path,
    limit: Duration,
) -> Result<(), BenchError> {
    let output = std::fs::File::create(log).map_err(BenchError::io(log.display()))?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output).process_group(0).kill_on_drop(true);
    let mut child = command.spawn().map_err(BenchError::io("ffmpeg cannot be started: install it"))?;
    match tokio::time::timeout(limit, child.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(BenchError::Ended { what, status, said: tail(log, 3) }),
        Ok(Err(error)) => Err(BenchError::io(what)(error)),
        Err(_) => Err(BenchError::Late { what: "the end of a run of ffmpeg", limit, seen: tail(log, 3) }),
    }
}
