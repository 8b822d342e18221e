//! What viewers cost: players of one live stream over HTTP/1.1 with keep-alive, as many as a site has, from the origin of a broadcaster and
//! from nginx with the same bytes in a folder in memory; and playlist reloads that are held open until their segment is there.

use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::ingest::{free_port, key, publishers_only};
use super::network::Network;
use super::process::{self, Machine, Process};
use super::{BenchError, ffmpeg, say};

/// What is published: name, picture, bit/s of it, and viewers at once. One thread sends all requests and reads all answers.
const PACES: [(&str, &str, &str, usize); 2] = [("360p", "640x360", "504k", 1_000), ("720p", "1280x720", "2400k", 400)];
/// Reloads that are held open at once.
const HELD: usize = 1_000;
/// Seconds of the clip, which is published in a loop, and of a segment.
const CLIP: &str = "20";
const SEGMENT: Duration = Duration::from_secs(2);
/// Until the playlist is as long as it gets.
const FILL: Duration = Duration::from_secs(26);
/// Until all viewers have come, and then what is measured over.
const ARRIVE: Duration = Duration::from_secs(6);
const WATCH: Duration = Duration::from_secs(16);
/// Longest wait for an answer: a held one is due within a segment.
const ANSWER: Duration = Duration::from_secs(10);
/// Until those who hold hold.
const HOLD: Duration = Duration::from_millis(300);
/// Most bytes of a head, and of a playlist.
const MOST_TEXT: usize = 256 << 10;

/// One crowd at one server.
struct Row {
    pace: &'static str,
    server: &'static str,
    viewers: usize,
    /// Of one core, without viewers and with them; of this process, with them.
    idle: f64,
    busy: f64,
    own: f64,
    /// Resident memory without and with them, KiB.
    rss: [u64; 2],
    /// Answers and bytes a second.
    answers: f64,
    bytes: f64,
    /// The slowest answer; those that were not there within a segment, or failed.
    slowest: Duration,
    late: u64,
}

/// Reloads that wait.
struct Held {
    /// Resident memory before and while they wait, KiB.
    rss: [u64; 2],
    /// Those whose answer had the segment that they asked for, and half of all waits are no longer.
    fulfilled: usize,
    median: Duration,
}

/// What was measured.
pub(super) struct Viewers {
    machine: Machine,
    rows: Vec<Row>,
    held: Held,
}

/// What a crowd has seen.
#[derive(Default)]
struct Seen {
    answers: AtomicU64,
    bytes: AtomicU64,
    /// Microseconds.
    slowest: AtomicU64,
    late: AtomicU64,
}

/// A connection that stays open.
struct Connection {
    stream: BufReader<TcpStream>,
    at: SocketAddr,
}

impl Connection {
    async fn open(at: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(at).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::with_capacity(64 << 10, stream), at })
    }

    async fn ask(&mut self, path: &str) -> std::io::Result<()> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.at);
        self.stream.get_mut().write_all(request.as_bytes()).await
    }

    /// The body of an answer with 200, which is kept where it is text; and its length.
    async fn answer(&mut self, keep: bool) -> std::io::Result<(Vec<u8>, u64)> {
        let wrong = |what: String| std::io::Error::other(what);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.stream.read_u8().await?);
            if head.len() > MOST_TEXT {
                return Err(wrong("a head without an end".into()));
            }
        }
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<u64>().ok());
        let (Some(length), true) = (length, head.starts_with("http/1.1 200")) else {
            return Err(wrong(head.lines().next().unwrap_or_default().to_owned()));
        };
        let mut body = Vec::new();
        let mut part = (&mut self.stream).take(length);
        let read = if keep {
            part.read_to_end(&mut body).await? as u64
        } else {
            tokio::io::copy_buf(&mut part, &mut tokio::io::sink()).await?
        };
        if read == length { Ok((body, length)) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
    }

    async fn get(&mut self, path: &str, keep: bool) -> std::io::Result<(Vec<u8>, u64)> {
        let asked = async {
            self.ask(path).await?;
            self.answer(keep).await
        };
        timeout(ANSWER, asked).await?
    }

    async fn playlist(&mut self, path: &str) -> std::io::Result<String> {
        Ok(String::from_utf8_lossy(&self.get(path, true).await?.0).into_owned())
    }
}

/// The addresses of a playlist's segments.
fn segments(playlist: &str) -> impl DoubleEndedIterator<Item = &str> {
    playlist.lines().filter(|line| !line.is_empty() && !line.starts_with('#') && line.contains(".m4s"))
}

/// The number of the segment that a playlist gets next.
fn next(playlist: &str) -> u64 {
    let first = playlist.lines().find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:")?.trim().parse().ok());
    first.unwrap_or(0) + segments(playlist).count() as u64
}

