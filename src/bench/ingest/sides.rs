//! Who takes the publishers: a broadcaster, or what a user would use instead, each with its own processes and playlists.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::process::{Child, Command};

use super::crowd::Place;
use crate::bench::network::Network;
use crate::bench::process::{self, Process};
use crate::bench::{BenchError, ffmpeg};
use crate::children::tail;

/// As many as a broadcaster takes.
pub(super) const MOST: usize = millrace_broadcaster::ingest::MOST_STREAMS;
/// Two segments: a playlist that has not grown for longer is behind.
const STALE: Duration = Duration::from_secs(4);
/// Where Debian has nginx's module.
const MODULE: &str = "/usr/lib/nginx/modules/ngx_rtmp_module.so";
/// Publishers by WHIP at once that there are ports for: more than two cores take.
const PORTS: usize = 256;
/// UDP ports of WHIP are looked for from here on, a range of [`PORTS`] at a time; below the system's own.
const FIRST_PORT: u16 = 20_000;

/// One of them, running.
pub(super) enum Side {
    Broadcaster { network: Network, whip: bool },
    Nginx { server: Child, address: SocketAddr, dir: PathBuf },
    Ffmpeg { servers: Vec<Child>, dir: PathBuf },
}

pub(crate) fn free_port() -> Result<SocketAddr, BenchError> {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    TcpListener::bind(any).and_then(|socket| socket.local_addr()).map_err(BenchError::io("a free port"))
}

/// A range of UDP ports that nobody has.
fn free_range() -> Result<String, BenchError> {
    let ranges = (FIRST_PORT..30_000).step_by(PORTS).map(|first| first..first + PORTS as u16);
    let free = |range: &std::ops::Range<u16>| range.clone().all(|port| UdpSocket::bind(("0.0.0.0", port)).is_ok());
    let found = ranges.into_iter().find(free).map(|range| format!("{}-{}", range.start, range.end - 1));
    let none = BenchError::io(format!("no {PORTS} free UDP ports in a row from {FIRST_PORT} on"));
    found.ok_or_else(|| none(std::io::ErrorKind::AddrInUse.into()))
}

/// The key of publisher `n`, which is the name of its stream too.
pub(crate) fn key(n: usize) -> String {
    format!("stream-{n}")
}

/// A network whose broadcaster has room for [`MOST`] publishers from here, and neither a ladder nor anybody to make one.
pub(crate) async fn broadcaster(dir: &Path) -> Result<Network, BenchError> {
    std::fs::create_dir_all(dir).map_err(BenchError::io(dir.display()))?;
    let keys: Vec<String> = (0..=MOST).map(|n| format!("{{ name = {0:?}, key = {0:?} }}", key(n))).collect();
    let most = MOST.to_string();
    let settings = [
        ("KEYS", format!("[{}]", keys.join(", "))),
        ("MAX_STREAMS", most.clone()),
        ("MAX_STREAMS_PER_ADDRESS", most),
        ("MAX_CONNECTIONS_PER_ADDRESS", (2 * MOST).to_string()),
        ("WHIP_UDP_PORTS", free_range()?),
        ("LADDER", "[]".to_owned()),
        ("ORCHESTRATORS", "[]".to_owned()),
    ];
    Network::start_with(dir, &["--transcoders", "0"], &settings).await
}

