//! A broadcaster's line without orchestrators: RTMP, WHIP and SRT in, segmenter, origin, HLS out, on free loopback ports. And FFmpeg around it.
#![allow(dead_code, unreachable_pub)] // each test binary uses its share
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)] // a helper that fails fails its test

pub mod relay;
pub mod webrtcbin;
pub mod whip;

use millrace_broadcaster::config::Rung;
use millrace_broadcaster::events::{IngestEvent, TrackKind};
use millrace_broadcaster::ingest::srt::SrtOptions;
use millrace_broadcaster::ingest::{Gate, Publication, RtmpServer, SrtServer, Timeouts, WhipServer};
use millrace_broadcaster::origin::Origin;
use millrace_broadcaster::segmenter::Segmenter;
use millrace_node::tls::{Certificate, Keys};
use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// No condition of these tests takes longer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The file of the certificate of RTMPS.
const CHAIN: &str = "chain.pem";

/// UDP ports of WHIP that the system picks.
const FREE_PORTS: &str = "0";

/// A clip of the shared media, or `None` with a printed line where the folder is missing.
pub fn media(file: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("MILLRACE_MEDIA").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/media"));
    let path = folder.join(file);
    if !path.exists() {
        println!("skipped: {} is not there (set MILLRACE_MEDIA)", path.display());
        return None;
    }
    Some(path)
}

/// What the line has seen.
#[derive(Debug, Default, Clone)]
struct Seen {
    started: usize,
    pictures: usize,
    ends: Vec<bool>,
    /// The ladder of its own that each publication came with.
    ladders: Vec<Option<Vec<Rung>>>,
}

/// A gate for one key, "secret".
fn one_key() -> Arc<Gate> {
    Gate::new(Arc::new(|key: &str| (key == "secret").then(|| "demo".to_owned())))
}

