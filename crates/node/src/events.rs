//! What changes on a node, told as it happens: server-sent events with the same JSON as the calls.
//!
//! One task reads every topic some times a second while anybody listens, and keeps what has changed in one ring. Listeners have a place
//! in it and no queue of their own: one that is slow costs nothing, and one that the ring has overtaken is told so.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::future::BoxFuture;
use futures::stream::unfold;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};
use tokio_util::sync::CancellationToken;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::{Caller, Problem};
use crate::log::Lines;

/// How often topics are read: people see no difference to at once.
const TICK: Duration = Duration::from_millis(500);
/// Listeners at once. Each console has one.
const MOST_LISTENERS: usize = 64;
/// What one who is too many is told to wait.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// Events that are kept, for those who come back, and their bytes: some seconds of a busy node, minutes of another. Each listener may
/// have as much on its way.
const MOST_EVENTS: usize = 512;
const MOST_BYTES: usize = 1 << 20;
/// A comment goes out when nothing else did, so that proxies keep the connection and dead ones are noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Then a listener comes back, which browsers do by themselves, and is asked again who it is.
const LONGEST: Duration = Duration::from_secs(900);

/// Reads a topic: its JSON, for whom the node trusts or not. `None` where it cannot be read now.
type Read = Box<dyn Fn(bool) -> BoxFuture<'static, Option<String>> + Send + Sync>;

/// Something that changes.
pub struct Topic {
    name: &'static str,
    read: Read,
}

impl Topic {
    /// The topic `name`: the state that `read` gives as JSON, told when it has changed. It is asked whether its listener is trusted.
    pub fn new(
        name: &'static str,
        read: impl Fn(bool) -> BoxFuture<'static, Option<String>> + Send + Sync + 'static,
    ) -> Self {
        Self { name, read: Box::new(read) }
    }
}

/// The name of the topic that log lines have.
const LOG: &str = "log";

#[derive(Clone)]
struct Told {
    number: u64,
    topic: &'static str,
    /// For whom the node trusts, and for others.
    texts: [Arc<str>; 2],
}

#[derive(Default)]
struct Ring {
    /// Rising numbers without a gap.
    events: VecDeque<Told>,
    bytes: usize,
    next: u64,
    /// The last of each topic.
    states: Vec<Told>,
    log_seen: u64,
}

impl Ring {
    fn push(&mut self, topic: &'static str, texts: [Arc<str>; 2]) {
        self.next += 1;
        let told = Told { number: self.next, topic, texts };
        if topic != LOG {
            self.states.retain(|state| state.topic != topic);
            self.states.push(told.clone());
        }
        self.bytes += told.size();
        self.events.push_back(told);
        while self.events.len() > MOST_EVENTS || self.bytes > MOST_BYTES {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= oldest.size();
        }
    }

    /// Whether everything after `number` is still here.
    fn has_after(&self, number: u64) -> bool {
        number <= self.next && self.events.front().map_or(number == self.next, |first| first.number <= number + 1)
    }
}

impl Told {
    fn size(&self) -> usize {
        self.texts.iter().map(|text| text.len()).sum()
    }
}

/// The events of a node.
pub struct Events {
    topics: Vec<Topic>,
    lines: Lines,
    /// Tells one life of the node from the next in events' ids.
    life: String,
    ring: Mutex<Ring>,
    ticks: watch::Sender<u64>,
    listeners: AtomicUsize,
    stop: CancellationToken,
}

/// One listener's right to listen.
struct Place(Arc<Events>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.listeners.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Events {
    /// Events of these topics and of the log, until `stop`. [`Events::run`] makes them.
    pub fn new(topics: Vec<Topic>, lines: Lines, stop: CancellationToken) -> Arc<Self> {
        let (life, ring) = (format!("{:08x}", rand::random::<u32>()), Mutex::default());
        let (ticks, listeners) = (watch::Sender::new(0), AtomicUsize::new(0));
        Arc::new(Self { topics, lines, life, ring, ticks, listeners, stop })
    }

    /// `/v1/events`.
    pub fn router(self: &Arc<Self>) -> OpenApiRouter {
        routes().with_state(self.clone())
    }

    /// Reads the topics while anybody listens.
    pub async fn run(self: Arc<Self>) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.stop.cancelled() => return,
            }
            if self.listeners.load(Ordering::Relaxed) == 0 {
                self.ring().log_seen = self.lines.end();
                continue;
            }
            tokio::select! {
                () = self.look() => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    async fn look(&self) {
        for topic in &self.topics {
            let (Some(ours), Some(others)) = ((topic.read)(true).await, (topic.read)(false).await) else { continue };
            let ours: Arc<str> = ours.into();
            let others = if *ours == *others { ours.clone() } else { others.into() };
            let mut ring = self.ring();
            let known = ring.states.iter().find(|state| state.topic == topic.name);
            if known.is_none_or(|known| known.texts != [ours.clone(), others.clone()]) {
                ring.push(topic.name, [ours, others]);
            }
        }
        let mut ring = self.ring();
        let (lines, end) = self.lines.after(ring.log_seen);
        ring.log_seen = end;
        if !lines.is_empty()
            && let Ok(text) = serde_json::to_string(&lines)
        {
            let text: Arc<str> = text.into();
            ring.push(LOG, [text.clone(), text]);
        }
        drop(ring);
        self.ticks.send_modify(|ticks| *ticks += 1);
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(self: &Arc<Self>) -> Result<Place, Problem> {
        let place = self
            .listeners
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| (open < MOST_LISTENERS).then_some(open + 1));
        place.map(|_| Place(self.clone())).map_err(|_| {
            let words = format!("{MOST_LISTENERS} listeners are open, the limit: try again, or poll the calls");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, words).retry_after(RETRY_AFTER)
        })
    }

    /// The topics in a list, or all.
    fn wanted(&self, asked: Option<&str>) -> Result<BTreeSet<&'static str>, Problem> {
        let known: BTreeSet<&'static str> = self.topics.iter().map(|topic| topic.name).chain([LOG]).collect();
        let Some(asked) = asked else { return Ok(known) };
        let find = |name: &str| {
            known.get(name).copied().ok_or_else(|| {
                let all = known.iter().copied().collect::<Vec<_>>().join(", ");
                let words = format!("{name:?} is no topic of this node, which has {all}");
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, words)
            })
        };
        asked.split(',').map(str::trim).map(find).collect()
    }

    /// The number in an id of this life.
    fn number(&self, id: &str) -> Option<u64> {
        id.split_once('-').filter(|(life, _)| *life == self.life)?.1.parse().ok()
    }

    fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.life)
    }
}

