//! The network under measurement: one `millrace up` of this same program, and what its nodes say of themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, sleep, timeout};

use super::process::{self, Process};
use super::{BenchError, Rung, ingest};
use crate::children::tail;

/// From the start to readiness: what `up` gives each of its children, and some.
const START_LIMIT: Duration = Duration::from_secs(90);
/// From the end of its leash to its exit: three rounds of draining.
const DRAIN_LIMIT: Duration = Duration::from_secs(45);
/// From the encoder's end to the last segment of the ladder: longer than a broadcaster waits before it declares a gap.
const FINISH_LIMIT: Duration = Duration::from_secs(20);
/// From there to the last ticket. One that takes longer is counted as missing.
const TICKET_LIMIT: Duration = Duration::from_secs(5);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(100);
/// Longest wait for an answer of a node: a playlist without a segment waits for its first.
const ANSWER_LIMIT: Duration = Duration::from_secs(8);

/// A running network. Dropping it kills `up`, whose children then end by themselves.
pub(super) struct Network {
    up: Child,
    /// What `up` ends with. Held apart, since waiting for a child closes its input.
    leash: Option<ChildStdin>,
    pid: u32,
    ready: Ready,
    http: reqwest::Client,
}

/// What `up --ready-json` writes.
#[derive(Debug, Deserialize)]
struct Ready {
    rtmp_url: String,
    stream_key: String,
    stream_name: String,
    hls_url: String,
    broadcaster_api: String,
    orchestrator_api: String,
    transcoder_apis: Vec<String>,
}

/// A stream as the broadcaster's API gives it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Stream {
    id: String,
    name: String,
    state: String,
    pub(super) renditions: Vec<Rendition>,
    pub(super) segments: u64,
    pub(super) parts: u64,
    pub(super) latency_ms: Option<Latency>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Rendition {
    name: String,
    width: u32,
    height: u32,
    bitrate: u32,
    state: String,
    last_seq: Option<u64>,
}

impl Rendition {
    pub(super) fn rung(&self) -> Rung {
        Rung { name: self.name.clone(), width: self.width, height: self.height, bitrate: self.bitrate }
    }
}

/// Milliseconds from a source part in hand to its rendition part in the origin.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Latency {
    pub(super) p50: u64,
    pub(super) p99: u64,
    pub(super) samples: usize,
}

/// Tickets on both hops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tickets {
    /// From the broadcaster to the orchestrator, and from there to the transcoders: as received.
    pub(super) orchestrator: u64,
    pub(super) transcoders: u64,
    /// Of both.
    pub(super) winners: u64,
}

#[derive(Deserialize)]
struct TicketsView {
    received: Received,
}

#[derive(Deserialize)]
struct Received {
    count: u64,
    winners: u64,
}

#[derive(Deserialize)]
struct Transcoder {
    devices: Vec<Device>,
}

#[derive(Deserialize)]
struct Device {
    kind: String,
    detail: String,
}

#[derive(Deserialize)]
struct Attempt {
    seq: u64,
    result: String,
    fault: Option<String>,
}

impl Network {
    /// Starts one in `dir` and waits until it is ready.
    pub(super) async fn start(dir: &Path) -> Result<Self, BenchError> {
        Self::start_with(dir, &[], &[]).await
    }

