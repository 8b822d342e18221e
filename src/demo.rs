//! The demo's encoder: a real ffmpeg that publishes a moving picture with a running clock and a tone, or loops a file.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

/// An encoder that ended is started again after this.
const RESTART: Duration = Duration::from_secs(1);
/// ffmpeg writes its trailer and closes within this; then it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// What is streamed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A generated picture and tone.
    Demo,
    /// Nothing: an encoder will come.
    None,
    /// A media file, looped.
    File(PathBuf),
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" | "demo" => Ok(Self::Demo),
            "none" => Ok(Self::None),
            path if Path::new(path).is_file() => Ok(Self::File(path.into())),
            path => Err(format!("{path} is no file; say demo, none, or the path of a media file")),
        }
    }
}

/// A running demo encoder.
pub struct Demo {
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Demo {
    /// Ends the encoder as Ctrl-C would.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = tokio::time::timeout(STOP_TIMEOUT * 2, self.task).await; // it was told, and is killed on drop
    }
}

/// Starts the encoder for `source`, publishing to `rtmp_url` with `key`.
pub fn start(source: &Source, rtmp_url: &str, key: &str, data: &Path) -> Option<Demo> {
    if *source == Source::None {
        return None;
    }
    let arguments = arguments(source, &format!("{rtmp_url}/{key}"));
    let log = data.join("logs").join("encoder.log");
    let stop = CancellationToken::new();
    let task = tokio::spawn(keep_publishing(arguments, log, stop.clone()));
    Some(Demo { stop, task: AbortOnDropHandle::new(task) })
}

fn arguments(source: &Source, url: &str) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["-hide_banner", "-loglevel", "warning", "-nostdin", "-re"].map(String::from).into();
    let mut add = |more: &[&str]| arguments.extend(more.iter().map(|s| (*s).to_owned()));
    match source {
        Source::File(path) => {
            add(&["-stream_loop", "-1", "-i", &path.to_string_lossy(), "-map", "0:v:0", "-map", "0:a:0?"]);
        }
        Source::Demo | Source::None => {
            let clock = "drawtext=text='%{localtime\\:%X}.%{eif\\:mod(n\\,30)\\:d\\:2}':fontsize=72:fontcolor=white:box=1:boxcolor=black@0.6:boxborderw=16:x=(w-tw)/2:y=h-140";
            add(&["-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=30"]);
            add(&["-f", "lavfi", "-i", "sine=frequency=440:beep_factor=4:sample_rate=48000", "-vf", clock]);
        }
    }
    // Two seconds between key frames, no scene cuts: what an encoder should be set to for live.
    add(&["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-pix_fmt", "yuv420p", "-b:v", "2500k"]);
    add(&[
        "-maxrate",
        "2500k",
        "-bufsize",
        "2500k",
        "-force_key_frames",
        "expr:gte(t,n_forced*2)",
        "-sc_threshold",
        "0",
    ]);
    add(&["-c:a", "aac", "-b:a", "96k", "-ac", "2", "-f", "flv", url]);
    arguments
}

async fn keep_publishing(arguments: Vec<String>, log: PathBuf, stop: CancellationToken) {
    loop {
        match spawn(&arguments, &log) {
            Err(error) => warn!(%error, "ffmpeg cannot be started: install it, or run with --source none"),
            Ok(mut encoder) => tokio::select! {
                ended = encoder.wait() => warn!(?ended, log = %log.display(), "the demo's encoder ended; starting it again"),
                () = stop.cancelled() => {
                    // Closing its input is no sign to ffmpeg with -nostdin; a signal is.
                    if let Some(pid) = encoder.id() {
                        let _ = crate::children::signal(pid, "TERM").await;
                    }
                    if tokio::time::timeout(STOP_TIMEOUT, encoder.wait()).await.is_err() {
                        let _ = encoder.kill().await; // it may have ended in between
                    }
                    return;
                }
            },
        }
        tokio::select! {
            () = tokio::time::sleep(RESTART) => {}
            () = stop.cancelled() => return,
        }
    }
}

fn spawn(arguments: &[String], log: &Path) -> std::io::Result<tokio::process::Child> {
    let log = std::fs::File::create(log)?;
    tokio::process::Command::new("ffmpeg")
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}
