//! Clips, real encoders that publish them, and real decoders that look at what came out.

use crate::process::{self, output, signal, wait_for_exit};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::time::Duration;
use tempfile::TempDir;

/// A real clip, or `None` and a line that says so.
pub(crate) fn clip(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("MILLRACE_MEDIA").map(PathBuf::from);
    let path = folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/media")).join(name);
    if path.exists() {
        return Some(path);
    }
    // Straight to stderr: the test runner keeps what a passing test prints.
    let _ = writeln!(std::io::stderr(), "\nskipped: {name}: not there, and MILLRACE_MEDIA names no folder that has it");
    None
}

/// An FFmpeg of version 8 or later: the one that `MILLRACE_FFMPEG` names, or the system's own. `None` and a line that says so where neither is.
pub(crate) fn recent_ffmpeg() -> Option<OsString> {
    // The WHIP muxer came with 8.0.
    let recent = |program: &OsString| {
        let told = output(Command::new(program).args(["-hide_banner", "-h", "muxer=whip"]));
        told.is_ok_and(|told| String::from_utf8_lossy(&told.stdout).contains("WHIP"))
    };
    let found = std::env::var_os("MILLRACE_FFMPEG").into_iter().chain(["ffmpeg".into()]).find(recent);
    if found.is_none() {
        let _ = writeln!(std::io::stderr(), "\nskipped: no FFmpeg of version 8 or later: MILLRACE_FFMPEG may name one");
    }
    found
}

/// 640x360 at 25 frames a second with a tone, five pictures of two seconds that have nothing in common: no segment looks like the one before.
pub(crate) fn cuts() -> &'static Path {
    static CUTS: LazyLock<(TempDir, PathBuf)> = LazyLock::new(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cuts.mp4");
        let pictures = ["testsrc2", "mandelbrot", "smptebars", "rgbtestsrc", "cellauto=rule=30"];
        let mut ffmpeg = quiet("ffmpeg");
        for picture in pictures {
            let separator = if picture.contains('=') { ':' } else { '=' };
            ffmpeg.args(["-f", "lavfi", "-t", "2", "-i", &format!("{picture}{separator}size=640x360:rate=25")]);
        }
        ffmpeg.args(["-f", "lavfi", "-t", "10", "-i", "sine=frequency=440:sample_rate=48000"]);
        ffmpeg.args(["-filter_complex", "[0][1][2][3][4]concat=n=5,format=yuv420p[v]", "-map", "[v]", "-map", "5:a"]);
        ffmpeg.args([
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-b:v",
            "1M",
            "-g",
            "50",
            "-sc_threshold",
            "0",
            "-bf",
            "0",
            "-c:a",
            "aac",
        ]);
        output(ffmpeg.arg(&path)).unwrap();
        (dir, path)
    });
    &CUTS.1
}

fn quiet(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.args(["-hide_banner", "-v", "error"]);
    command
}

/// Arguments of ffmpeg that make H.264 of this size, 30 frames a second and a keyframe every two seconds, with a tone; `tuned` are more.
pub(crate) fn pattern(size: &str, tuned: &[&str]) -> Vec<OsString> {
    let picture = format!("testsrc2=size={size}:rate=30");
    let sources = ["-f", "lavfi", "-i", &picture, "-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"];
    let coded = ["-pix_fmt", "yuv420p", "-c:v", "libx264", "-b:v", "1M", "-g", "60", "-c:a", "aac"];
    sources.iter().chain(&coded).chain(tuned).map(OsString::from).collect()
}

/// An ffmpeg that publishes in real time, by RTMP or SRT.
pub(crate) struct Publisher {
    ffmpeg: Child,
    said: tempfile::NamedTempFile,
}

impl Publisher {
    /// Publishes a file as it is, from start to end `1 + again` times; -1 for ever.
    pub(crate) fn file(path: &Path, again: i32, url: &str) -> Self {
        let again = again.to_string();
        Self::start(
            &["-stream_loop".as_ref(), again.as_ref(), "-i".as_ref(), path.as_os_str(), "-c".as_ref(), "copy".as_ref()],
            url,
        )
    }

    /// Publishes what these arguments of ffmpeg make.
    pub(crate) fn start<S: AsRef<OsStr>>(arguments: &[S], url: &str) -> Self {
        Self::start_by("ffmpeg".as_ref(), arguments, url)
    }

    /// The same by another ffmpeg than the system's.
    pub(crate) fn start_by<S: AsRef<OsStr>>(program: &OsStr, arguments: &[S], url: &str) -> Self {
        let said = tempfile::NamedTempFile::new().unwrap();
        let stderr = File::options().append(true).open(said.path()).unwrap();
        let mut command = quiet(program);
        let container = if url.starts_with("srt:") { "mpegts" } else { "flv" };
        command.arg("-re").args(arguments).args(["-f", container, url]);
        let ffmpeg = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
        Self { ffmpeg, said }
    }

    /// Ends the stream as a person would, with Ctrl-C.
    pub(crate) fn stop(mut self) {
        signal("INT", self.ffmpeg.id().into());
        wait_for_exit("ffmpeg ends after Ctrl-C", &mut self.ffmpeg, Duration::from_secs(10));
    }

    /// Takes the encoder away without a word to the server.
    pub(crate) fn vanish(mut self) {
        self.ffmpeg.kill().unwrap();
    }

    /// Whether it still publishes.
    pub(crate) fn is_running(&mut self) -> bool {
        self.ffmpeg.try_wait().unwrap().is_none()
    }

