//! The worker process: one device, driven by commands on its standard input, answering with events on its standard output. A driver fault ends this
//! process and no other; see `supervisor` for the other side.
//!
//! Both directions carry messages of postcard behind their length (u32, big-endian). A *job* is one segment to transcode. Each stream has a thread and
//! an open [`Session`], kept from job to job as long as the source and the ladder stay the same. The reading loop never waits for a stream: parts come
//! only as fast as they are answered ([`WINDOW`]), so a ping is answered whatever the encoders do. When the input ends, so does the process.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use millrace_media::nvenc;
use millrace_media::transcode::{EncoderKind, Output, RenditionSpec, SegmentStats, Session};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tracing::{debug, info};

use crate::devices::{self, DeviceSpec};
use crate::load::{self, Load, Meter};

/// Longest message in bytes: the longest part, and its frame.
pub const MAX_MESSAGE: usize = millrace_media::cmaf::MAX_PART + 64 * 1024;
/// Parts of a job that may be on their way without an answer.
pub const WINDOW: usize = 8;
/// Most streams at once. A device is full long before: a small GPU does some twenty of 720p.
pub const MAX_STREAMS: usize = 64;
/// Commands that wait for a stream: the windows of the job in work and of a few that were given up just before it.
const QUEUE: usize = 4 * WINDOW;
/// A stream without a job for this long gives its decoder and encoders back: five segments of the usual length.
const IDLE: Duration = Duration::from_secs(10);

/// What a stream is told apart by.
pub type StreamId = [u8; 32];

/// From the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// A segment starts. Jobs of one stream follow one another.
    Begin {
        /// The job's number, used once.
        job: u64,
        /// Its stream.
        stream: StreamId,
        /// The source's init segment.
        init: Bytes,
        /// The ladder.
        specs: Vec<RenditionSpec>,
    },
    /// The next part of the source.
    Part {
        /// Of which job.
        job: u64,
        /// `moof` and `mdat`.
        bytes: Bytes,
    },
    /// The source is complete.
    End {
        /// Of which job.
        job: u64,
    },
    /// Nobody waits for the job any more.
    Cancel {
        /// Which job.
        job: u64,
    },
    /// Asks for the device's speed; takes about a second of all of it.
    Calibrate,
    /// Asks for a sign of life.
    Ping(u64),
}

/// To the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// First of all: the device works.
    Ready,
    /// First and last: the device does not work, and why.
    Unusable(String),
    /// A part of the source was taken: another may come.
    Taken {
        /// Of which job.
        job: u64,
    },
    /// A rendition's init segment.
    Init {
        /// Of which job.
        job: u64,
        /// Of which rendition of the ladder.
        rendition: u8,
        /// `ftyp` and `moov`.
        bytes: Bytes,
    },
    /// A part of a rendition.
    Part {
        /// Of which job.
        job: u64,
        /// Of which rendition of the ladder.
        rendition: u8,
        /// Its number in the segment, from 0.
        index: u32,
        /// `moof` and `mdat`.
        bytes: Bytes,
    },
    /// The job is done; its last parts went before.
    Done {
        /// Which job.
        job: u64,
        /// What was made.
        stats: SegmentStats,
    },
    /// The job failed; nothing more comes of it.
    Failed {
        /// Which job.
        job: u64,
        /// Why, in words.
        reason: String,
    },
    /// The device's speed in megapixels of rendition per second, or why it could not be measured.
    Calibrated(Result<u32, String>),
    /// The answer to a ping.
    Pong(u64),
    /// How busy the device is, every [`load::INTERVAL`].
    Load(Load),
}