impl Side {
    /// nginx with its RTMP module packaging HLS, or `None` where there is none.
    pub(super) fn nginx(dir: &Path) -> Result<Option<Self>, BenchError> {
        if !Path::new(MODULE).exists() {
            return Ok(None);
        }
        let (dir, address) = (dir.join("nginx"), free_port()?);
        std::fs::create_dir_all(dir.join("hls")).map_err(BenchError::io(dir.display()))?;
        // Workers write where this process may.
        let user = if std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0) {
            "user root;"
        } else {
            ""
        };
        let (cores, at) = (std::thread::available_parallelism().map_or(1, usize::from), dir.display());
        let config = format!(
            "load_module {MODULE}; {user} daemon off; worker_processes {cores}; pid {at}/pid; error_log {at}/log;\n\
             events {{ worker_connections 4096; }}\n\
             rtmp {{ access_log off; server {{ listen {address}; chunk_size 65536; application live {{ live on; hls on; \
             hls_path {at}/hls; hls_fragment 2s; hls_playlist_length 20s; }} }} }}\n"
        );
        let file = dir.join("nginx.conf");
        std::fs::write(&file, config).map_err(BenchError::io(file.display()))?;
        let server = Command::new("nginx")
            .arg("-p")
            .arg(&dir)
            .arg("-e")
            .arg(dir.join("log"))
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        match server {
            Ok(server) => Ok(Some(Self::Nginx { server, address, dir })),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(BenchError::io("nginx")(error)),
        }
    }

    /// One ffmpeg for each publisher.
    pub(super) fn ffmpeg(dir: &Path) -> Self {
        Self::Ffmpeg { servers: Vec::new(), dir: dir.join("ffmpeg") }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Broadcaster { whip: false, .. } => "Millrace, RTMP",
            Self::Broadcaster { whip: true, .. } => "Millrace, WHIP",
            Self::Nginx { .. } => "nginx-rtmp, RTMP",
            Self::Ffmpeg { .. } => "an ffmpeg each, RTMP",
        }
    }

    /// The place of publisher `n`.
    pub(super) fn place(&mut self, n: usize) -> Result<Place, BenchError> {
        match self {
            Self::Broadcaster { network, whip: true } => Ok(Place::Whip(network.api().to_owned(), key(n))),
            Self::Broadcaster { network, .. } => Ok(Place::Rtmp(network.rtmp()?, key(n))),
            Self::Nginx { address, .. } => Ok(Place::Rtmp(*address, key(n))),
            Self::Ffmpeg { servers, dir } => {
                let (address, dir) = (free_port()?, dir.join(n.to_string()));
                std::fs::create_dir_all(&dir).map_err(BenchError::io(dir.display()))?;
                let mut command = ffmpeg::command();
                command.args(["-listen", "1", "-f", "flv", "-i", &format!("rtmp://{address}/live/{}", key(n))]);
                command.args(["-c", "copy", "-f", "hls", "-hls_segment_type", "fmp4", "-hls_time", "2"]);
                command.args(["-hls_list_size", "10", "-hls_flags", "delete_segments"]).arg(dir.join("index.m3u8"));
                let log = dir.join("log");
                let output = std::fs::File::create(&log).map_err(BenchError::io(log.display()))?;
                command.current_dir(&dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
                servers.push(command.kill_on_drop(true).spawn().map_err(BenchError::io("ffmpeg"))?);
                Ok(Place::Rtmp(address, key(n)))
            }
        }
    }

    /// The processes that take publishers, now.
    pub(super) fn processes(&self) -> Vec<Process> {
        let trees = |children: &mut dyn Iterator<Item = &Child>| {
            children.filter_map(Child::id).flat_map(process::tree).collect()
        };
        match self {
            Self::Broadcaster { network, .. } => network.broadcaster(),
            Self::Nginx { server, .. } => trees(&mut std::iter::once(server)),
            Self::Ffmpeg { servers, .. } => trees(&mut servers.iter()),
        }
    }

    /// How far behind live the playlist of publisher `n` ends; `None` where there is no playlist.
    async fn behind(&self, n: usize) -> Option<Duration> {
        let file = match self {
            Self::Broadcaster { network, .. } => return network.behind(&key(n)).await,
            Self::Nginx { dir, .. } => dir.join("hls").join(format!("{}.m3u8", key(n))),
            Self::Ffmpeg { dir, .. } => dir.join(n.to_string()).join("index.m3u8"),
        };
        let written = std::fs::metadata(file).ok()?.modified().ok()?;
        Some(SystemTime::now().duration_since(written).unwrap_or_default())
    }

    /// How many of the playlists of these publishers are not there or behind.
    pub(super) async fn stale(&self, publishers: &[usize]) -> usize {
        let mut stale = 0;
        for &n in publishers {
            stale += usize::from(self.behind(n).await.is_none_or(|behind| behind > STALE));
        }
        stale
    }

    /// What it has said last, of what was wrong.
    pub(super) fn said(&self) -> String {
        match self {
            Self::Broadcaster { .. } => String::new(),
            Self::Nginx { dir, .. } => tail(&dir.join("log"), 3),
            Self::Ffmpeg { servers, dir } => {
                tail(&dir.join(servers.len().saturating_sub(1).to_string()).join("log"), 3)
            }
        }
    }

    /// Ends it; a broadcaster is left to whoever has more to ask of it.
    pub(super) async fn stop(self) -> Option<Network> {
        match self {
            Self::Broadcaster { network, .. } => return Some(network),
            Self::Nginx { mut server, .. } => {
                // Its workers end with it only where it is told.
                if let Some(pid) = server.id() {
                    let _ = Command::new("kill").arg(pid.to_string()).status().await;
                }
                let _ = tokio::time::timeout(STALE, server.wait()).await; // dropped, it is killed
            }
            Self::Ffmpeg { mut servers, .. } => {
                for server in &mut servers {
                    let _ = server.kill().await; // it may have ended with its publisher
                }
            }
        }
        None
    }
}

/// How long before now a playlist of Millrace ends, by its own dates.
pub(crate) fn behind(playlist: &str) -> Option<Duration> {
    let last = |tag: &str| playlist.lines().rev().find_map(|line| line.strip_prefix(tag));
    let date = last("#EXT-X-PROGRAM-DATE-TIME:")?;
    let length: f64 = last("#EXTINF:")?.trim_end_matches(',').parse().ok()?;
    let end = unix_seconds(date)? + length;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    Some(Duration::from_secs_f64((now - end).max(0.0)))
}

/// Seconds since 1970 of a date as the origin writes them.
fn unix_seconds(date: &str) -> Option<f64> {
    Some(humantime::parse_rfc3339(date).ok()?.duration_since(UNIX_EPOCH).ok()?.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_of_a_playlist_is_read() {
        assert_eq!(unix_seconds("1970-01-01T00:00:01.500Z"), Some(1.5));
        assert_eq!(unix_seconds("2024-02-29T12:00:00.000Z"), Some(1_709_208_000.0));
        assert_eq!(unix_seconds("2026-03-01T00:00:00.250Z"), Some(1_772_323_200.25));
        assert_eq!(unix_seconds("yesterday"), None);
    }

    #[test]
    fn a_playlist_ends_where_its_last_segment_does() {
        let playlist = |date: &str| {
            format!("#EXTM3U\n#EXT-X-PROGRAM-DATE-TIME:{date}\n#EXTINF:2.00000,\n1.m4s\n#EXTINF:2.00000,\n2.m4s\n")
        };
        assert!(behind(&playlist("2020-01-01T00:00:00.000Z")).unwrap() > STALE);
        assert_eq!(behind(&playlist("2999-01-01T00:00:00.000Z")), Some(Duration::ZERO));
        assert_eq!(behind("#EXTM3U\n"), None);
    }
}