/// Watches until it is dropped: the playlist once a segment, and what is new at its end.
async fn view(at: SocketAddr, folder: Arc<str>, first: Duration, seen: Arc<Seen>) {
    sleep(first).await;
    let mut due = tokio::time::interval(SEGMENT);
    let (mut connection, mut last) = (None, String::new());
    loop {
        due.tick().await;
        let watched = async {
            let mut open = match connection.take() {
                Some(open) => open,
                None => Connection::open(at).await?,
            };
            let asked = Instant::now();
            let playlist = open.playlist(&format!("{folder}index.m3u8")).await?;
            note(&seen, asked, playlist.len() as u64);
            if let Some(newest) = segments(&playlist).next_back().filter(|newest| **newest != last) {
                let asked = Instant::now();
                let (_, length) = open.get(&format!("{folder}{newest}"), false).await?;
                note(&seen, asked, length);
                last = newest.to_owned();
            }
            Ok::<_, std::io::Error>(open)
        };
        match watched.await {
            Ok(open) => connection = Some(open),
            Err(_) => drop(seen.late.fetch_add(1, Ordering::Relaxed)),
        }
    }
}

fn note(seen: &Seen, asked: Instant, bytes: u64) {
    let took = asked.elapsed();
    seen.answers.fetch_add(1, Ordering::Relaxed);
    seen.bytes.fetch_add(bytes, Ordering::Relaxed);
    seen.slowest.fetch_max(took.as_micros() as u64, Ordering::Relaxed);
    seen.late.fetch_add(u64::from(took > SEGMENT), Ordering::Relaxed);
}

/// A server of the stream.
struct Side<'a> {
    name: &'static str,
    at: SocketAddr,
    folder: Arc<str>,
    processes: &'a (dyn Fn() -> Vec<Process> + 'a),
}

impl Side<'_> {
    fn cpu(&self) -> f64 {
        (self.processes)().iter().map(|process| process.cpu).sum()
    }

    fn rss(&self) -> u64 {
        (self.processes)().iter().map(|process| process.rss).sum()
    }

    /// Its share of one core over `WATCH`.
    async fn share(&self) -> f64 {
        let (began, cpu) = (Instant::now(), self.cpu());
        sleep(WATCH).await;
        (self.cpu() - cpu) / began.elapsed().as_secs_f64()
    }

    async fn watched(&self, pace: &'static str, viewers: usize) -> Row {
        say(&format!("{}: {viewers} viewers of {pace}", self.name));
        let (idle, rss, seen) = (self.share().await, self.rss(), Arc::new(Seen::default()));
        let mut crowd = JoinSet::new();
        for n in 0..viewers {
            let first = ARRIVE.mul_f64(0.6 * n as f64 / viewers as f64); // spread over nearly two segments
            crowd.spawn(view(self.at, self.folder.clone(), first, seen.clone()));
        }
        sleep(ARRIVE).await;
        let take = |of: &AtomicU64| of.swap(0, Ordering::Relaxed);
        for of in [&seen.answers, &seen.bytes, &seen.slowest, &seen.late] {
            take(of);
        }
        let (began, own) = (Instant::now(), process::own_seconds());
        let busy = self.share().await;
        let seconds = began.elapsed().as_secs_f64();
        Row {
            pace,
            server: self.name,
            viewers,
            idle,
            busy,
            own: (process::own_seconds() - own) / seconds,
            rss: [rss, self.rss()],
            answers: take(&seen.answers) as f64 / seconds,
            bytes: take(&seen.bytes) as f64 / seconds,
            slowest: Duration::from_micros(take(&seen.slowest)),
            late: take(&seen.late),
        }
    }

    /// Reloads that wait for the next segment, and among them a client that asks for segments and reads none.
    async fn held(&self) -> std::io::Result<Held> {
        say(&format!("{}: {HELD} reloads held open", self.name));
        let path = format!("{}index.m3u8", self.folder);
        let mut first = Connection::open(self.at).await?;
        let playlist = first.playlist(&path).await?;
        let mut slow = Connection::open(self.at).await?;
        for segment in segments(&playlist) {
            slow.ask(&format!("{}{segment}", self.folder)).await?;
        }
        let before = self.rss();
        let mut open = Vec::new();
        for _ in 0..HELD {
            open.push(Connection::open(self.at).await?);
        }
        // Just after a segment, so that all of them wait for the same one.
        let known = next(&first.playlist(&path).await?);
        let mut wanted = known;
        while wanted == known {
            sleep(HOLD / 6).await;
            wanted = next(&first.playlist(&path).await?);
        }
        let asked = format!("{path}?_HLS_msn={wanted}&_HLS_part=0");
        let mut waits = JoinSet::new();
        for mut connection in open {
            let asked = asked.clone();
            waits.spawn(async move {
                let began = Instant::now();
                let playlist = connection.playlist(&asked).await?;
                // A part of it is enough: it is listed before the segment is whole.
                let there = next(&playlist) > wanted || playlist.contains("#EXT-X-PART:") && next(&playlist) >= wanted;
                Ok::<_, std::io::Error>((began.elapsed(), there))
            });
        }
        sleep(HOLD).await;
        let rss = [before, self.rss()];
        let all: Vec<_> = waits.join_all().await.into_iter().flatten().collect();
        let mut took: Vec<Duration> = all.iter().map(|(took, _)| *took).collect();
        took.sort_unstable();
        drop(slow);
        let fulfilled = all.iter().filter(|(_, there)| *there).count();
        Ok(Held { rss, fulfilled, median: took.get(took.len() / 2).copied().unwrap_or_default() })
    }
}

