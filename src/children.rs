//! Child processes: one per role, logged to a file, started again when they die, drained by closing their standard input,
//! so that they also end when this process is killed.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use millrace_node::shutdown::EXIT_USAGE;
use serde::Deserialize;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

/// A child drains within this; then it is killed.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(12);
/// A child that died is started again after this, doubling up to [`MAX_RESTART`].
const RESTART: Duration = Duration::from_millis(500);
const MAX_RESTART: Duration = Duration::from_secs(10);
/// One that ran this long has recovered.
const STABLE: Duration = Duration::from_secs(30);
/// How often the ready file is looked for.
const READY_POLL: Duration = Duration::from_millis(50);

/// Why a child is not running.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// It could not be started.
    #[error("{name} could not be started: {error}")]
    Start {
        /// Which.
        name: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// It did not become ready.
    #[error("{name} was not ready within {} s: its log is {log}", limit.as_secs())]
    NotReady {
        /// Which.
        name: String,
        /// The limit.
        limit: Duration,
        /// Where to look.
        log: PathBuf,
    },
    /// Its configuration is wrong, which no restart mends.
    #[error("{name} does not start: {said}")]
    Refused {
        /// Which.
        name: String,
        /// What it says.
        said: String,
    },
    /// The network was stopped first.
    #[error("stopped before {0} was ready")]
    Stopped(String),
}

/// What a role says once it serves.
#[derive(Debug, Clone, Deserialize)]
pub struct Ready {
    /// Its HTTP address.
    pub http: String,
    /// And over TLS, if it has a certificate.
    #[serde(default)]
    pub https: Option<String>,
    /// Where encoders publish, if it is a broadcaster.
    #[serde(default)]
    pub rtmp: Option<String>,
    /// And by SRT, if it takes that.
    #[serde(default)]
    pub srt: Option<String>,
}

/// A role as a child process.
pub struct Child {
    name: String,
    ready_file: PathBuf,
    log: PathBuf,
    pid: Arc<AtomicU32>,
    refused: CancellationToken,
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Child {
    /// Starts `name` (its role, or its role and a number) with the configuration at `config`.
    pub async fn start(name: &str, data: &Path, config: &Path) -> Result<Self, ChildError> {
        let log = data.join("logs").join(format!("{name}.log"));
        let command = Launch { name: name.to_owned(), config: config.to_owned(), log: log.clone() };
        let first = command.spawn().map_err(|error| ChildError::Start { name: name.to_owned(), error })?;
        let pid = Arc::new(AtomicU32::new(first.id().unwrap_or(0)));
        let (refused, stop) = (CancellationToken::new(), CancellationToken::new());
        let task = tokio::spawn(keep_running(command, first, pid.clone(), refused.clone(), stop.clone()));
        Ok(Self {
            name: name.to_owned(),
            ready_file: data.join(name).join("ready.json"),
            log,
            pid,
            refused,
            stop,
            task: AbortOnDropHandle::new(task),
        })
    }

    /// Its process id; another one after a restart.
    pub fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// Waits until it serves.
    pub async fn ready(&self, limit: Duration, stop: &CancellationToken) -> Result<Ready, ChildError> {
        let look = async {
            loop {
                if let Ok(text) = tokio::fs::read(&self.ready_file).await
                    && let Ok(ready) = serde_json::from_slice(&text)
                {
                    return ready;
                }
                tokio::time::sleep(READY_POLL).await;
            }
        };
        tokio::select! {
            ready = tokio::time::timeout(limit, look) => ready.map_err(|_| ChildError::NotReady {
                name: self.name.clone(), limit, log: self.log.clone(),
            }),
            () = self.refused.cancelled() => Err(ChildError::Refused { name: self.name.clone(), said: tail(&self.log, 1) }),
            () = stop.cancelled() => Err(ChildError::Stopped(self.name.clone())),
        }
    }

    /// Lets it drain, and ends it if it does not.
    pub async fn stop(self) {
        self.stop.cancel();
        if tokio::time::timeout(DRAIN_TIMEOUT + Duration::from_secs(1), self.task).await.is_err() {
            warn!(child = %self.name, "did not end");
        }
    }
}

struct Launch {
    name: String,
    config: PathBuf,
    log: PathBuf,
}

impl Launch {
    fn spawn(&self) -> std::io::Result<tokio::process::Child> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let role = self.name.split('-').next().unwrap_or(&self.name);
        Command::new(std::env::current_exe()?)
            .arg(role)
            .arg("--config")
            .arg(&self.config)
            .arg("--exit-with-stdin")
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0) // Ctrl-C in a terminal reaches this process only, which then drains in order
            .kill_on_drop(true)
            .spawn()
    }
}

async fn keep_running(
    launch: Launch,
    first: tokio::process::Child,
    pid: Arc<AtomicU32>,
    refused: CancellationToken,
    stop: CancellationToken,
) {
    let mut child = first;
    let mut pause = RESTART;
    loop {
        // Held here, since waiting for a child would close it, and with it end the child.
        let leash = child.stdin.take();
        let started = tokio::time::Instant::now();
        tokio::select! {
            ended = child.wait() => {
                warn!(child = %launch.name, ?ended, log = %launch.log.display(), "died; starting it again");
                if ended.is_ok_and(|status| status.code() == Some(EXIT_USAGE.into())) {
                    refused.cancel();
                }
            }
            () = stop.cancelled() => {
                drop(leash);
                match tokio::time::timeout(DRAIN_TIMEOUT, child.wait()).await {
                    Ok(ended) => info!(child = %launch.name, ?ended, "drained"),
                    Err(_) => {
                        warn!(child = %launch.name, "did not drain within {} s: killing it", DRAIN_TIMEOUT.as_secs());
                        let _ = child.kill().await; // it may have ended in between
                    }
                }
                return;
            }
        }
        if started.elapsed() > STABLE {
            pause = RESTART;
        }
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
            pause = (pause * 2).min(MAX_RESTART);
            match launch.spawn() {
                Ok(again) => {
                    pid.store(again.id().unwrap_or(0), Ordering::Relaxed);
                    child = again;
                    break;
                }
                Err(error) => warn!(child = %launch.name, %error, "could not be started again"),
            }
        }
    }
}

/// The last lines of a log, on one line.
pub fn tail(log: &Path, lines: usize) -> String {
    let text = String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join(" | ")
}

/// Sends a signal by name to one of our own children.
pub async fn signal(pid: u32, name: &str) -> std::io::Result<()> {
    Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().await.map(|_| ())
}
