//! `millrace bench`: what the whole line costs on this machine, measured and printed as a Markdown report.
//!
//! A real `ffmpeg` publishes a clip in real time to a real `millrace up`, whose processes are watched from outside; then one
//! `ffmpeg` process makes the same ladder from the same clip. `network` starts and asks the line, `ffmpeg` has every call of
//! that program, `process` reads `/proc`, and `report` does the sums and the words. `payments` measures tickets
//! by themselves, `ingest` publishers, `viewers` those who watch, and `glass` how old the pictures are that a viewer sees.

mod ffmpeg;
mod glass;
mod ingest;
mod network;
mod payments;
mod process;
mod report;
mod viewers;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use millrace_broadcaster::BroadcasterConfig;
use millrace_broadcaster::config::ladder;
use millrace_node::shutdown::{EXIT_FAILURE, Shutdown};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::Failure;
use ffmpeg::Clip;
use network::{Network, Stream};
use payments::Payments;
use process::{Machine, Process};
use report::Report;

/// The clip's picture: what the bars are stated for.
const SIZE: (u32, u32) = (1280, 720);
/// After the start, until nothing of it is left to do: the first bonds, locks and terms are on the chain by then.
const SETTLE: Duration = Duration::from_secs(5);
/// How long the idle network is watched: enough blocks of its chain for a mean.
const IDLE: Duration = Duration::from_secs(10);
/// Between two looks at the memory and the playlists; a segment stays in a playlist four times as long.
const SAMPLE: Duration = Duration::from_secs(5);