/// Why a worker ended other than by the end of its input.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The device does not work.
    #[error("the device does not work: {0}")]
    Device(String),
    /// The pipe to the supervisor broke.
    #[error("the pipe to the supervisor broke: {0}")]
    Pipe(#[from] io::Error),
    /// A message does not read.
    #[error("a message does not read: {0}")]
    Message(#[from] postcard::Error),
    /// A message over the limit.
    #[error("a message has {0} bytes; at most {MAX_MESSAGE} are taken")]
    TooLarge(usize),
}

/// Drives a device until the input ends. `output` must carry nothing else.
///
/// # Errors
/// When the device does not work, or the pipe breaks or carries what is no message.
pub fn run<W>(device: &DeviceSpec, mut input: impl Read, output: W) -> Result<(), WorkerError>
where
    W: Write + Send + 'static,
{
    let events = Events(Arc::new(Mutex::new(output)));
    if let EncoderKind::Nvenc { gpu } = device.encoder
        && let Err(reason) = nvenc::probe(gpu)
    {
        events.send(&Event::Unusable(reason.clone()))?;
        return Err(WorkerError::Device(reason));
    }
    events.send(&Event::Ready)?;
    info!(%device, "worker ready");
    // Beside the reading loop too: a driver may take its time.
    let (encoder, told) = (device.encoder.clone(), events.clone());
    std::thread::Builder::new().name("load".to_owned()).spawn(move || tell_load(&encoder, &told))?;
    let mut streams = Streams { device, events: &events, threads: HashMap::new(), jobs: HashMap::new() };
    while let Some(command) = read(&mut input)? {
        match command {
            Command::Ping(number) => events.send(&Event::Pong(number))?,
            Command::Calibrate => {
                let (device, events) = (device.clone(), events.clone());
                // Beside the reading loop, so that pings are answered meanwhile.
                std::thread::Builder::new().name("calibrate".to_owned()).spawn(move || {
                    let _ = events.send(&Event::Calibrated(devices::calibrate(&device)));
                })?;
            }
            Command::Begin { job, stream, init, specs } => {
                streams.begin(job, stream, Step::Begin { job, init, specs })?
            }
            Command::Part { job, bytes } => streams.pass(job, Step::Part { job, bytes }, false)?,
            Command::End { job } => streams.pass(job, Step::End { job }, true)?,
            Command::Cancel { job } => streams.pass(job, Step::Cancel { job }, true)?,
        }
    }
    debug!(%device, "input ended");
    Ok(())
}

/// Tells the device's load for as long as anybody listens.
fn tell_load(encoder: &EncoderKind, events: &Events<impl Write>) {
    let Some(mut meter) = Meter::of(encoder) else { return };
    loop {
        std::thread::sleep(load::INTERVAL);
        if events.send(&Event::Load(meter.read())).is_err() {
            return;
        }
    }
}

/// Reads one message, or `None` where the pipe ends between two.
///
/// # Errors
/// When the pipe breaks inside a message, or the message is over the limit or does not read.
pub fn read<M: DeserializeOwned>(input: &mut impl Read) -> Result<Option<M>, WorkerError> {
    let mut length = [0; 4];
    match input.read_exact(&mut length) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_MESSAGE {
        return Err(WorkerError::TooLarge(length));
    }
    let mut message = vec![0; length];
    input.read_exact(&mut message)?;
    Ok(Some(postcard::from_bytes(&message)?))
}

/// The bytes of a message without its length.
///
/// # Errors
/// When it is over the limit.
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, WorkerError> {
    let bytes = postcard::to_stdvec(message)?;
    if bytes.len() > MAX_MESSAGE { Err(WorkerError::TooLarge(bytes.len())) } else { Ok(bytes) }
}

/// The output, shared by the threads; a message is written whole.
struct Events<W>(Arc<Mutex<W>>);

impl<W> Clone for Events<W> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<W: Write> Events<W> {
    fn send(&self, event: &Event) -> Result<(), WorkerError> {
        let bytes = encode(event)?;
        let mut output = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        output.write_all(&(bytes.len() as u32).to_be_bytes())?;
        output.write_all(&bytes)?;
        Ok(output.flush()?)
    }
}

/// A command on its way to a stream's thread.
enum Step {
    Begin { job: u64, init: Bytes, specs: Vec<RenditionSpec> },
    Part { job: u64, bytes: Bytes },
    End { job: u64 },
    Cancel { job: u64 },
}

struct Streams<'a, W> {
    device: &'a DeviceSpec,
    events: &'a Events<W>,
    threads: HashMap<StreamId, (SyncSender<Step>, JoinHandle<()>)>,
    /// The stream of each job that has begun and not ended.
    jobs: HashMap<u64, StreamId>,
}

impl<W: Write + Send + 'static> Streams<'_, W> {
    fn begin(&mut self, job: u64, stream: StreamId, mut step: Step) -> Result<(), WorkerError> {
        self.threads.retain(|_, (_, thread)| !thread.is_finished());
        if let Some((steps, _)) = self.threads.get(&stream) {
            match steps.try_send(step) {
                Ok(()) => {
                    self.jobs.insert(job, stream);
                    return Ok(());
                }
                // It fell idle this moment: another takes its place.
                Err(TrySendError::Disconnected(back)) => step = back,
                Err(TrySendError::Full(_)) => return self.fail(job, "the stream has too many jobs at once"),
            }
        }
        if self.threads.len() >= MAX_STREAMS {
            return self.fail(job, &format!("the device has {MAX_STREAMS} streams open, which is its limit"));
        }
        let (steps, queue) = sync_channel(QUEUE);
        let mut work =
            Stream { encoder: self.device.encoder.clone(), events: self.events.clone(), open: None, job: None };
        let thread = std::thread::Builder::new().name("stream".to_owned()).spawn(move || {
            if let Err(error) = work.run(&queue) {
                debug!(%error, "stream ended");
            }
        })?;
        // The queue is new and empty: this cannot fail.
        let _ = steps.try_send(step);
        self.threads.insert(stream, (steps, thread));
        self.jobs.insert(job, stream);
        Ok(())
    }

