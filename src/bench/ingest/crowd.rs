//! Many publishers from this process, each in real time: they send what lies ready, so that what is measured is who takes it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use millrace_broadcaster::publisher::{PublisherError, rtmp, whip};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::clip::{Clip, LOOP};
use crate::bench::BenchError;

/// A program that was just started may not listen yet.
const LISTEN_LIMIT: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(50);

/// Where and how one publisher publishes.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// `rtmp://address/live/key`.
    Rtmp(SocketAddr, String),
    /// Below the address of an HTTP server, with a key.
    Whip(String, String),
}

/// Publishers. Dropping it ends them all.
#[derive(Default)]
pub(super) struct Crowd {
    tasks: JoinSet<PublisherError>,
    /// The longest that anything was sent after its time, microseconds.
    late: Arc<AtomicU64>,
    publishing: Arc<AtomicU64>,
    errors: Vec<String>,
}

impl Crowd {
    pub(super) fn add(&mut self, place: Place, clip: &Arc<Clip>, http: &reqwest::Client) {
        let (clip, http) = (clip.clone(), http.clone());
        let (late, publishing) = (self.late.clone(), self.publishing.clone());
        let sent = move |due: Instant| {
            late.fetch_max(due.elapsed().as_micros() as u64, Ordering::Relaxed);
        };
        let begun = move || {
            publishing.fetch_add(1, Ordering::Relaxed);
        };
        self.tasks.spawn(async move {
            let ended = match place {
                Place::Rtmp(address, key) => by_rtmp(address, &key, &clip, begun, sent).await,
                Place::Whip(api, key) => by_whip(&http, &api, &key, &clip, begun, sent).await,
            };
            match ended {
                Ok(never) => match never {},
                Err(error) => error,
            }
        });
    }

    /// Publishers that the server has agreed to.
    pub(super) fn publishing(&self) -> u64 {
        self.publishing.load(Ordering::Relaxed)
    }

    /// The longest that anything was sent after its time since the last call.
    pub(super) fn take_late(&self) -> Duration {
        Duration::from_micros(self.late.swap(0, Ordering::Relaxed))
    }

    /// Why publishers have ended, none of which should.
    pub(super) fn errors(&mut self) -> &[String] {
        while let Some(ended) = self.tasks.try_join_next() {
            self.errors.push(ended.map_or_else(|e| e.to_string(), |e| e.to_string()));
        }
        &self.errors
    }
}

/// Comes in by RTMP, waiting for a server that is still starting.
pub(super) async fn come_in(address: SocketAddr, key: &str, clip: &Clip) -> Result<rtmp::Client, PublisherError> {
    let until = Instant::now() + LISTEN_LIMIT;
    let mut client = loop {
        match rtmp::Client::publish(address, "live", key).await {
            Err(PublisherError::Lost(e))
                if e.kind() == std::io::ErrorKind::ConnectionRefused && Instant::now() < until =>
            {
                tokio::time::sleep(RETRY).await;
            }
            result => break result?,
        }
    };
    for head in &clip.heads {
        client.send(0, head).await?;
    }
    Ok(client)
}

async fn by_rtmp(
    address: SocketAddr,
    key: &str,
    clip: &Clip,
    begun: impl FnOnce(),
    sent: impl Fn(Instant),
) -> Result<std::convert::Infallible, PublisherError> {
    let mut client = come_in(address, key, clip).await?;
    begun();
    let began = Instant::now();
    for round in 0.. {
        for tag in &clip.tags {
            let at = round * LOOP + Duration::from_millis(tag.at.into());
            sleep_until((began + at).into()).await;
            client.send(at.as_millis() as u32, tag).await?;
            sent(began + at);
        }
    }
    Err(PublisherError::Late("the end of time"))
}

/// Comes in by WHIP: the client, and the path of its session.
pub(super) async fn greet(
    http: &reqwest::Client,
    api: &str,
    key: &str,
) -> Result<(whip::Client, String), PublisherError> {
    let refused = |e: &dyn std::fmt::Display| PublisherError::Refused(e.to_string());
    let (mut client, offer) = whip::Client::new().await?;
    let post = http.post(format!("{api}/whip")).header("content-type", "application/sdp").bearer_auth(key).body(offer);
    let answer = post.send().await.map_err(|e| refused(&e))?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let text = answer.text().await.map_err(|e| refused(&e))?;
    if status != reqwest::StatusCode::CREATED {
        return Err(PublisherError::Refused(format!("{status}: {text}")));
    }
    client.accept(&text)?;
    let session = headers.get("location").and_then(|path| path.to_str().ok()).unwrap_or_default().to_owned();
    Ok((client, session))
}

async fn by_whip(
    http: &reqwest::Client,
    api: &str,
    key: &str,
    clip: &Clip,
    begun: impl FnOnce(),
    sent: impl Fn(Instant),
) -> Result<std::convert::Infallible, PublisherError> {
    let (mut client, _) = greet(http, api, key).await?;
    client.connect().await?;
    begun();
    let began = Instant::now();
    for round in 0.. {
        for unit in &clip.units {
            let at = round * LOOP + unit.at;
            client.idle(began + at).await?;
            client.send(unit.video, at, &unit.data).await?;
            sent(began + at);
        }
    }
    Err(PublisherError::Late("the end of time"))
}

/// An HTTP client for WHIP.
pub(super) fn http() -> Result<reqwest::Client, BenchError> {
    Ok(reqwest::Client::builder().timeout(LISTEN_LIMIT).build()?)
}
