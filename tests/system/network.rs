//! One `millrace up` in a folder of its own, on free ports, and what its nodes say of themselves.

use crate::http::{get, get_json};
use crate::process::{marked, signal, tail, wait_for, wait_for_exit};
use serde::Deserialize;
use serde_json::Value;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tempfile::TempDir;

/// From the start of the process to its readiness: a chain, two contracts, four processes, in the dev profile.
const START: Duration = Duration::from_secs(60);
/// From the signal to the exit: live streams end, winners are stored, four processes stop.
const DRAIN: Duration = Duration::from_secs(20);
/// A process carries this in its environment, whoever of ours has started it.
const MARK: &str = "MILLRACE_SYSTEM_TEST";

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Waits until no other test has processes of its own.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(|failed| failed.into_inner())
}

/// A certificate for 127.0.0.1 that nobody else has issued, and its key, as files in `dir`.
pub(crate) fn certificate(dir: &Path) -> [String; 2] {
    let issued = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    [("chain.pem", issued.cert.pem()), ("key.pem", issued.signing_key.serialize_pem())].map(|(name, pem)| {
        let file = dir.join(name);
        std::fs::write(&file, pem).unwrap();
        file.to_str().unwrap().to_owned()
    })
}

/// What `up --ready-json` writes.
#[derive(Debug, Deserialize)]
pub(crate) struct Ready {
    pub(crate) rtmp_url: String,
    pub(crate) srt_url: String,
    pub(crate) hls_url: String,
    pub(crate) hls_https_url: Option<String>,
    pub(crate) stream_name: String,
    pub(crate) console_url: String,
    pub(crate) broadcaster_api: String,
    pub(crate) orchestrator_api: String,
    pub(crate) transcoder_apis: Vec<String>,
    pub(crate) pids: Pids,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Pids {
    pub(crate) orchestrator: i64,
    pub(crate) transcoders: Vec<i64>,
}

pub(crate) struct Network {
    pub(crate) ready: Ready,
    /// Two streams may be published at once.
    pub(crate) live: Key,
    pub(crate) side: Key,
    running: Running,
}

/// A stream key: the stream's public name, and what the encoder sends.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) key: String,
}

/// The processes and their folder: gone when this is dropped, at whatever point a test fails.
struct Running {
    up: Child,
    dir: TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Network {
    /// `millrace up` with these flags besides the ports and the folder, once it is ready.
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::start_with(flags, &[])
    }

    /// The same with these variables in its environment, and so in that of each node.
    pub(crate) fn start_with(flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let alone = alone();
        let dir = tempfile::Builder::new().prefix("millrace-system-").tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let up = Command::new(env!("CARGO_BIN_EXE_millrace"))
            .args(["up", "--ports", "auto"])
            .args(["--data-dir".as_ref(), path("data").as_os_str()])
            .args(["--ready-json".as_ref(), path("ready.json").as_os_str()])
            .args(flags)
            .env(MARK, dir.path())
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(File::create(path("up.out")).unwrap())
            .stderr(File::create(path("up.err")).unwrap())
            .process_group(0) // a terminal's Ctrl-C reaches the whole group, and so does `interrupt`
            .spawn()
            .unwrap();
        let mut running = Running { up, dir, _alone: alone };
        let ready: Ready = wait_for("millrace up is ready", START, || {
            if let Some(status) = running.up.try_wait().unwrap() {
                panic!("millrace up ended before it was ready: {status}");
            }
            let text =
                std::fs::read_to_string(running.dir.path().join("ready.json")).map_err(|error| error.to_string())?;
            serde_json::from_str(&text).map_err(|error| format!("{text}: {error}"))
        });
        let ingest = get_json(&format!("{}/api/v1/ingest", ready.broadcaster_api)).unwrap();
        let [live, side]: [Key; 2] = serde_json::from_value(ingest["keys"].clone()).unwrap();
        Self { ready, live, side, running }
    }

    /// The configuration of a node, such as `broadcaster` or `transcoder-1`; its data folder has the same name without the ending.
    pub(crate) fn config(&self, node: &str) -> PathBuf {
        self.running.dir.path().join(format!("data/{node}.toml"))
    }

    /// Where an encoder publishes under `key`.
    pub(crate) fn rtmp(&self, key: &str) -> String {
        format!("{}/{key}", self.ready.rtmp_url)
    }