/// The command line of `millrace bench`.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// What the clip is made from, in a loop; without it bigbuckbunny.mp4 from $MILLRACE_MEDIA or ../shared/media, and where
    /// that is missing a test picture with noise.
    #[arg(long, value_name = "FILE")]
    source: Option<PathBuf>,
    /// Length of the clip, seconds: 1280x720 at 30 frames a second, two seconds between key frames.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(10..=600))]
    seconds: u32,
    /// B-frames of the clip. With any, a decoder shows a picture only after the next, and all that follows is as late.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=4))]
    bframes: u32,
    /// How long memory is watched, minutes: with a second publication of the clip in a loop, and with publishers that come and go.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1440))]
    minutes: u32,
    /// Only what paying costs, without a network: ten seconds.
    #[arg(long)]
    payments: bool,
    /// Only what ingest costs, with more and more publishers: fifteen minutes.
    #[arg(long, conflicts_with = "payments")]
    ingest: bool,
    /// Only what publishers that come and go leave behind, watched for `--minutes`.
    #[arg(long, conflicts_with_all = ["payments", "ingest"])]
    churn: bool,
    /// Only how old the pictures are that a viewer sees, in Chromium: five minutes.
    #[arg(long, conflicts_with_all = ["payments", "ingest", "churn"])]
    glass: bool,
    /// Only what viewers cost, beside nginx: four minutes.
    #[arg(long, conflicts_with_all = ["payments", "ingest", "churn", "glass"])]
    viewers: bool,
    /// Writes the report to this file too.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    /// A file, folder or program.
    #[error("{what}: {error}")]
    Io { what: String, error: std::io::Error },
    /// A program that failed.
    #[error("{what} ended with {status}; it said last: {said}")]
    Ended { what: &'static str, status: std::process::ExitStatus, said: String },
    /// Something did not happen in time.
    #[error("not within {} s: {what}; seen last: {seen}", limit.as_secs())]
    Late { what: &'static str, limit: Duration, seen: String },
    /// A call of a node's API.
    #[error(transparent)]
    Api(#[from] reqwest::Error),
    /// The two sides would make different ladders.
    #[error("the network makes the ladder {0}, which is not the one that ffmpeg made: nothing can be compared")]
    Ladder(String),
    /// A publisher of ours.
    #[error("a publisher by {protocol}: {error}")]
    Publisher { protocol: &'static str, error: millrace_broadcaster::publisher::PublisherError },
    /// Ctrl-C.
    #[error("stopped before the figures were complete")]
    Stopped,
}

impl BenchError {
    fn io(what: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::Io { what: what.to_string(), error }
    }
}

/// One rendition of the ladder.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rung {
    name: String,
    width: u32,
    height: u32,
    /// Bit/s.
    bitrate: u32,
}

/// The processes of the network at a moment.
struct Moment {
    /// Since the watch began.
    at: Duration,
    processes: Vec<Process>,
    /// Seconds of processor time that the machine has spent on anything.
    busy: f64,
}

/// What was seen of the line.
struct Line {
    /// Two looks at the network without a stream.
    idle: [Moment; 2],
    /// From just before the publication to the last segment of its ladder.
    publication: [Moment; 2],
    /// The first publication, complete.
    stream: Stream,
    /// The second one, watched for its memory, and what was seen of it.
    watched: Stream,
    watch: Vec<Moment>,
    /// Segments of renditions that playlists listed, and those listed as gaps, of both publications.
    listed: usize,
    gaps: usize,
    /// Tickets of the first publication.
    tickets: network::Tickets,
    /// Attempts of both that did not end with a payment: why, and the segments that it happened to.
    troubles: BTreeMap<String, Vec<u64>>,
    devices: Vec<String>,
}

/// Measures.
pub fn main(args: BenchArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let text = runtime.block_on(async {
        let stop = Shutdown::on_signals()?.token();
        if args.payments {
            return Ok::<_, Failure>(pay(&folder()?, &stop).await?.to_string());
        }
        if args.ingest {
            let dir = folder()?;
            let measured = ingest::measure(dir.path(), args.source.as_ref(), args.minutes, true, &stop).await?;
            return Ok(measured.to_string());
        }
        if args.churn {
            let dir = folder()?;
            return Ok(ingest::churn_alone(dir.path(), args.source.as_ref(), args.minutes, &stop).await?.to_string());
        }
        if args.glass {
            let dir = folder()?;
            let measured = glass::measure(dir.path(), &stop).await?;
            return measured.map(|glass| glass.to_string()).map_err(|why| Failure(why, EXIT_FAILURE));
        }
        if args.viewers {
            return Ok(viewers::measure(folder()?.path(), &stop).await?.to_string());
        }
        Ok(measure(&args, stop).await?.to_string())
    })?;
    if let Some(path) = &args.out {
        std::fs::write(path, &text).map_err(|e| Failure(format!("{}: {e}", path.display()), EXIT_FAILURE))?;
    }
    std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes())?;
    Ok(())
}

/// Says what is going on, to a person who waits.
fn say(what: &str) {
    eprintln!("bench: {what}");
}

fn folder() -> Result<tempfile::TempDir, BenchError> {
    tempfile::Builder::new().prefix("millrace-bench-").tempdir().map_err(BenchError::io("a folder"))
}

async fn pay(dir: &tempfile::TempDir, stop: &CancellationToken) -> Result<Payments, BenchError> {
    say("tickets, given and taken");
    stop.run_until_cancelled(payments::measure(dir.path())).await.ok_or(BenchError::Stopped)?
}

async fn measure(args: &BenchArgs, stop: CancellationToken) -> Result<Report, BenchError> {
    let dir = folder()?;
    let machine = Machine::look();
    let rungs: Vec<Rung> = ladder(&BroadcasterConfig::default().ladder, SIZE.0, SIZE.1)
        .into_iter()
        .map(|(name, width, height, bitrate)| Rung { name, width, height, bitrate })
        .collect();

    let preparing = stop.run_until_cancelled(async {
        say(&format!("making the clip of {} s", args.seconds));
        let clip = Clip::make(dir.path(), args).await?;
        say("one ffmpeg process makes the ladder, first time");
        let first = ffmpeg::make_ladder(&clip, &rungs).await?;
        say("starting the network");
        Ok::<_, BenchError>((clip, first, Network::start(dir.path()).await?))
    });
    let (clip, first, network) = preparing.await.ok_or(BenchError::Stopped)??;

    // The network is drained in any case, so that none of its processes outlives this one.
    let line = stop.run_until_cancelled(observe(&network, &clip, &rungs, args.minutes)).await;
    network.stop().await;
    let line = line.ok_or(BenchError::Stopped)??;

    say("one ffmpeg process makes the ladder, second time");
    let second = stop.run_until_cancelled(ffmpeg::make_ladder(&clip, &rungs)).await.ok_or(BenchError::Stopped)??;
    let payments = pay(&dir, &stop).await?;
    let ingest = ingest::measure(dir.path(), args.source.as_ref(), args.minutes, false, &stop).await?;
    Ok(Report { machine, clip, rungs, line, ffmpeg: [first, second], payments, ingest })
}

/// Publishes twice, and watches.
async fn observe(network: &Network, clip: &Clip, rungs: &[Rung], minutes: u32) -> Result<Line, BenchError> {
    let began = Instant::now();
    let look = || Moment { at: began.elapsed(), processes: network.processes(), busy: process::busy_seconds() };
    let mut playlists = network::Playlists::default();
    say("the network without a stream");
    sleep(SETTLE).await;
    let quiet = look();
    sleep(IDLE).await;
    let idle = [quiet, look()];

    say(&format!("one publication in real time: {} s", clip.seconds));
    let tickets = network.tickets().await?;
    let start = look();
    let mut watch = Vec::new();
    let published = clip.publish(network, clip.seconds);
    alongside(published, async || playlists.look(network, rungs).await).await?;
    let stream = network.finished(None).await?;
    let publication = [start, look()];
    playlists.look(network, rungs).await;
    let tickets = network.settled(&tickets, stream.segments).await?;
    let made: Vec<Rung> = stream.renditions.iter().map(network::Rendition::rung).collect();
    if made != rungs {
        return Err(BenchError::Ladder(report::ladder(&made)));
    }

    say(&format!("memory with a stream: {minutes} min"));
    let published = clip.publish(network, minutes * 60);
    alongside(published, async || {
        watch.push(look());
        playlists.look(network, rungs).await;
    })
    .await?;
    let watched = network.finished(Some(&stream)).await?;
    playlists.look(network, rungs).await;
    Ok(Line {
        idle,
        publication,
        stream,
        watched,
        watch,
        listed: playlists.listed(),
        gaps: playlists.gaps(),
        tickets,
        troubles: network.troubles().await?,
        devices: network.devices().await?,
    })
}

/// Runs `work` to its end and does `sample` every [`SAMPLE`] beside it.
async fn alongside<T>(work: impl Future<Output = T>, mut sample: impl AsyncFnMut()) -> T {
    tokio::pin!(work);
    let mut ticks = interval(SAMPLE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await; // the first is at once
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = ticks.tick() => sample().await,
        }
    }
}