    /// Waits for its end: the exit status, and what it said.
    pub(crate) fn ended(mut self, limit: Duration) -> (ExitStatus, String) {
        let status = wait_for_exit("ffmpeg ends", &mut self.ffmpeg, limit);
        (status, std::fs::read_to_string(self.said.path()).unwrap())
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let _ = self.ffmpeg.kill();
        let _ = self.ffmpeg.wait();
        if std::thread::panicking() {
            eprintln!("--- ffmpeg, publishing\n{}", std::fs::read_to_string(self.said.path()).unwrap_or_default());
        }
    }
}

/// A decoded frame. `pts` in the track's own timescale, 90 kHz.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) pts: i64,
    pub(crate) key: bool,
    pub(crate) width: u64,
    pub(crate) height: u64,
}

/// Decodes the video of a segment (its initialisation first) with ffprobe.
pub(crate) fn frames(segment: &[u8]) -> Result<Vec<Frame>, String> {
    let file = on_disk(segment);
    let mut ffprobe = quiet("ffprobe");
    ffprobe.args([
        "-select_streams",
        "v",
        "-show_frames",
        "-show_entries",
        "frame=pts,key_frame,width,height",
        "-of",
        "json",
    ]);
    let told = output(ffprobe.arg(file.path()))?;
    if !told.stderr.is_empty() {
        return Err(String::from_utf8_lossy(&told.stderr).into_owned());
    }
    let told: Value = serde_json::from_slice(&told.stdout).map_err(|error| error.to_string())?;
    let frame = |f: &Value| {
        Some(Frame {
            pts: f["pts"].as_i64()?,
            key: f["key_frame"] == 1,
            width: f["width"].as_u64()?,
            height: f["height"].as_u64()?,
        })
    };
    let frames = told["frames"].as_array().into_iter().flatten();
    frames.map(|f| frame(f).ok_or_else(|| format!("a frame without time or size: {f}"))).collect()
}

/// Reads `frames` frames of a playlist over HTTP with ffmpeg's own HLS client, which must find no fault.
pub(crate) fn play(url: &str, frames: u32) {
    let told = read(url, &["-frames:v", &frames.to_string()], &[]);
    assert!(told.is_empty(), "{url}: {told}");
}

/// Decodes all of a playlist or file, and returns its pictures and what was wrong with any of it.
pub(crate) fn decoded(url: &str) -> (u64, String) {
    let mut ffmpeg = quiet("ffmpeg");
    ffmpeg.args(["-i", url, "-map", "0:v?", "-map", "0:a?", "-fps_mode", "passthrough", "-enc_time_base", "1:90000"]);
    let told = process::output(ffmpeg.args(["-progress", "-", "-f", "null", "/dev/null"])).unwrap();
    let progress = String::from_utf8_lossy(&told.stdout).into_owned();
    let frames = progress.lines().rev().find_map(|line| line.strip_prefix("frame=")?.trim().parse().ok());
    (frames.unwrap_or(0), String::from_utf8_lossy(&told.stderr).into_owned())
}

/// Reads ten seconds of a playlist, from the first segment that it lists.
pub(crate) fn play_all(url: &str) {
    let told = read(url, &["-t", "10"], &["-live_start_index", "0"]);
    assert!(told.is_empty(), "{url}: {told}");
}

fn read(url: &str, output: &[&str], input: &[&str]) -> String {
    let mut ffmpeg = quiet("ffmpeg");
    ffmpeg.arg("-xerror").args(input).args(["-i", url, "-map", "0:v"]).args(output);
    // The stream's own ticks: a camera's pictures come at uneven times, and in ticks of one frame two would be one.
    let told = process::output(ffmpeg.args(["-enc_time_base", "1:90000", "-f", "null", "-"])).unwrap();
    String::from_utf8_lossy(&told.stderr).into_owned()
}

/// Width and height of a picture.
pub(crate) fn size(picture: &[u8]) -> (u64, u64) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(picture).unwrap();
    let mut ffprobe = quiet("ffprobe");
    ffprobe.args(["-show_entries", "stream=width,height", "-of", "json"]);
    let told: Value = serde_json::from_slice(&output(ffprobe.arg(file.path())).unwrap().stdout).unwrap();
    let side = |name: &str| told["streams"][0][name].as_u64().unwrap();
    (side("width"), side("height"))
}

/// The closed captions of a segment, as the text that FFmpeg reads.
pub(crate) fn captions(segment: &[u8]) -> String {
    let file = on_disk(segment);
    let mut ffmpeg = quiet("ffmpeg");
    // As they are spoken: a line of the end of a segment would otherwise wait for the next.
    ffmpeg.args([
        "-real_time",
        "1",
        "-f",
        "lavfi",
        "-i",
        &format!("movie={}[out0+subcc]", file.path().display()),
        "-map",
        "0:s",
    ]);
    String::from_utf8(output(ffmpeg.args(["-f", "srt", "-"])).unwrap().stdout).unwrap()
}

/// How like its source a rendition of a segment is: structural similarity of the worst frame, 1 for the same picture.
pub(crate) fn likeness(source: &[u8], rendition: &[u8], width: u64, height: u64) -> f64 {
    let (source, rendition) = (on_disk(source), on_disk(rendition));
    let graph = format!("[0:v]scale={width}:{height}:flags=bicubic[s];[s][1:v]ssim=stats_file=-");
    let mut ffmpeg = quiet("ffmpeg");
    ffmpeg.arg("-i").arg(source.path()).arg("-i").arg(rendition.path()).args([
        "-lavfi",
        &graph,
        "-f",
        "null",
        "/dev/null",
    ]);
    let told = String::from_utf8(output(&mut ffmpeg).unwrap().stdout).unwrap();
    let all = told.split_whitespace().filter_map(|word| word.strip_prefix("All:")?.parse().ok());
    all.fold(f64::NAN, f64::min)
}

fn on_disk(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(".mp4").tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}