    /// The master playlist of the stream `name`.
    pub(crate) fn master(&self, name: &str) -> String {
        self.ready.hls_url.replace(&format!("/{}/", self.ready.stream_name), &format!("/{name}/"))
    }

    /// What the broadcaster says of its newest stream `name`.
    pub(crate) fn stream(&self, name: &str) -> Result<Value, String> {
        let streams = get_json(&format!("{}/api/v1/streams", self.ready.broadcaster_api))?;
        let of_name = streams.as_array().into_iter().flatten().filter(|s| s["name"] == name);
        of_name
            .max_by_key(|s| s["started_at"].as_u64())
            .cloned()
            .ok_or_else(|| format!("no stream {name} in {streams}"))
    }

    /// Waits for a stream's state: `live` or `ended`.
    pub(crate) fn until_stream_is(&self, name: &str, state: &str) -> Value {
        wait_for(&format!("stream {name} is {state}"), Duration::from_secs(20), || {
            let stream = self.stream(name)?;
            if stream["state"] == state { Ok(stream) } else { Err(stream.to_string()) }
        })
    }

    /// The transcoders as the orchestrator sees them.
    pub(crate) fn transcoders(&self) -> Result<Vec<Value>, String> {
        let all = get_json(&format!("{}/api/v1/transcoders", self.ready.orchestrator_api))?;
        all.as_array().cloned().ok_or_else(|| all.to_string())
    }

    /// The address of the transcoder with this index in `ready`.
    pub(crate) fn transcoder_address(&self, index: usize) -> Result<String, String> {
        let node = get_json(&format!("{}/api/v1/node", self.ready.transcoder_apis[index]))?;
        node["address"].as_str().map(str::to_lowercase).ok_or_else(|| node.to_string())
    }

    /// The last segments in the orchestrator's log.
    pub(crate) fn segments(&self) -> Result<Vec<Value>, String> {
        let all = get_json(&format!("{}/api/v1/segments?limit=200", self.ready.orchestrator_api))?;
        all.as_array().cloned().ok_or_else(|| all.to_string())
    }

    /// Whether every node answers that it is well.
    pub(crate) fn assert_well(&self) {
        let nodes =
            [&self.ready.broadcaster_api, &self.ready.orchestrator_api].into_iter().chain(&self.ready.transcoder_apis);
        for node in nodes {
            get(&format!("{node}/healthz")).unwrap();
        }
    }

    /// All that the nodes have logged so far.
    pub(crate) fn logs(&self) -> String {
        self.running
            .log_files()
            .iter()
            .map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned())
            .collect()
    }

    /// `kill -9` of the broadcaster, and its next life, which `up` starts, once it answers.
    pub(crate) fn kill_broadcaster(&self) {
        let file = self.running.dir.path().join("data/broadcaster/ready.json");
        let ready: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert!(signal("KILL", ready["pid"].as_i64().unwrap()), "the broadcaster has gone before it was killed");
        wait_for("the broadcaster is back", START, || std::fs::metadata(&file).map(drop).map_err(|e| e.to_string()));
    }

    /// Ctrl-C in a terminal: the signal reaches every process of the group. The exit status, and who was left behind.
    pub(crate) fn interrupt(mut self) -> (ExitStatus, Vec<(i64, String)>) {
        let up = &mut self.running.up;
        assert!(signal("INT", -i64::from(up.id())), "millrace up has gone before Ctrl-C");
        let status = wait_for_exit("millrace up drains and exits after Ctrl-C", up, DRAIN);
        (status, marked(&self.running.mark()))
    }
}

impl Running {
    fn mark(&self) -> String {
        format!("{MARK}={}", self.dir.path().display())
    }

    fn log_files(&self) -> Vec<PathBuf> {
        let logs = std::fs::read_dir(self.dir.path().join("data/logs"));
        let mut files: Vec<_> = logs.into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        files.sort();
        files
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let of_up = ["up.out", "up.err"].map(|name| self.dir.path().join(name));
            for log in of_up.into_iter().chain(self.log_files()) {
                eprintln!("--- {}\n{}", log.display(), tail(&log, 60));
            }
        }
        // The parent first, so that it starts nobody again.
        let _ = self.up.kill();
        let _ = self.up.wait();
        for (pid, _) in marked(&self.mark()) {
            signal("KILL", pid);
        }
    }
}
