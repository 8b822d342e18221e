//! How long a picture takes from its last packet to its access unit, by each protocol: servers in this process, on threads of their
//! own, and publishers that note when they send.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use millrace_broadcaster::events::{IngestEvent, TrackKind};
use millrace_broadcaster::ingest::srt::SrtOptions;
use millrace_broadcaster::ingest::{Gate, Publication, RtmpServer, SrtServer, Timeouts, WhipServer};
use millrace_broadcaster::publisher::{PublisherError, srt};
use millrace_node::http;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::clip::{Clip, Tail, tail};
use super::crowd::{self, come_in, greet};
use crate::bench::BenchError;

/// Publishers at once, of one protocol.
const PUBLISHERS: usize = 8;
/// How long each publishes: less than the clip, no picture of which comes twice.
const LENGTH: Duration = Duration::from_secs(12);
/// Before the first picture of WHIP, and after the last of those that may be held back.
const REST: Duration = Duration::from_secs(1);
/// What a broadcaster asks of SRT unless it is told otherwise, milliseconds.
const SRT_LATENCY: u32 = 200;

/// Of one protocol.
pub(super) struct Delay {
    pub(super) protocol: &'static str,
    /// From the last packet of a picture to its access unit, sorted.
    pub(super) taken: Vec<Duration>,
    /// Pictures that were sent, and of which no access unit came.
    pub(super) sent: usize,
    pub(super) missing: usize,
}

/// Moments by publisher and picture.
type Moments = Arc<Mutex<HashMap<(usize, Tail), Instant>>>;

fn note(moments: &Moments, publisher: usize, tail: Option<Tail>, at: Instant) {
    if let Some(tail) = tail {
        moments.lock().unwrap_or_else(PoisonError::into_inner).insert((publisher, tail), at);
    }
}

/// The servers.
struct Servers {
    rtmp: SocketAddr,
    srt: SocketAddr,
    http: String,
}

/// Starts them; their events end in `came`.
async fn serve(came: Moments, stop: CancellationToken) -> Result<Servers, BenchError> {
    let failed = |what: &'static str| {
        move |e: &dyn std::fmt::Display| BenchError::io(what)(std::io::Error::other(e.to_string()))
    };
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let gate = Gate::new(Arc::new(|key: &str| Some(key.to_owned())));
    let (publications, mut incoming) = mpsc::channel::<Publication>(PUBLISHERS);
    let rtmp = RtmpServer::bind(any, gate.clone(), Timeouts::default(), None).await.map_err(|e| failed("rtmp")(&e))?;
    let options = SrtOptions::new("", SRT_LATENCY).map_err(|e| failed("srt")(&e))?;
    let srt = SrtServer::bind(any, options, gate.clone()).map_err(BenchError::io("srt"))?;
    let ports = "0".parse().map_err(|e| failed("whip")(&e))?;
    let whip = WhipServer::bind(ports, None, gate, publications.clone(), stop.clone());
    let whip = whip.map_err(BenchError::io("whip"))?;
    let web = TcpListener::bind(any).await.map_err(BenchError::io("http"))?;
    let address = |address: std::io::Result<SocketAddr>| address.map_err(BenchError::io("an address"));
    let servers = Servers {
        rtmp: address(rtmp.local_addr())?,
        srt: address(srt.local_addr())?,
        http: format!("http://{}", address(web.local_addr())?),
    };
    tokio::spawn(rtmp.run(publications.clone(), stop.clone()));
    tokio::spawn(srt.run(publications, stop.clone()));
    tokio::spawn(http::Server::new(web, http::Limits::default()).run(whip.routes(), stop));
    tokio::spawn(async move {
        while let Some(publication) = incoming.recv().await {
            tokio::spawn(take(publication, came.clone()));
        }
    });
    Ok(servers)
}

/// Takes a publication as a broadcaster does, and notes its pictures.
async fn take(mut publication: Publication, came: Moments) {
    let publisher = publication.name.parse().unwrap_or(usize::MAX);
    while let Some(event) = publication.events.recv().await {
        match event {
            IngestEvent::Unit(unit) if unit.track == TrackKind::Video => {
                note(&came, publisher, tail(&unit.data), Instant::now());
            }
            _ => {}
        }
    }
}

