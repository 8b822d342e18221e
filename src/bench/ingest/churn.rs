//! What stays behind of publishers that come and go: they publish for seconds and end in every way there is, while the memory of the
//! broadcaster is watched.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use millrace_broadcaster::publisher::{PublisherError, rtmp};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use super::clip::Clip;
use super::crowd::{come_in, greet};
use super::sides::key;
use crate::bench::network::Network;
use crate::bench::report::{Growth, growth};
use crate::bench::{BenchError, Moment, SAMPLE, process};

/// Who comes and goes at once, by RTMP and by WHIP.
const RTMP: usize = 9;
const WHIP: usize = 3;
/// Each has so many names, one after the other: none is wanted again while the server may still wait for its publisher.
const NAMES: usize = 16;
/// How long a publication lasts.
const LENGTH: Duration = Duration::from_secs(3);
/// Before the watch: the streams of all names are there by then, and the first have been put away.
const WARM_UP: Duration = Duration::from_secs(75);

/// How a publisher ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    /// It says so: RTMP's deleteStream, WHIP's DELETE.
    Said,
    /// A process that is killed: a reset, or no packet any more.
    Killed,
    /// The connection is closed in the middle of a picture.
    MidFrame,
    /// Nothing comes any more on a connection that stays.
    Stalled,
    /// It never comes in: half of RTMP's handshake, an offer of WHIP without a connection.
    Begun,
}

impl End {
    const RTMP: [Self; 5] = [Self::Said, Self::Killed, Self::MidFrame, Self::Stalled, Self::Begun];
    const WHIP: [Self; 3] = [Self::Said, Self::Killed, Self::Begun];

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Said => "said that they were done",
            Self::Killed => "were killed",
            Self::MidFrame => "broke off within a picture",
            Self::Stalled => "fell silent",
            Self::Begun => "never came in",
        }
    }
}

/// How many ended in each way, and what went otherwise.
#[derive(Default)]
struct Counts {
    ends: BTreeMap<End, u64>,
    failed: Vec<String>,
}

/// What was seen.
#[derive(Default)]
pub(in crate::bench) struct Churn {
    pub(super) minutes: u32,
    pub(super) ends: BTreeMap<End, u64>,
    /// What went otherwise than it should.
    pub(super) failed: Vec<String>,
    /// Resident memory before anybody came, MiB.
    pub(super) idle: f64,
    pub(super) growth: Option<Growth>,
    /// The same in each quarter of the watch, mean, MiB: whether what grew has come to its end.
    pub(super) quarters: Vec<f64>,
}

/// Watches for `minutes`.
pub(super) async fn measure(network: &Network, clip: &Arc<Clip>, minutes: u32) -> Result<Churn, BenchError> {
    let counts = Arc::new(Mutex::new(Counts::default()));
    let (address, http) = (network.rtmp()?, super::crowd::http()?);
    let idle = network.broadcaster().iter().map(|p| p.rss).sum::<u64>() as f64 / 1024.0;
    let mut visitors = JoinSet::new();
    for slot in 0..RTMP + WHIP {
        let (clip, counts) = (clip.clone(), counts.clone());
        let (api, http) = (network.api().to_owned(), http.clone());
        visitors.spawn(async move {
            sleep(LENGTH * slot as u32 / (RTMP + WHIP) as u32).await; // not all at the same moment
            for round in 0.. {
                let key = key(slot * NAMES + round % NAMES);
                let (end, ended) = if slot < RTMP {
                    let end = End::RTMP[(slot + round) % End::RTMP.len()];
                    (end, by_rtmp(address, &key, &clip, end).await)
                } else {
                    let end = End::WHIP[(slot + round) % End::WHIP.len()];
                    (end, by_whip(&http, &api, &key, &clip, end).await)
                };
                let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
                *counts.ends.entry(end).or_default() += 1;
                if let Err(error) = ended {
                    counts.failed.push(format!("{key} ({}): {error}", end.words()));
                }
            }
        });
    }
    sleep(WARM_UP).await;
    let (began, mut watch) = (Instant::now(), Vec::new());
    let length = Duration::from_secs(60) * minutes;
    while began.elapsed() < length {
        sleep(SAMPLE).await;
        watch.push(Moment { at: began.elapsed(), processes: network.broadcaster(), busy: process::busy_seconds() });
    }
    visitors.shutdown().await;
    let counts = std::mem::take(&mut *counts.lock().unwrap_or_else(PoisonError::into_inner));
    let growth = growth(&watch).into_values().next();
    let quarters = watch.chunks(watch.len().div_ceil(4).max(1)).map(mean).collect();
    Ok(Churn { minutes, ends: counts.ends, failed: counts.failed, idle, growth, quarters })
}

/// Resident memory in these moments, MiB.
fn mean(watch: &[Moment]) -> f64 {
    let kib: u64 = watch.iter().flat_map(|moment| &moment.processes).map(|process| process.rss).sum();
    kib as f64 / 1024.0 / watch.len() as f64
}

async fn by_rtmp(address: SocketAddr, key: &str, clip: &Clip, end: End) -> Result<(), PublisherError> {
    if end == End::Begun {
        let mut socket = TcpStream::connect(address).await?;
        let greeting = rtmp::greeting();
        socket.write_all(&greeting[..greeting.len() / 2]).await?;
        sleep(LENGTH).await;
        return Ok(());
    }
    let mut client = come_in(address, key, clip).await?;
    let began = Instant::now();
    let (now, after) = clip.tags.split_at(clip.tags.partition_point(|tag| u128::from(tag.at) < LENGTH.as_millis()));
    for tag in now {
        sleep_until((began + Duration::from_millis(tag.at.into())).into()).await;
        client.send(tag.at, tag).await?;
    }
    match (end, after.iter().find(|tag| tag.is_video())) {
        (End::Said, _) => client.end().await,
        (End::Stalled, _) => client.closed().await,
        (End::MidFrame, Some(tag)) => client.send_half(tag.at, tag).await,
        _ => Ok(client.kill()?),
    }
}

async fn by_whip(http: &reqwest::Client, api: &str, key: &str, clip: &Clip, end: End) -> Result<(), PublisherError> {
    let (mut client, session) = greet(http, api, key).await?;
    if end == End::Begun {
        sleep(LENGTH).await;
        return Ok(());
    }
    client.connect().await?;
    let began = Instant::now();
    for unit in clip.units.iter().take_while(|unit| unit.at < LENGTH) {
        client.idle(began + unit.at).await?;
        client.send(unit.video, unit.at, &unit.data).await?;
    }
    if end == End::Said {
        let deleted = http.delete(format!("{api}{session}")).bearer_auth(key).send().await;
        let deleted = deleted.and_then(reqwest::Response::error_for_status);
        deleted.map_err(|e| PublisherError::Refused(e.to_string()))?;
    }
    Ok(())
}
