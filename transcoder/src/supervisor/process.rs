//! The task that owns a worker process: starts it, listens to it, notices its death or silence, and starts it again.

use std::collections::{HashMap, VecDeque};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command as Process};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};
use tracing::{info, warn};

use super::{Launch, Order, START_LIMIT, SegmentEvent, SegmentInput, SegmentJob, Status};
use crate::worker::{self, Command, Event, StreamId, WINDOW};

/// How often a sign of life is asked for.
const PING: Duration = Duration::from_secs(1);
/// Longest silence: a worker answers pings beside its work, within a millisecond. Beyond, the process is taken to hang and is killed.
const SILENCE_LIMIT: Duration = Duration::from_secs(5);
/// Pauses before a start after a death, doubling from the first to the last: at once for a single fault, and no storm for a broken device.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// A worker that lived this long starts the pauses anew.
const STEADY: Duration = Duration::from_secs(10);
/// Longest segment in work: thirty times the usual one. Who gave it has given up long before.
const SEGMENT_LIMIT: Duration = Duration::from_secs(60);
/// Segments of a stream that may wait for the one in work.
const WAITING: usize = 4;
/// Messages between the tasks around the pipes. The pipes themselves hold 64 KiB each.
const PIPE_QUEUE: usize = 32;
/// Longest farewell: a process that was killed is gone in milliseconds, unless a driver holds it.
const REAP_LIMIT: Duration = Duration::from_secs(2);

/// Keeps a process running until the last handle is dropped. The outcome of the first start goes to `first`; if it fails, that is all.
pub(super) async fn supervise(
    launch: Launch,
    mut orders: mpsc::Receiver<Order>,
    report: watch::Sender<Status>,
    first: oneshot::Sender<Result<(), String>>,
) {
    let mut first = Some(first);
    let mut pause = BACKOFF.0;
    loop {
        let started = Instant::now();
        let end = live(&launch, &mut orders, &report, &mut first).await;
        report.send_modify(|status| {
            *status = Status { restarts: status.restarts, last_end: Some(end.clone()), ..Status::default() };
        });
        if let Some(first) = first.take() {
            let _ = first.send(Err(end));
            return;
        }
        if started.elapsed() > STEADY {
            pause = BACKOFF.0;
        }
        warn!(reason = %end, pause_ms = pause.as_millis() as u64, "worker process ended: starting it again");
        sleep(pause).await;
        pause = (pause * 2).min(BACKOFF.1);
        report.send_modify(|status| status.restarts += 1);
    }
}

/// One life of the process. Returns why it ended.
async fn live(
    launch: &Launch,
    orders: &mut mpsc::Receiver<Order>,
    report: &watch::Sender<Status>,
    first: &mut Option<oneshot::Sender<Result<(), String>>>,
) -> String {
    let spawned = Process::new(&launch.program)
        .args(&launch.args)
        .envs(launch.envs.iter().map(|(k, v)| (k, v)))
        // CUDA counts GPUs as NVML does.
        .env("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return format!("{} could not be started: {error}", launch.program.display()),
    };
    let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return "the worker process has no pipes".to_owned();
    };
    report.send_modify(|status| status.pid = child.id());
    // Dropped with this function, and every task in it with it.
    let mut pipes = JoinSet::new();
    let (commands, to_write) = mpsc::channel(PIPE_QUEUE);
    let (heard, mut events) = mpsc::channel(PIPE_QUEUE);
    pipes.spawn(write(stdin, to_write));
    pipes.spawn(listen(stdout, heard));

    let mut table = Table::new(commands);
    let mut pings = interval(PING);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_heard = Instant::now();
    let mut ready = false;
    let end = loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(Event::Ready) => {
                    last_heard = Instant::now();
                    ready = true;
                    if let Some(first) = first.take() {
                        let _ = first.send(Ok(()));
                    }
                    info!(pid = child.id(), program = %launch.program.display(), "worker process ready");
                }
                // No sign of life: it comes from beside the loop that may hang.
                Some(Event::Load(load)) => report.send_modify(|status| status.load = Some(load)),
                Some(Event::Unusable(reason)) => break format!("its device does not work: {reason}"),
                Some(event) => {
                    last_heard = Instant::now();
                    table.take(event);
                }
                None => break farewell(&mut child).await,
            },
            Some(order) = orders.recv(), if ready => table.order(order),
            Some(fed) = table.feeders.join_next(), if !table.feeders.is_empty() => {
                if let Ok((job, Some(reason))) = fed {
                    table.end(job, SegmentEvent::Failed(reason));
                }
            }
            _ = pings.tick() => {
                let limit = if ready { SILENCE_LIMIT } else { START_LIMIT };
                if last_heard.elapsed() > limit {
                    let _ = child.start_kill();
                    break format!("it gave no sign of life for {limit:?} and was killed");
                }
                // A full queue is no sign of death; what the worker sends meanwhile counts as life.
                let _ = table.commands.try_send(Command::Ping(0));
            }
        }
        table.report(report, ready);
    };
    table.fail_all(&end);
    end
}

