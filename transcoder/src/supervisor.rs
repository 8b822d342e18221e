//! Keeps a worker process alive and gives it segments. The process may hang, crash or be killed at any moment: that costs the segments in flight, each
//! of which is told why, and the process is back within a second.
//!
//! One task owns the process and every table; a task per segment feeds its parts in, at the pace at which the worker takes them. Every queue is bounded:
//! a producer waits, and a consumer that does not read loses its segment, not the others theirs.

mod process;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millrace_media::transcode::{RenditionSpec, SegmentStats};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::load::Load;
use crate::worker::StreamId;

/// Events of one segment that may wait for their reader: a segment of 4 s in 200 ms parts makes 26 for each of 8 renditions.
const EVENTS: usize = 256;
/// Parts of one segment that may wait for the worker. More make the sender wait.
const PARTS: usize = 8;
/// Orders that may wait for the task that owns the process.
const ORDERS: usize = 64;
/// Longest start of a worker: FFmpeg, the GPU's driver and an encoding session. Beyond, the device counts as broken.
const START_LIMIT: Duration = Duration::from_secs(15);
/// Longest calibration.
const CALIBRATION_LIMIT: Duration = Duration::from_secs(30);

/// How to start the worker process.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program: this one, by `std::env::current_exe`.
    pub program: PathBuf,
    /// Its arguments, such as `worker --device x264:superfast`.
    pub args: Vec<OsString>,
    /// Environment beside what is inherited.
    pub envs: Vec<(OsString, OsString)>,
}

/// A segment to transcode.
#[derive(Debug, Clone)]
pub struct SegmentJob {
    /// Its stream. The segments of a stream are made one after another, in the order given.
    pub stream: StreamId,
    /// The source's init segment.
    pub init: Bytes,
    /// The ladder.
    pub specs: Vec<RenditionSpec>,
}

/// What goes into a segment in work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SegmentInput {
    /// The source's next part.
    Part(Bytes),
    /// The source is complete. Dropping the sender without it gives the segment up.
    End,
}

/// What comes out of a segment in work. `Done` or `Failed` is the last, and comes always.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SegmentEvent {
    /// A rendition's init segment, in front of its first part.
    Init {
        /// Its number in the ladder.
        rendition: u8,
        /// `ftyp` and `moov`.
        bytes: Bytes,
    },
    /// A rendition's next part.
    Part {
        /// Its number in the ladder.
        rendition: u8,
        /// Its number in the segment, from 0.
        index: u32,
        /// `moof` and `mdat`.
        bytes: Bytes,
    },
    /// The segment is made.
    Done(SegmentStats),
    /// The segment failed here, and why.
    Failed(String),
}

/// A segment in work.
#[derive(Debug)]
pub struct Segment {
    /// Takes the source's parts.
    pub input: mpsc::Sender<SegmentInput>,
    /// Gives the renditions. Dropping it gives the segment up.
    pub events: mpsc::Receiver<SegmentEvent>,
}

/// How a worker does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// The process number while there is one.
    pub pid: Option<u32>,
    /// Whether it takes segments.
    pub ready: bool,
    /// Segments in work and waiting.
    pub segments: u32,
    /// Streams of those segments.
    pub streams: u32,
    /// How often it was started again.
    pub restarts: u32,
    /// Why it last ended.
    pub last_end: Option<String>,
    /// How busy its device is; none before it has said.
    pub load: Option<Load>,
}

/// Why a worker took nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SupervisorError {
    /// The process could not be started, or its device does not work.
    #[error("the worker did not start: {0}")]
    Start(String),
    /// It is being started again.
    #[error("the worker is being started again: {0}")]
    NotReady(String),
    /// Too many orders wait for it.
    #[error("the worker has {ORDERS} orders waiting, which is its limit")]
    Busy,
    /// It was stopped.
    #[error("the worker was stopped")]
    Stopped,
    /// Its speed could not be measured.
    #[error("calibration failed: {0}")]
    Calibration(String),
}

/// To the task that owns the process.
enum Order {
    Segment { job: SegmentJob, input: mpsc::Receiver<SegmentInput>, events: mpsc::Sender<SegmentEvent> },
    Calibrate(oneshot::Sender<Result<u32, String>>),
}

/// A supervised worker process. Clones are handles to the same one; with the last the process is killed.
#[derive(Clone)]
pub struct Worker(Arc<Inner>);

struct Inner {
    orders: mpsc::Sender<Order>,
    status: watch::Receiver<Status>,
    task: JoinHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The task owns the process, which dies with it.
        self.task.abort();
    }
}

impl Worker {
    /// Starts the process and waits until its device is ready.
    ///
    /// # Errors
    /// When the process does not start within 15 s, or says that its device does not work.
    pub async fn start(launch: Launch) -> Result<Self, SupervisorError> {
        let (orders, queue) = mpsc::channel(ORDERS);
        let (report, status) = watch::channel(Status::default());
        let (first, started) = oneshot::channel();
        let task = tokio::spawn(process::supervise(launch, queue, report, first));
        let worker = Self(Arc::new(Inner { orders, status, task }));
        match timeout(START_LIMIT, started).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(reason))) => return Err(SupervisorError::Start(reason)),
            _ => return Err(SupervisorError::Start(format!("it gave no sign within {START_LIMIT:?}"))),
        }
        Ok(worker)
    }

    /// How it does now.
    pub fn status(&self) -> Status {
        self.0.status.borrow().clone()
    }

    /// Follows how it does.
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.0.status.clone()
    }

    /// Starts a segment. Its parts may be sent at once; they wait for the stream's segment before it.
    ///
    /// # Errors
    /// When the process is not there at this moment, or too much waits for it: give the segment to another.
    pub fn transcode(&self, job: SegmentJob) -> Result<Segment, SupervisorError> {
        {
            let status = self.0.status.borrow();
            if !status.ready {
                return Err(SupervisorError::NotReady(status.last_end.clone().unwrap_or_default()));
            }
        }
        let (input, parts) = mpsc::channel(PARTS);
        let (sender, events) = mpsc::channel(EVENTS);
        self.order(Order::Segment { job, input: parts, events: sender })?;
        Ok(Segment { input, events })
    }

    /// Measures the device: megapixels of rendition per second that may be promised. Takes a second of all of it: to be asked before there is work.
    ///
    /// # Errors
    /// When the worker ends meanwhile, or its test transcode fails.
    pub async fn calibrate(&self) -> Result<u32, SupervisorError> {
        let (reply, answer) = oneshot::channel();
        self.order(Order::Calibrate(reply))?;
        match timeout(CALIBRATION_LIMIT, answer).await {
            Ok(Ok(speed)) => speed.map_err(SupervisorError::Calibration),
            Ok(Err(_)) => Err(SupervisorError::Calibration("the worker process ended".to_owned())),
            Err(_) => Err(SupervisorError::Calibration(format!("it took over {CALIBRATION_LIMIT:?}"))),
        }
    }

    fn order(&self, order: Order) -> Result<(), SupervisorError> {
        self.0.orders.try_send(order).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => SupervisorError::Busy,
            mpsc::error::TrySendError::Closed(_) => SupervisorError::Stopped,
        })
    }
}

#[cfg(test)]
mod tests;