pub struct Line {
    pub rtmp: SocketAddr,
    pub rtmps: SocketAddr,
    files: tempfile::TempDir,
    pub srt: SocketAddr,
    http: SocketAddr,
    seen: watch::Receiver<Seen>,
    shutdown: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Line {
    pub async fn start() -> Self {
        Self::with_idle(Timeouts::default().idle).await
    }

    pub async fn with_idle(idle: Duration) -> Self {
        Self::with(idle, FREE_PORTS, "", one_key()).await
    }

    pub async fn with_whip_ports(ports: &str) -> Self {
        Self::with(Timeouts::default().idle, ports, "", one_key()).await
    }

    pub async fn with_gate(gate: Arc<Gate>) -> Self {
        Self::with(Timeouts::default().idle, FREE_PORTS, "", gate).await
    }

    pub async fn with_passphrase(passphrase: &str) -> Self {
        Self::with(Timeouts::default().idle, FREE_PORTS, passphrase, one_key()).await
    }

    async fn with(idle: Duration, ports: &str, passphrase: &str, gate: Arc<Gate>) -> Self {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let files = tempfile::tempdir().unwrap();
        let timeouts = Timeouts { idle, ..Timeouts::default() };
        let server = RtmpServer::bind(any, gate.clone(), timeouts, None).await.unwrap();
        let rtmp = server.local_addr().unwrap();
        let secure = RtmpServer::bind(any, gate.clone(), timeouts, Some(certificate(files.path()))).await.unwrap();
        let rtmps = secure.local_addr().unwrap();
        let srt_server = SrtServer::bind(any, SrtOptions::new(passphrase, 200).unwrap(), gate.clone()).unwrap();
        let srt = srt_server.local_addr().unwrap();
        let origin = Origin::new();
        let listener = tokio::net::TcpListener::bind(any).await.unwrap();
        let http = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let (publications, mut incoming) = mpsc::channel::<Publication>(4);
        let (seen, watcher) = watch::channel(Seen::default());
        let seen = Arc::new(seen);

        let whip =
            WhipServer::bind(ports.parse().unwrap(), None, gate, publications.clone(), shutdown.clone()).unwrap();
        let router = origin.router().merge(whip.routes()).into_make_service_with_connect_info::<SocketAddr>();
        let stop = shutdown.clone();
        let web = async move {
            let graceful = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
            graceful.await.unwrap();
            whip.closed().await;
        };
        let streams = async move {
            while let Some(publication) = incoming.recv().await {
                let (origin, seen) = (origin.clone(), Arc::clone(&seen));
                tokio::spawn(carry(publication, origin, seen));
            }
        };
        let tasks = vec![
            tokio::spawn(server.run(publications.clone(), shutdown.clone())),
            tokio::spawn(secure.run(publications.clone(), shutdown.clone())),
            tokio::spawn(srt_server.run(publications, shutdown.clone())),
            tokio::spawn(web),
            tokio::spawn(streams),
        ];
        Self { rtmp, rtmps, srt, files, http, seen: watcher, shutdown, tasks }
    }

    pub fn url(&self, key: &str) -> String {
        format!("rtmp://{}/live/{key}", self.rtmp)
    }

    pub fn secure_url(&self, key: &str) -> String {
        format!("rtmps://{}/live/{key}", self.rtmps)
    }

    /// What makes FFmpeg accept this server's certificate, and no other.
    pub fn trusted(&self) -> [String; 4] {
        let issuer = self.files.path().join(CHAIN).to_string_lossy().into_owned();
        ["-tls_verify".into(), "1".into(), "-ca_file".into(), issuer]
    }

    /// `more` follows the stream id: other options of FFmpeg's SRT. It waits until its last packet has arrived, which is not its default.
    pub fn srt(&self, stream_id: &str, more: &str) -> String {
        format!("srt://{}?linger=5&streamid={stream_id}{more}", self.srt)
    }

    pub fn http(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    pub async fn started(&self) -> usize {
        self.seen.borrow().started
    }

    /// Pictures of all publications.
    pub fn pictures(&self) -> usize {
        self.seen.borrow().pictures
    }

    pub async fn ends(&self) -> Vec<bool> {
        self.seen.borrow().ends.clone()
    }

    pub fn ladders(&self) -> Vec<Option<Vec<Rung>>> {
        self.seen.borrow().ladders.clone()
    }

    async fn wait(&self, condition: impl FnMut(&Seen) -> bool) {
        let mut seen = self.seen.clone();
        tokio::time::timeout(PATIENCE, seen.wait_for(condition)).await.expect("nothing happened").unwrap();
    }

    pub async fn wait_for_start(&self) {
        self.wait(|seen| seen.started > 0).await;
    }

    pub async fn wait_for_starts(&self, count: usize) {
        self.wait(|seen| seen.started >= count).await;
    }

    pub async fn wait_for_ends(&self, count: usize) {
        self.wait(|seen| seen.ends.len() >= count).await;
    }

    /// Until a source playlist satisfies a condition.
    pub async fn wait_until(&self, name: &str, condition: impl Fn(&str) -> bool) -> String {
        self.wait_until_of(name, "source", condition).await
    }

    /// Until a rendition's playlist satisfies a condition. Each answer of the server is a new look; the server makes early ones wait.
    pub async fn wait_until_of(&self, name: &str, rendition: &str, condition: impl Fn(&str) -> bool) -> String {
        let path = format!("/live/{name}/{rendition}/index.m3u8");
        let look = async {
            let mut poll = tokio::time::interval(Duration::from_millis(50));
            loop {
                let playlist = self.get(&path).await;
                if playlist.status == 200 && condition(&playlist.text) {
                    return playlist.text;
                }
                poll.tick().await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.expect("the playlist never got there")
    }

    pub async fn wait_for_end(&self, name: &str) {
        self.wait_until(name, |playlist| playlist.contains("#EXT-X-ENDLIST")).await;
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.get_with(path, "GET", &[]).await
    }

    pub async fn get_with(&self, path: &str, method: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(method, path, headers, "").await
    }

    /// One HTTP request, spoken by hand.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut socket = tokio::net::TcpStream::connect(self.http).await.unwrap();
        let mut request = format!("{method} {path} HTTP/1.0\r\nHost: test\r\n");
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() {
            request += &format!("Content-Length: {}\r\n", body.len());
        }
        // A server that has heard enough may close before it has read all.
        let _ = socket.write_all((request + "\r\n" + body).as_bytes()).await;
        let mut bytes = Vec::new();
        tokio::time::timeout(PATIENCE, socket.read_to_end(&mut bytes)).await.unwrap().unwrap();
        let split = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = String::from_utf8_lossy(&bytes[..split]).into_owned();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = bytes.split_off(split + 4);
        Answer { status, head, text: String::from_utf8_lossy(&body).into_owned(), body }
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        for task in self.tasks {
            tokio::time::timeout(PATIENCE, task).await.expect("the line does not stop").unwrap();
        }
    }
}

/// What its files would be named by.
const KEYS: Keys = Keys { certificate: "tls_certificate", key: "tls_key", listener: "rtmps_listen" };

/// A certificate for loopback that nobody else has issued.
fn certificate(dir: &Path) -> Arc<Certificate> {
    let (chain, key) = (dir.join(CHAIN), dir.join("key.pem"));
    let issued = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(&chain, issued.cert.pem()).unwrap();
    std::fs::write(&key, issued.signing_key.serialize_pem()).unwrap();
    Certificate::load(KEYS, &chain, &key).unwrap()
}

pub struct Answer {
    pub status: u16,
    head: String,
    pub text: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> String {
        let line = self.head.lines().find_map(|line| {
            let (known, value) = line.split_once(": ")?;
            known.eq_ignore_ascii_case(name).then_some(value)
        });
        line.unwrap_or_default().to_owned()
    }
}

/// What a broadcaster does with a publication, less the orchestrators.
async fn carry(mut publication: Publication, origin: Origin, seen: Arc<watch::Sender<Seen>>) {
    let handle = origin.stream(&publication.name).unwrap();
    seen.send_modify(|seen| seen.ladders.push(publication.ladder.take()));
    let mut segmenter = Segmenter::default();
    while let Some(event) = publication.events.recv().await {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        let (start, end) = match &event {
            IngestEvent::Started { .. } => (true, None),
            IngestEvent::Ended { clean } => (false, Some(*clean)),
            _ => (false, None),
        };
        let picture = matches!(&event, IngestEvent::Unit(unit) if unit.track == TrackKind::Video);
        match segmenter.push(now, event) {
            Ok(events) => handle.apply(&events).unwrap(),
            Err(error) => {
                handle.end(false);
                let _ = publication.stop.send(error.to_string());
                return;
            }
        }
        seen.send_modify(|seen| {
            seen.started += usize::from(start);
            seen.pictures += usize::from(picture);
            seen.ends.extend(end);
        });
    }
}

/// A running FFmpeg. Dropping it kills it.
pub struct Tool {
    child: Child,
    stderr: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
}

pub struct Outcome {
    pub success: bool,
    pub stderr: String,
}

/// An FFmpeg of version 8 or later: the one that `MILLRACE_FFMPEG` names, or the system's own. `None` with a printed line where neither is.
pub fn recent_ffmpeg() -> Option<OsString> {
    // The WHIP muxer came with 8.0.
    let recent = |program: &OsString| {
        let told = std::process::Command::new(program).args(["-hide_banner", "-h", "muxer=whip"]).output();
        told.is_ok_and(|told| String::from_utf8_lossy(&told.stdout).contains("WHIP"))
    };
    let found = std::env::var_os("MILLRACE_FFMPEG").into_iter().chain(["ffmpeg".into()]).find(recent);
    if found.is_none() {
        println!("skipped: no FFmpeg of version 8 or later: MILLRACE_FFMPEG may name one");
    }
    found
}

/// An FFmpeg command that has not started: as fast as it can unless told.
pub struct Push {
    program: OsString,
    before: Vec<String>,
    after: Vec<String>,
}

fn strings(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}

/// Pushes a file, in the container of the URL's protocol.
pub fn push(file: &Path, url: &str, args: &[&str]) -> Push {
    let input = strings(&["-i", file.to_str().unwrap()]);
    let mut after = [input, strings(args)].concat();
    after.extend(strings(&["-f", if url.starts_with("srt:") { "mpegts" } else { "flv" }, url]));
    Push { program: "ffmpeg".into(), before: Vec::new(), after }
}

/// Pushes a made-up picture and tone, long enough to be turned away.
pub fn lavfi(args: &[&str], url: &str) -> Push {
    let mut push = push(Path::new("testsrc2=s=320x240:r=30:d=20"), url, args);
    push.before = strings(&["-re", "-f", "lavfi", "-i", "sine=d=20", "-re", "-f", "lavfi"]);
    push
}

/// Pushes twelve seconds of a tone without a picture, as fast as they are taken.
pub fn tone(url: &str) -> Push {
    let mut push = push(Path::new("sine=d=12:r=48000"), url, &["-c:a", "aac"]);
    push.before = strings(&["-f", "lavfi"]);
    push
}

/// Tries to play.
pub fn play(url: &str) -> Push {
    Push { program: "ffmpeg".into(), before: Vec::new(), after: strings(&["-i", url, "-f", "null", "-"]) }
}

impl Push {
    /// By another FFmpeg than the system's.
    pub fn by(mut self, program: &OsStr) -> Self {
        self.program = program.to_owned();
        self
    }

    /// At so many times the pace of its timestamps.
    pub fn paced(mut self, speed: u32) -> Self {
        self.before.extend(["-readrate".to_owned(), speed.to_string()]);
        self
    }

    /// With options for its first input.
    pub fn before(mut self, args: &[&str]) -> Self {
        self.before.extend(strings(args));
        self
    }

    /// Starts it at the pace of its timestamps.
    pub fn realtime(mut self) -> Tool {
        self.before.push("-re".to_owned());
        self.start()
    }

    pub fn start(self) -> Tool {
        let mut child = Command::new(self.program)
            .args(["-hide_banner", "-nostdin", "-loglevel", "warning"])
            .args(self.before)
            .args(self.after)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("ffmpeg is installed");
        let stderr = Arc::new(Mutex::new(String::new()));
        let (mut pipe, sink) = (child.stderr.take().unwrap(), Arc::clone(&stderr));
        let reader = tokio::spawn(async move {
            let mut bytes = Vec::new();
            let _ = pipe.read_to_end(&mut bytes).await;
            *sink.lock().unwrap() = String::from_utf8_lossy(&bytes).into_owned();
        });
        Tool { child, stderr, reader }
    }

    pub async fn finish(self) -> Outcome {
        let mut tool = self.start();
        let status = tokio::time::timeout(PATIENCE, tool.child.wait()).await.expect("ffmpeg does not end").unwrap();
        let _ = tool.reader.await;
        let stderr = tool.stderr.lock().unwrap().clone();
        Outcome { success: status.success(), stderr }
    }
}

impl Tool {
    /// SIGKILL.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// SIGSTOP: it stays connected and says nothing.
    pub fn pause(&self) {
        let pid = self.child.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args(["-STOP", &pid]).status().unwrap().success());
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

/// Packets by kind.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub video: usize,
    pub audio: usize,
}

/// Counts the packets of a file or URL with ffprobe. MPEG-TS names its streams once per program too: those are dropped.
pub async fn counts(input: &str) -> Counts {
    let args = [
        "-v",
        "error",
        "-count_packets",
        "-show_entries",
        "stream=index,codec_type,nb_read_packets",
        "-of",
        "csv=p=0",
        input,
    ];
    let output = tokio::time::timeout(PATIENCE, Command::new("ffprobe").args(args).kill_on_drop(true).output());
    let output = output.await.expect("ffprobe does not end").unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines: Vec<&str> =
        text.lines().map(|line| line.trim_end_matches(',')).filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    lines.dedup();
    let mut counts = Counts::default();
    for line in lines {
        let mut fields = line.split(',');
        let kind = fields.nth(1).unwrap_or_default();
        let count: usize = fields.next().and_then(|count| count.parse().ok()).unwrap_or(0);
        match kind {
            "video" => counts.video += count,
            "audio" => counts.audio += count,
            _ => {}
        }
    }
    counts
}

/// When each picture of an input is shown, seconds.
pub async fn shown(input: &str) -> Vec<f64> {
    let args = ["-v", "error", "-select_streams", "v", "-show_entries", "packet=pts_time", "-of", "csv=p=0", input];
    let output = tokio::time::timeout(PATIENCE, Command::new("ffprobe").args(args).kill_on_drop(true).output());
    let text = String::from_utf8_lossy(&output.await.expect("ffprobe does not end").unwrap().stdout).into_owned();
    let mut times: Vec<f64> = text.lines().filter_map(|line| line.trim_end_matches(',').parse().ok()).collect();
    times.sort_by(f64::total_cmp);
    times
}

/// Decodes all of an input and returns what FFmpeg complained about.
pub async fn decode_errors(input: &str) -> String {
    let args = ["-v", "error", "-i", input, "-map", "0:v:0?", "-map", "0:a:0?", "-f", "null", "-"];
    let output = tokio::time::timeout(PATIENCE, Command::new("ffmpeg").args(args).kill_on_drop(true).output());
    String::from_utf8_lossy(&output.await.expect("ffmpeg does not end").unwrap().stderr).into_owned()
}