/// Measures all three.
pub(super) async fn measure(clip: &Arc<Clip>) -> Result<Vec<Delay>, BenchError> {
    // Threads of their own, as a broadcaster has.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(BenchError::io("threads"))?;
    let (came, stop) = (Moments::default(), CancellationToken::new());
    let serving = runtime.spawn(serve(came.clone(), stop.clone()));
    let measured = async {
        let servers = serving.await.map_err(|e| BenchError::io("the servers")(e.into()))??;
        let http = crowd::http()?;
        let mut delays = Vec::new();
        for protocol in ["RTMP", "WHIP", "SRT"] {
            let sent = Moments::default();
            let mut publishers = JoinSet::new();
            // Names of their own: the server may still wait for those before.
            for n in (0..PUBLISHERS).map(|n| delays.len() * PUBLISHERS + n) {
                let (clip, http, sent) = (clip.clone(), http.clone(), sent.clone());
                let (rtmp, srt, api) = (servers.rtmp, servers.srt, servers.http.clone());
                publishers.spawn(async move {
                    match protocol {
                        "RTMP" => by_rtmp(rtmp, n, &clip, &sent).await,
                        "WHIP" => by_whip(&http, &api, n, &clip, &sent).await,
                        _ => by_srt(srt, n, &clip, &sent).await,
                    }
                });
            }
            for ended in publishers.join_all().await {
                ended.map_err(|error| BenchError::Publisher { protocol, error })?;
            }
            let sent = std::mem::take(&mut *sent.lock().unwrap_or_else(PoisonError::into_inner));
            let came = std::mem::take(&mut *came.lock().unwrap_or_else(PoisonError::into_inner));
            delays.push(Delay::of(protocol, &sent, &came));
        }
        Ok(delays)
    }
    .await;
    stop.cancel();
    runtime.shutdown_background(); // a runtime must not be waited for inside another
    measured
}

impl Delay {
    fn of(
        protocol: &'static str,
        sent: &HashMap<(usize, Tail), Instant>,
        came: &HashMap<(usize, Tail), Instant>,
    ) -> Self {
        let taken = sent.iter().filter_map(|(picture, at)| Some(came.get(picture)?.saturating_duration_since(*at)));
        let mut taken: Vec<Duration> = taken.collect();
        taken.sort_unstable();
        Self { protocol, sent: sent.len(), missing: sent.len() - taken.len(), taken }
    }

    /// So many hundredths of the pictures took no longer than this.
    pub(super) fn percentile(&self, hundredths: usize) -> Option<Duration> {
        self.taken.get(self.taken.len().saturating_sub(1) * hundredths / 100).copied()
    }
}

async fn by_rtmp(address: SocketAddr, n: usize, clip: &Clip, sent: &Moments) -> Result<(), PublisherError> {
    let mut client = come_in(address, &n.to_string(), clip).await?;
    let began = Instant::now();
    for tag in clip.tags.iter().take_while(|tag| u128::from(tag.at) < LENGTH.as_millis()) {
        sleep_until((began + Duration::from_millis(tag.at.into())).into()).await;
        if tag.is_video() {
            note(sent, n, tail(&tag.body), Instant::now());
        }
        client.send(tag.at, tag).await?;
    }
    client.end().await
}

async fn by_whip(
    http: &reqwest::Client,
    api: &str,
    n: usize,
    clip: &Clip,
    sent: &Moments,
) -> Result<(), PublisherError> {
    let (mut client, _) = greet(http, api, &n.to_string()).await?;
    client.connect().await?;
    client.idle(Instant::now() + REST).await?; // the others' handshakes are not what is measured
    let began = Instant::now();
    for unit in clip.units.iter().take_while(|unit| unit.at < LENGTH) {
        client.idle(began + unit.at).await?;
        let last = client.send(unit.video, unit.at, &unit.data).await?;
        if unit.video {
            note(sent, n, tail(&unit.data), last);
        }
    }
    client.idle(Instant::now() + REST).await?;
    client.close().await
}

async fn by_srt(address: SocketAddr, n: usize, clip: &Clip, sent: &Moments) -> Result<(), PublisherError> {
    let mut client = srt::Client::publish(address, &n.to_string()).await?;
    let began = Instant::now();
    for frame in clip.frames.iter().take_while(|frame| frame.at < LENGTH) {
        client.idle(began + frame.at).await?;
        for (index, payload) in frame.payloads.iter().enumerate() {
            if index + 1 == frame.payloads.len() {
                note(sent, n, frame.tail, Instant::now());
            }
            client.send(payload).await?;
        }
    }
    client.idle(Instant::now() + REST).await
}