/// Waits for a process whose output ended, and says how it ended.
async fn farewell(child: &mut Child) -> String {
    match timeout(REAP_LIMIT, child.wait()).await {
        Ok(Ok(status)) => format!("it ended by itself or was killed: {status}"),
        Ok(Err(error)) => format!("it ended, and could not be waited for: {error}"),
        Err(_) => {
            let _ = child.start_kill();
            "it closed its output, did not end, and was killed".to_owned()
        }
    }
}

fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(worker::MAX_MESSAGE).new_codec()
}

async fn write(stdin: ChildStdin, mut commands: mpsc::Receiver<Command>) {
    let mut pipe = FramedWrite::new(stdin, codec());
    while let Some(command) = commands.recv().await {
        let Ok(message) = worker::encode(&command) else { continue };
        // A worker that takes nothing is noticed by its silence; one that is gone, by the end of its output.
        if pipe.send(Bytes::from(message)).await.is_err() {
            return;
        }
    }
}

async fn listen(stdout: ChildStdout, heard: mpsc::Sender<Event>) {
    let mut pipe = FramedRead::new(stdout, codec());
    while let Some(Ok(message)) = pipe.next().await {
        let Ok(event) = postcard::from_bytes(&message) else {
            warn!("the worker process sent what is no event");
            return;
        };
        if heard.send(event).await.is_err() {
            return;
        }
    }
}

/// A segment from order to end.
struct Entry {
    stream: StreamId,
    events: mpsc::Sender<SegmentEvent>,
    /// A place kept free for the last event.
    last: mpsc::OwnedPermit<SegmentEvent>,
    /// Parts that the worker will take now.
    window: Arc<Semaphore>,
    /// Until it starts: what it starts with.
    waiting: Option<(SegmentJob, mpsc::Receiver<SegmentInput>)>,
}

/// The segments of one life of the process.
struct Table {
    commands: mpsc::Sender<Command>,
    entries: HashMap<u64, Entry>,
    /// Each stream's segments, the first of which is in work.
    streams: HashMap<StreamId, VecDeque<u64>>,
    /// One task for each segment in work; gives its number, and a reason when it gave up.
    feeders: JoinSet<(u64, Option<String>)>,
    calibrations: VecDeque<oneshot::Sender<Result<u32, String>>>,
    next: u64,
}