/// Copies what the origin lists to `folder`, as a packager would have written it.
async fn mirror(at: SocketAddr, from: Arc<str>, folder: PathBuf) -> std::io::Result<()> {
    let mut connection = Connection::open(at).await?;
    loop {
        let playlist = connection.playlist(&format!("{from}index.m3u8")).await?;
        for segment in segments(&playlist) {
            let file = folder.join(segment.split('?').next().unwrap_or(segment));
            if !file.exists() {
                tokio::fs::write(&file, connection.get(&format!("{from}{segment}"), true).await?.0).await?;
            }
        }
        tokio::fs::write(folder.join("next"), playlist).await?;
        tokio::fs::rename(folder.join("next"), folder.join("index.m3u8")).await?;
        sleep(SEGMENT / 4).await;
    }
}

/// nginx as its manual tunes it for files, or `None` where there is none.
async fn nginx(dir: &Path) -> Result<Option<(Child, SocketAddr)>, BenchError> {
    let (at, cores) = (free_port()?, std::thread::available_parallelism().map_or(1, usize::from));
    let config = format!(
        "daemon off; worker_processes {cores}; pid {0}/pid; error_log {0}/log;\nevents {{ worker_connections 4096; }}\n\
         http {{ access_log off; sendfile on; tcp_nopush on; keepalive_timeout 65; keepalive_requests 1000000; open_file_cache max=1000; \
         open_file_cache_valid 1s; types {{ application/vnd.apple.mpegurl m3u8; video/mp4 m4s; }} server {{ listen {at} backlog=4096; \
         root {0}; }} }}\n",
        dir.display()
    );
    let file = dir.join("nginx.conf");
    std::fs::write(&file, config).map_err(BenchError::io(file.display()))?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(dir).arg("-e").arg(dir.join("log")).arg("-c").arg(&file).args(["-g", "user root;"]);
    let server = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn();
    match server {
        Ok(server) => Ok(Some((server, at))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(BenchError::io("nginx")(error)),
    }
}

/// Publishes a clip of `size` at `bitrate`, made once, in a loop.
async fn publish(dir: &Path, size: &str, bitrate: &str, url: &str) -> Result<Child, BenchError> {
    let clip = dir.join(format!("{size}.flv"));
    let mut make = ffmpeg::command();
    make.args(["-f", "lavfi", "-i", &format!("testsrc2=size={size}:rate=30,noise=alls=12:allf=t")]);
    make.args([
        "-f", "lavfi", "-i", "sine", "-t", CLIP, "-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p",
    ]);
    make.args([
        "-g",
        "60",
        "-sc_threshold",
        "0",
        "-bf",
        "0",
        "-b:v",
        bitrate,
        "-maxrate",
        bitrate,
        "-bufsize",
        bitrate,
    ]);
    make.args(["-c:a", "aac", "-b:a", "96k", "-f", "flv"]).arg(&clip);
    let status = make.stdin(Stdio::null()).status().await.map_err(BenchError::io("ffmpeg"))?;
    if !status.success() {
        return Err(BenchError::Ended { what: "ffmpeg", status, said: "see above".into() });
    }
    let mut publish = ffmpeg::command();
    publish.args(["-re", "-stream_loop", "-1", "-i"]).arg(&clip).args(["-c", "copy", "-f", "flv", url]);
    publish.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).spawn().map_err(BenchError::io("ffmpeg"))
}

/// Measures all of it, in a minute or two for each pace.
pub(super) async fn measure(dir: &Path, stop: &CancellationToken) -> Result<Viewers, BenchError> {
    let machine = Machine::look();
    let network = publishers_only(&dir.join("node")).await?;
    let measured = stop.run_until_cancelled(all(dir, &network)).await;
    network.stop().await;
    let (rows, held) = measured.ok_or(BenchError::Stopped)??;
    Ok(Viewers { machine, rows, held })
}