    /// The same with more arguments for `up`, and with other settings of the broadcaster's.
    pub(super) async fn start_with(
        dir: &Path,
        arguments: &[&str],
        settings: &[(&str, String)],
    ) -> Result<Self, BenchError> {
        let [data, ready, log] = ["data", "ready.json", "up.log"].map(|name| dir.join(name));
        let output = || std::fs::File::create(&log).map_err(BenchError::io(log.display()));
        let program = std::env::current_exe().map_err(BenchError::io("this program's own path"))?;
        let mut up = Command::new(program)
            .args(["up", "--ports", "auto", "--source", "none", "--exit-with-stdin", "--data-dir"])
            .arg(&data)
            .arg("--ready-json")
            .arg(&ready)
            .args(arguments)
            .envs(settings.iter().map(|(key, value)| (format!("MILLRACE_BROADCASTER_{key}"), value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(output()?)
            .process_group(0) // a terminal's Ctrl-C comes to this process, which then ends the network
            .kill_on_drop(true)
            .spawn()
            .map_err(BenchError::io("millrace up cannot be started"))?;
        let (leash, pid) = (up.stdin.take(), up.id().unwrap_or(0));
        let ready = Self::ready(&mut up, ready, &log).await?;
        let http = reqwest::Client::builder().timeout(ANSWER_LIMIT).build()?;
        Ok(Self { up, leash, pid, ready, http })
    }

    async fn ready(up: &mut Child, file: PathBuf, log: &Path) -> Result<Ready, BenchError> {
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline {
            if let Some(status) = up.try_wait().map_err(BenchError::io("millrace up"))? {
                return Err(BenchError::Ended { what: "millrace up", status, said: tail(log, 3) });
            }
            if let Some(ready) = std::fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok()) {
                return Ok(ready);
            }
            sleep(POLL).await;
        }
        Err(BenchError::Late { what: "millrace up is ready", limit: START_LIMIT, seen: tail(log, 3) })
    }

    /// Drains it, or kills it where it does not drain.
    pub(super) async fn stop(mut self) {
        self.leash = None;
        if timeout(DRAIN_LIMIT, self.up.wait()).await.is_err() {
            super::say(&format!("the network did not drain within {} s: killing it", DRAIN_LIMIT.as_secs()));
            let _ = self.up.kill().await; // it may have ended in between
        }
    }

    /// Its processes now.
    pub(super) fn processes(&self) -> Vec<Process> {
        process::tree(self.pid)
    }

    /// The broadcaster, as a list of one.
    pub(super) fn broadcaster(&self) -> Vec<Process> {
        self.processes().into_iter().filter(|process| process.name == "broadcaster").collect()
    }

    /// The address of the broadcaster's HTTP.
    pub(super) fn api(&self) -> &str {
        &self.ready.broadcaster_api
    }

    /// Where it takes RTMP.
    pub(super) fn rtmp(&self) -> Result<SocketAddr, BenchError> {
        let url = &self.ready.rtmp_url;
        let address = url.strip_prefix("rtmp://").and_then(|rest| rest.split('/').next()?.parse().ok());
        address.ok_or_else(|| BenchError::io(url)(std::io::ErrorKind::InvalidInput.into()))
    }

    /// How long before now the playlist of the source of the stream `name` ends; `None` while there is none.
    pub(super) async fn behind(&self, name: &str) -> Option<Duration> {
        let address = format!("{}/live/{name}/source/index.m3u8", self.api());
        let answer = self.http.get(address).send().await.ok()?.error_for_status().ok()?;
        ingest::behind(&answer.text().await.ok()?)
    }

    /// The master playlist of its stream.
    pub(super) fn hls(&self) -> &str {
        &self.ready.hls_url
    }

    /// The media playlist of a rendition of its stream.
    pub(super) fn playlist(&self, rendition: &str) -> String {
        self.ready.hls_url.replace("master.m3u8", &format!("{rendition}/index.m3u8"))
    }

    /// Where an encoder publishes.
    pub(super) fn publish_url(&self) -> String {
        format!("{}/{}", self.ready.rtmp_url, self.ready.stream_key)
    }

    async fn get<T: DeserializeOwned>(&self, node: &str, call: &str) -> Result<T, BenchError> {
        let answer = self.http.get(format!("{node}/api/v1/{call}")).send().await?.error_for_status()?;
        Ok(answer.json().await?)
    }

    /// The publication after `last`, once it has ended and its ladder is complete or given up.
    pub(super) async fn finished(&self, last: Option<&Stream>) -> Result<Stream, BenchError> {
        let deadline = Instant::now() + FINISH_LIMIT;
        loop {
            let streams: Vec<Stream> = self.get(&self.ready.broadcaster_api, "streams").await?;
            let stream = streams.into_iter().find(|s| s.name == self.ready.stream_name);
            let stream = stream.filter(|s| last.is_none_or(|last| last.id != s.id));
            let seen = format!("{stream:?}");
            match stream {
                Some(stream) if stream.is_complete() => return Ok(stream),
                _ if Instant::now() < deadline => sleep(POLL).await,
                _ => return Err(BenchError::Late { what: "the ladder is complete", limit: FINISH_LIMIT, seen }),
            }
        }
    }

    /// All tickets so far.
    pub(super) async fn tickets(&self) -> Result<Tickets, BenchError> {
        let orchestrator = self.get::<TicketsView>(&self.ready.orchestrator_api, "tickets?limit=1").await?.received;
        let mut all = Tickets { orchestrator: orchestrator.count, transcoders: 0, winners: orchestrator.winners };
        for api in &self.ready.transcoder_apis {
            let transcoder = self.get::<TicketsView>(api, "tickets?limit=1").await?.received;
            all.transcoders += transcoder.count;
            all.winners += transcoder.winners;
        }
        Ok(all)
    }

    /// Tickets since `before`, once there is one of each hop for each of the segments.
    pub(super) async fn settled(&self, before: &Tickets, segments: u64) -> Result<Tickets, BenchError> {
        let deadline = Instant::now() + TICKET_LIMIT;
        loop {
            let now = self.tickets().await?;
            let since = Tickets {
                orchestrator: now.orchestrator - before.orchestrator,
                transcoders: now.transcoders - before.transcoders,
                winners: now.winners - before.winners,
            };
            if since.orchestrator.min(since.transcoders) >= segments || Instant::now() >= deadline {
                return Ok(since);
            }
            sleep(POLL).await;
        }
    }

    /// The last attempts on either hop that did not pass: why, with the segments that it happened to.
    pub(super) async fn troubles(&self) -> Result<BTreeMap<String, Vec<u64>>, BenchError> {
        let mut troubles: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for (hop, api) in [("broadcaster", &self.ready.broadcaster_api), ("orchestrator", &self.ready.orchestrator_api)]
        {
            let attempts: Vec<Attempt> = self.get(api, "segments?limit=500").await?;
            for attempt in attempts.into_iter().filter(|attempt| attempt.result != "pass") {
                let fault = attempt.fault.as_deref().unwrap_or("no reason given");
                troubles.entry(format!("{hop}: {}, {fault}", attempt.result)).or_default().push(attempt.seq);
            }
        }
        Ok(troubles)
    }

    /// What the transcoders encode with.
    pub(super) async fn devices(&self) -> Result<Vec<String>, BenchError> {
        let transcoders: Vec<Transcoder> = self.get(&self.ready.orchestrator_api, "transcoders").await?;
        let devices = transcoders.into_iter().flat_map(|transcoder| transcoder.devices);
        Ok(devices.map(|device| format!("{}: {}", device.kind, device.detail)).collect())
    }
}

impl Stream {
    /// Whether every segment of the source has its renditions, or none will come any more.
    fn is_complete(&self) -> bool {
        let settled = |r: &Rendition| r.state == "down" || r.last_seq.is_some_and(|last| last + 1 >= self.segments);
        self.state == "ended" && !self.renditions.is_empty() && self.renditions.iter().all(settled)
    }
}

/// What the media playlists of the renditions have listed so far.
#[derive(Default)]
pub(super) struct Playlists {
    /// Addresses of segments, and whether they are gaps.
    seen: BTreeSet<(String, bool)>,
}

impl Playlists {
    /// Reads each rendition's playlist, as a player does. One that is not there yet is left for the next time.
    pub(super) async fn look(&mut self, network: &Network, rungs: &[Rung]) {
        for rung in rungs {
            let address = network.ready.hls_url.replace("master.m3u8", &format!("{}/index.m3u8", rung.name));
            let Ok(answer) = network.http.get(&address).send().await.and_then(|a| a.error_for_status()) else {
                continue;
            };
            if let Ok(text) = answer.text().await {
                self.take(&rung.name, &text);
            }
        }
    }

    fn take(&mut self, rendition: &str, text: &str) {
        let mut gap = false;
        for line in text.lines() {
            gap |= line == "#EXT-X-GAP";
            if !line.is_empty() && !line.starts_with('#') {
                self.seen.insert((format!("{rendition}/{line}"), gap));
                gap = false;
            }
        }
    }

    pub(super) fn listed(&self) -> usize {
        self.seen.iter().filter(|(_, gap)| !gap).count()
    }

    pub(super) fn gaps(&self) -> usize {
        self.seen.iter().filter(|(_, gap)| *gap).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_the_segment_after_its_tag_and_no_other() {
        let mut playlists = Playlists::default();
        let text = "#EXTM3U\n#EXTINF:2.0,\n1.m4s?v=a\n#EXT-X-GAP\n#EXTINF:2.0,\n2.m4s?v=a\n#EXTINF:2.0,\n3.m4s?v=a\n";
        playlists.take("720p", text);
        playlists.take("720p", text);
        playlists.take("480p", text);
        assert_eq!((playlists.listed(), playlists.gaps()), (4, 2));
    }
}