impl Table {
    fn new(commands: mpsc::Sender<Command>) -> Self {
        Self {
            commands,
            entries: HashMap::new(),
            streams: HashMap::new(),
            feeders: JoinSet::new(),
            calibrations: VecDeque::new(),
            next: 0,
        }
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Segment { job, input, events } => {
                // The channel is new: a place is free.
                let Ok(last) = events.clone().try_reserve_owned() else { return };
                let queue = self.streams.entry(job.stream).or_default();
                if queue.len() > WAITING {
                    last.send(SegmentEvent::Failed(format!("{WAITING} segments of the stream wait already")));
                    return;
                }
                self.next += 1;
                queue.push_back(self.next);
                let (stream, starts) = (job.stream, queue.len() == 1);
                let window = Arc::new(Semaphore::new(WINDOW));
                self.entries.insert(self.next, Entry { stream, events, last, window, waiting: Some((job, input)) });
                if starts {
                    self.start(self.next);
                }
            }
            Order::Calibrate(reply) => match self.commands.try_send(Command::Calibrate) {
                Ok(()) => self.calibrations.push_back(reply),
                Err(_) => drop(reply.send(Err("the worker is too busy".to_owned()))),
            },
        }
    }

    fn start(&mut self, number: u64) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        let Some((job, input)) = entry.waiting.take() else { return };
        let (commands, window, events) = (self.commands.clone(), entry.window.clone(), entry.events.clone());
        self.feeders.spawn(async move {
            let fed = timeout(SEGMENT_LIMIT, feed(number, job, input, &commands, &window, &events)).await;
            let reason = match fed {
                Ok(Ok(())) => None,
                Ok(Err(reason)) => Some(reason.to_owned()),
                Err(_) => Some(format!("it was not made within {SEGMENT_LIMIT:?}")),
            };
            if reason.is_some() {
                let _ = commands.send(Command::Cancel { job: number }).await;
            }
            (number, reason)
        });
    }

    fn take(&mut self, event: Event) {
        let (job, event) = match event {
            Event::Taken { job } => {
                if let Some(entry) = self.entries.get(&job) {
                    entry.window.add_permits(1);
                }
                return;
            }
            Event::Init { job, rendition, bytes } => (job, SegmentEvent::Init { rendition, bytes }),
            Event::Part { job, rendition, index, bytes } => (job, SegmentEvent::Part { rendition, index, bytes }),
            Event::Done { job, stats } => return self.end(job, SegmentEvent::Done(stats)),
            Event::Failed { job, reason } => return self.end(job, SegmentEvent::Failed(reason)),
            Event::Calibrated(speed) => {
                if let Some(reply) = self.calibrations.pop_front() {
                    let _ = reply.send(speed);
                }
                return;
            }
            Event::Ready | Event::Unusable(_) | Event::Pong(_) | Event::Load(_) => return,
        };
        // Events of a segment that was given up may still come.
        let Some(entry) = self.entries.get(&job) else { return };
        if let Err(mpsc::error::TrySendError::Full(_)) = entry.events.try_send(event) {
            self.end(job, SegmentEvent::Failed("its renditions were not read as fast as they were made".to_owned()));
        }
    }

    /// Ends a segment with its last event, and starts the next of its stream.
    fn end(&mut self, job: u64, event: SegmentEvent) {
        let Some(entry) = self.entries.remove(&job) else { return };
        // Its feeder, if it still waits for a place, finds this closed and ends.
        entry.window.close();
        entry.last.send(event);
        let Some(queue) = self.streams.get_mut(&entry.stream) else { return };
        queue.retain(|number| *number != job);
        match queue.front().copied() {
            Some(next) => self.start(next),
            None => drop(self.streams.remove(&entry.stream)),
        }
    }

    fn fail_all(&mut self, reason: &str) {
        self.feeders.abort_all();
        let count = self.entries.len();
        for (_, entry) in self.entries.drain() {
            entry.last.send(SegmentEvent::Failed(format!(
                "the worker process was lost with {count} segments in flight: {reason}"
            )));
        }
    }

    fn report(&self, report: &watch::Sender<Status>, ready: bool) {
        let (segments, streams) = (self.entries.len() as u32, self.streams.len() as u32);
        report.send_if_modified(|status| {
            let new = (ready, segments, streams);
            let changed = (status.ready, status.segments, status.streams) != new;
            (status.ready, status.segments, status.streams) = new;
            changed
        });
    }
}

/// Feeds a segment's source to the worker, then waits until it is made or nobody wants it. `Err` says why it was given up.
async fn feed(
    job: u64,
    segment: SegmentJob,
    mut input: mpsc::Receiver<SegmentInput>,
    commands: &mpsc::Sender<Command>,
    window: &Semaphore,
    events: &mpsc::Sender<SegmentEvent>,
) -> Result<(), &'static str> {
    const UNWANTED: &str = "nobody waits for it any more";
    let SegmentJob { stream, init, specs } = segment;
    let mut command = Command::Begin { job, stream, init, specs };
    loop {
        let ended = matches!(command, Command::End { .. });
        // A closed pipe is noticed elsewhere.
        let _ = commands.send(command).await;
        if ended {
            break;
        }
        let next = async {
            let part = input.recv().await;
            if let Some(SegmentInput::Part(_)) = part
                && let Ok(place) = window.acquire().await
            {
                place.forget();
            }
            part
        };
        command = tokio::select! {
            () = events.closed() => return Err(UNWANTED),
            part = next => match part {
                // The worker is told too, so that it forgets the number.
                _ if window.is_closed() => return Err("it failed meanwhile"),
                Some(SegmentInput::Part(bytes)) => Command::Part { job, bytes },
                Some(SegmentInput::End) => Command::End { job },
                None => return Err("its source was given up before its end"),
            },
        };
    }
    // Nobody takes these places: this ends when the segment does.
    tokio::select! {
        () = events.closed() => Err(UNWANTED),
        _ = window.acquire_many(WINDOW as u32 + 1) => Ok(()),
    }
}