async fn all(dir: &Path, network: &Network) -> Result<(Vec<Row>, Held), BenchError> {
    let failed = BenchError::io("the broadcaster's address");
    let at = network
        .api()
        .trim_start_matches("http://")
        .parse()
        .map_err(|_| failed(std::io::ErrorKind::InvalidInput.into()))?;
    let memory = tempfile::Builder::new().prefix("millrace-bench-").tempdir_in("/dev/shm");
    let memory = memory.map_err(BenchError::io("a folder in /dev/shm"))?;
    let server = nginx(memory.path()).await?;
    let (mut rows, mut held) = (Vec::new(), None);
    for (n, (pace, size, bitrate, viewers)) in PACES.into_iter().enumerate() {
        say(&format!("a stream of {pace}"));
        let _publisher = publish(dir, size, bitrate, &format!("rtmp://{}/live/{}", network.rtmp()?, key(n))).await?;
        sleep(FILL).await;
        let folder: Arc<str> = format!("/live/{}/source/", key(n)).into();
        let own = || network.broadcaster();
        let millrace = Side { name: "Millrace", at, folder: folder.clone(), processes: &own };
        rows.push(millrace.watched(pace, viewers).await);
        if held.is_none() {
            held = Some(millrace.held().await.map_err(BenchError::io("held reloads"))?);
        }
        if let Some((child, address)) = &server {
            let copy = memory.path().join(folder.trim_start_matches('/'));
            std::fs::create_dir_all(&copy).map_err(BenchError::io(copy.display()))?;
            let _mirror = AbortOnDropHandle::new(tokio::spawn(mirror(at, folder.clone(), copy)));
            let processes = || child.id().map(process::tree).unwrap_or_default();
            let side = Side { name: "nginx", at: *address, folder, processes: &processes };
            rows.push(side.watched(pace, viewers).await);
        }
    }
    if let Some((mut child, _)) = server {
        if let Some(pid) = child.id() {
            let _ = Command::new("kill").arg(pid.to_string()).status().await; // its workers end with it where it is told
        }
        let _ = timeout(ANSWER, child.wait()).await; // dropped, it is killed
    }
    held.map(|held| (rows, held)).ok_or(BenchError::Stopped)
}

impl Row {
    /// Viewers that one core would serve.
    fn per_core(&self) -> f64 {
        self.viewers as f64 / (self.busy - self.idle).max(f64::EPSILON)
    }
}

impl Display for Viewers {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Machine { cores, model, load } = &self.machine;
        writeln!(f, "## Viewers\n\nMachine: {cores} cores of {model}; load average before: {load}.\n")?;
        writeln!(
            f,
            "Each viewer has one connection over loopback and asks for the playlist once in 2 s, and for the newest segment when there is one. \
             nginx has the same bytes in files in memory. Processor time is the server's, what viewers add to it; the sender's is beside it.\n"
        )?;
        writeln!(
            f,
            "| stream | server | viewers | without, of one core | with | viewers a core | answers a second | Mbit/s | KiB a viewer | slowest | \
             late or failed | sender, of one core |\n| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
        )?;
        for row in &self.rows {
            writeln!(
                f,
                "| {} | {} | {} | {:.1} % | {:.1} % | {:.0} | {:.0} | {:.0} | {:.1} | {:.0} ms | {} | {:.0} % |",
                row.pace,
                row.server,
                row.viewers,
                100.0 * row.idle,
                100.0 * row.busy,
                row.per_core(),
                row.answers,
                row.bytes * 8.0 / 1e6,
                (row.rss[1] as f64 - row.rss[0] as f64) / row.viewers as f64,
                row.slowest.as_secs_f64() * 1e3,
                row.late,
                100.0 * row.own,
            )?;
        }
        let pairs: Vec<_> = self.rows.windows(2).filter(|pair| pair[0].pace == pair[1].pace).collect();
        for pair in &pairs {
            writeln!(
                f,
                "\n{}: viewers a core, Millrace ÷ nginx: {:.2}.",
                pair[0].pace,
                pair[0].per_core() / pair[1].per_core()
            )?;
        }
        if pairs.is_empty() {
            writeln!(f, "\nThere is no nginx here to compare with (Debian's nginx-light).")?;
        }
        let Held { rss, fulfilled, median } = &self.held;
        let each = (rss[1] as f64 - rss[0] as f64) / HELD as f64;
        writeln!(
            f,
            "\n{HELD} reloads at once with `_HLS_msn` of the next segment, and one client that asks for ten segments and reads none: {fulfilled} were \
             answered with it, half of all within {:.0} ms; {each:.1} KiB for each while they wait.",
            median.as_secs_f64() * 1e3
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_segment_follows_the_last_that_is_listed() {
        let playlist = "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:7\n#EXTINF:2.0,\n7.m4s?v=1\n#EXTINF:2.0,\n8.m4s?v=1\n";
        assert_eq!((next(playlist), segments(playlist).next_back()), (9, Some("8.m4s?v=1")));
        assert_eq!(next("#EXTM3U\n"), 0);
    }
}