    fn pass(&mut self, job: u64, step: Step, last: bool) -> Result<(), WorkerError> {
        let stream = if last { self.jobs.remove(&job) } else { self.jobs.get(&job).copied() };
        let Some((steps, _)) = stream.and_then(|stream| self.threads.get(&stream)) else { return Ok(()) };
        if steps.try_send(step).is_err() {
            self.jobs.remove(&job);
            return self.fail(job, "the stream's thread does not take its commands");
        }
        Ok(())
    }

    fn fail(&self, job: u64, reason: &str) -> Result<(), WorkerError> {
        self.events.send(&Event::Failed { job, reason: reason.to_owned() })
    }
}

/// A session and what it was opened for.
struct Open {
    init: Bytes,
    specs: Vec<RenditionSpec>,
    session: Session,
}

/// A stream's thread.
struct Stream<W> {
    encoder: EncoderKind,
    events: Events<W>,
    open: Option<Open>,
    job: Option<u64>,
}

impl<W: Write> Stream<W> {
    fn run(&mut self, steps: &Receiver<Step>) -> Result<(), WorkerError> {
        loop {
            let step = match steps.recv_timeout(IDLE) {
                Ok(step) => step,
                // A job whose source is late keeps its session; who gave it may cancel it.
                Err(RecvTimeoutError::Timeout) if self.job.is_some() => continue,
                Err(_) => return Ok(()),
            };
            let job = match &step {
                Step::Begin { job, .. } | Step::Part { job, .. } | Step::End { job } | Step::Cancel { job } => *job,
            };
            // What is left of a job that failed or was overtaken is dropped.
            if !matches!(step, Step::Begin { .. }) && self.job != Some(job) {
                continue;
            }
            if let Err(reason) = self.take(job, step)? {
                // A session that failed is not trusted with the next segment.
                (self.open, self.job) = (None, None);
                self.events.send(&Event::Failed { job, reason })?;
            }
        }
    }

    /// Does one step. The outer error is the pipe's, the inner one the job's.
    fn take(&mut self, job: u64, step: Step) -> Result<Result<(), String>, WorkerError> {
        match step {
            Step::Begin { init, specs, .. } => {
                self.job = Some(job);
                if !self.open.as_ref().is_some_and(|open| open.init == init && open.specs == specs) {
                    // The old encoders go first: a GPU has few.
                    self.open = None;
                    match Session::open(&init, &specs, &self.encoder) {
                        Ok(session) => self.open = Some(Open { init, specs, session }),
                        Err(error) => return Ok(Err(error.to_string())),
                    }
                }
                if let Some(open) = &mut self.open {
                    open.session.begin_segment();
                }
            }
            Step::Part { bytes, .. } => {
                let Some(open) = &mut self.open else { return Ok(Ok(())) };
                match open.session.push_part(&bytes) {
                    Ok(outputs) => self.send_outputs(job, outputs)?,
                    Err(error) => return Ok(Err(error.to_string())),
                }
                self.events.send(&Event::Taken { job })?;
            }
            Step::End { .. } => {
                let Some(open) = &mut self.open else { return Ok(Ok(())) };
                match open.session.end_segment() {
                    Ok((outputs, stats)) => {
                        self.send_outputs(job, outputs)?;
                        self.job = None;
                        self.events.send(&Event::Done { job, stats })?;
                    }
                    Err(error) => return Ok(Err(error.to_string())),
                }
            }
            Step::Cancel { .. } => self.job = None,
        }
        Ok(Ok(()))
    }

    fn send_outputs(&self, job: u64, outputs: Vec<Output>) -> Result<(), WorkerError> {
        for output in outputs {
            self.events.send(&match output {
                Output::Init { rendition, bytes } => Event::Init { job, rendition, bytes },
                Output::Part { rendition, index, bytes } => Event::Part { job, rendition, index, bytes },
            })?;
        }
        Ok(())
    }
}