fn routes() -> OpenApiRouter<Arc<Events>> {
    OpenApiRouter::new().routes(routes!(events))
}

/// What this call is.
pub fn calls() -> utoipa::openapi::OpenApi {
    routes().into_openapi()
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Asked {
    /// Topics, comma-separated: `segments`, `tickets`, `log`, a broadcaster's `streams`, an orchestrator's `transcoders`; all unless said
    /// otherwise.
    topics: Option<String>,
}

/// A place in the ring.
struct Listener {
    place: Place,
    trusted: bool,
    wanted: BTreeSet<&'static str>,
    /// Topics whose state it has not been told yet.
    untold: BTreeSet<&'static str>,
    seen: u64,
    ticks: watch::Receiver<u64>,
    until: Instant,
    out: VecDeque<Event>,
}

impl Listener {
    fn event(&self, told: &Told) -> Event {
        let text = &told.texts[usize::from(!self.trusted)];
        Event::default().event(told.topic).id(self.place.0.id(told.number)).data(&**text)
    }

    fn reset(&mut self, ring: &Ring) {
        self.untold = self.wanted.clone();
        self.seen = ring.next;
        let event = Event::default().event("reset").id(self.place.0.id(ring.next));
        self.out
            .push_back(event.data(r#"{"reason":"events that you have not seen are gone: what follows is the state"}"#));
    }

    /// Takes what is new: no more than the ring holds.
    fn look(&mut self) {
        let events = self.place.0.clone();
        let ring = events.ring();
        if !ring.has_after(self.seen) {
            self.reset(&ring);
        }
        let untold = std::mem::take(&mut self.untold);
        for state in ring.states.iter().filter(|state| state.number <= self.seen && untold.contains(state.topic)) {
            self.out.push_back(self.event(state));
        }
        for told in ring.events.iter().filter(|told| told.number > self.seen && self.wanted.contains(told.topic)) {
            self.out.push_back(self.event(told));
        }
        self.seen = ring.next;
    }

    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            if let Some(event) = self.out.pop_front() {
                return Some((Ok(event), self));
            }
            let stop = self.place.0.stop.clone();
            tokio::select! {
                changed = timeout_at(self.until, self.ticks.changed()) => changed.ok()?.ok()?,
                () = stop.cancelled() => return None,
            }
            self.look();
        }
    }
}

/// Server-sent events: the name of each is its topic, its data what the topic's call answers; of `log`, the lines that are new. At first
/// comes the state of each topic, then what changes. A `Last-Event-ID` goes on where its listener was, or is answered by `reset`.
#[utoipa::path(get, path = "/v1/events", tag = "live", params(Asked), responses((status = 200, description = "Events without end", content_type = "text/event-stream", body = String)))]
async fn events(
    State(events): State<Arc<Events>>,
    Extension(caller): Extension<Caller>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let wanted = events.wanted(asked.topics.as_deref())?;
    let place = events.listen()?;
    let ticks = events.ticks.subscribe();
    let until = Instant::now() + LONGEST;
    let (untold, trusted) = (wanted.clone(), caller.is_trusted());
    let seen = events.ring().next;
    let mut listener = Listener { place, trusted, wanted, untold, seen, ticks, until, out: VecDeque::new() };
    if let Some(id) = headers.get("last-event-id").and_then(|id| id.to_str().ok()) {
        let ring = events.ring();
        match events.number(id).filter(|number| ring.has_after(*number)) {
            Some(number) => (listener.seen, listener.untold) = (number, BTreeSet::new()),
            None => listener.reset(&ring),
        }
    }
    let stream = unfold(listener, Listener::next);
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    let headers = [("cache-control", "no-store"), ("x-accel-buffering", "no")];
    Ok((headers, Sse::new(stream).keep_alive(keep_alive)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> [Arc<str>; 2] {
        [text.into(), text.into()]
    }

    #[test]
    fn the_ring_is_bounded_by_events_and_bytes_and_knows_what_it_has_lost() {
        let mut ring = Ring::default();
        assert!(ring.has_after(0) && !ring.has_after(1));
        for _ in 0..MOST_EVENTS + 8 {
            ring.push("streams", text("[]"));
        }
        assert_eq!((ring.events.len(), ring.states.len()), (MOST_EVENTS, 1));
        assert!(!ring.has_after(7) && ring.has_after(8) && ring.has_after(ring.next) && !ring.has_after(ring.next + 1));
        let large = "x".repeat(MOST_BYTES / 8);
        for _ in 0..5 {
            ring.push("tickets", text(&large));
        }
        assert!(ring.bytes <= MOST_BYTES && ring.events.len() <= 4, "{}", ring.events.len());
    }
}
