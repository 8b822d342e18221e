//! What ingest costs: publishers by RTMP and WHIP that are packaged and not transcoded, until it breaks, beside what a user would use
//! instead; how long a picture is in it; and what publishers that come and go leave behind.

mod churn;
mod clip;
mod crowd;
mod delay;
mod page;
mod sides;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::network::Network;
use super::process::{self, Machine};
use super::{BenchError, say};
use churn::Churn;
use clip::Clip;
use crowd::{Crowd, Place};
use delay::Delay;
use sides::{MOST, Side};

pub(super) use sides::{behind, broadcaster as publishers_only, free_port, key};

/// Publishers at once, step by step. `make bench` takes the first step only.
const STEPS: &[usize] = &[32, 64, 128, 256, 512, MOST];
/// What a process for each publisher is measured with: memory ends before its processor time does.
const FEW: usize = 32;
/// Between two that come in.
const BETWEEN: Duration = Duration::from_millis(40);
/// Until a broadcaster holds as much of each stream as it ever does: the playlist and what has just left it, some 42 s.
const FILL: Duration = Duration::from_secs(50);
/// Until a process that has just started is as large as it is without publishers.
const IDLE: Duration = Duration::from_secs(2);
/// Others keep segments in files; their processes hold nothing of it.
const SETTLE: Duration = Duration::from_secs(12);
/// What processor time is measured over, after that.
const WATCH: Duration = Duration::from_secs(15);
/// A publisher that could not send for so long is not served in real time any more: what the sockets hold is full.
const LATE: Duration = Duration::from_secs(1);
/// The share of one core from which on a thread has no more to give.
const FULL: f64 = 0.9;
/// Playlists that are looked at, of each step.
const LOOKS: usize = 16;

/// One step.
struct Step {
    publishers: usize,
    /// Seconds of processor time a second: of who takes the publishers, of this process that sends, and of all others.
    cpu: f64,
    sender: f64,
    others: f64,
    /// Resident memory, KiB.
    rss: u64,
    /// The longest that anything was sent after its time.
    late: Duration,
    /// Why it did not hold.
    broke: Option<String>,
}

/// Who took publishers, step by step.
struct Climb {
    name: &'static str,
    /// Resident memory before the first, KiB.
    idle: u64,
    steps: Vec<Step>,
    /// What one publisher more than the most heard.
    refusal: Option<String>,
}

/// What was measured.
pub(super) struct Ingest {
    machine: Machine,
    from: String,
    bitrate: u64,
    climbs: Vec<Climb>,
    /// What there was none of to compare with.
    without: Vec<&'static str>,
    delays: Vec<Delay>,
    churn: Churn,
}

/// Measures all of it: every step, or the first of each only.
pub(super) async fn measure(
    dir: &Path,
    source: Option<&PathBuf>,
    minutes: u32,
    whole: bool,
    stop: &CancellationToken,
) -> Result<Ingest, BenchError> {
    let machine = Machine::look();
    let steps = if whole { STEPS } else { &STEPS[..1] };
    let prepared = stop.run_until_cancelled(async {
        say("making the clip for ingest");
        let clip = Arc::new(Clip::make(dir, source).await?);
        say("how long a picture is in ingest");
        let delays = delay::measure(&clip).await?;
        Ok::<_, BenchError>((clip, delays))
    });
    let (clip, delays) = prepared.await.ok_or(BenchError::Stopped)??;
    let mut all = Ingest {
        machine,
        from: clip.from.clone(),
        bitrate: clip.bitrate,
        climbs: Vec::new(),
        without: Vec::new(),
        delays,
        churn: Churn::default(),
    };

    for whip in [false, true] {
        let folder = dir.join(if whip { "whip" } else { "rtmp" });
        let network = sides::broadcaster(&folder).await?;
        let mut side = Side::Broadcaster { network, whip };
        let climbed = stop.run_until_cancelled(climb(&mut side, &clip, steps, FILL)).await;
        stop_network(side.stop().await).await;
        all.climbs.push(climbed.ok_or(BenchError::Stopped)??);
    }
    match Side::nginx(dir)? {
        Some(side) => all.climbs.push(compared(side, &clip, steps, stop).await?),
        None => all.without.push("nginx with its RTMP module (Debian's libnginx-mod-rtmp)"),
    }
    all.climbs.push(compared(Side::ffmpeg(dir), &clip, &[FEW], stop).await?);

    all.churn = come_and_go(dir, &clip, minutes, stop).await?;
    Ok(all)
}

/// The last part of it alone.
pub(super) async fn churn_alone(
    dir: &Path,
    source: Option<&PathBuf>,
    minutes: u32,
    stop: &CancellationToken,
) -> Result<Churn, BenchError> {
    say("making the clip for ingest");
    let clip = stop.run_until_cancelled(Clip::make(dir, source)).await.ok_or(BenchError::Stopped)??;
    come_and_go(dir, &Arc::new(clip), minutes, stop).await
}

async fn come_and_go(
    dir: &Path,
    clip: &Arc<Clip>,
    minutes: u32,
    stop: &CancellationToken,
) -> Result<Churn, BenchError> {
    say(&format!("publishers that come and go: {minutes} min, and a little before"));
    let network = sides::broadcaster(&dir.join("churn")).await?;
    let churn = stop.run_until_cancelled(churn::measure(&network, clip, minutes)).await;
    network.stop().await;
    churn.ok_or(BenchError::Stopped)?
}

async fn stop_network(network: Option<Network>) {
    if let Some(network) = network {
        network.stop().await;
    }
}

async fn compared(
    mut side: Side,
    clip: &Arc<Clip>,
    steps: &[usize],
    stop: &CancellationToken,
) -> Result<Climb, BenchError> {
    let climbed = stop.run_until_cancelled(climb(&mut side, clip, steps, SETTLE)).await;
    side.stop().await;
    climbed.ok_or(BenchError::Stopped)?
}

/// Adds publishers step by step until one does not hold.
async fn climb(side: &mut Side, clip: &Arc<Clip>, steps: &[usize], fill: Duration) -> Result<Climb, BenchError> {
    let (mut crowd, http) = (Crowd::default(), crowd::http()?);
    sleep(IDLE).await;
    let rss = |side: &Side| side.processes().iter().map(|process| process.rss).sum();
    let mut climb = Climb { name: side.name(), idle: rss(side), steps: Vec::new(), refusal: None };
    let mut publishers = 0;
    for &count in steps {
        say(&format!("{}: {count} publishers", side.name()));
        while publishers < count {
            crowd.add(side.place(publishers)?, clip, &http);
            publishers += 1;
            sleep(BETWEEN).await;
        }
        sleep(fill).await;
        crowd.take_late();
        let look = |side: &Side| {
            let cpu: f64 = side.processes().iter().map(|process| process.cpu).sum();
            (Instant::now(), cpu, process::own_seconds(), process::busy_seconds())
        };
        let before = look(side);
        sleep(WATCH).await;
        let after = look(side);
        let late = crowd.take_late();
        let looks: Vec<usize> = (0..count).step_by((count / LOOKS).max(1)).collect();
        let stale = side.stale(&looks).await;
        let seconds = (after.0 - before.0).as_secs_f64();
        let (cpu, sender) = (after.1 - before.1, after.2 - before.2);
        let (publishing, errors) = (crowd.publishing() as usize, crowd.errors());
        let broke = match errors.first() {
            Some(error) => Some(format!("{} publishers ended, the first with: {error} {}", errors.len(), side.said())),
            None if publishing < count => Some(format!("only {publishing} were let in")),
            None if late > LATE => {
                // The sender has one thread: a full one says nothing of who takes what it sends.
                let why = if sender / seconds > FULL { ", for want of a faster sender" } else { "" };
                Some(format!("sending was {:.1} s late{why}", late.as_secs_f64()))
            }
            None if stale > 0 => Some(format!("{stale} of {} playlists were behind", looks.len())),
            None => None,
        };
        let held = broke.is_none();
        climb.steps.push(Step {
            publishers: count,
            cpu: cpu / seconds,
            sender: sender / seconds,
            others: (after.3 - before.3 - cpu - sender).max(0.0) / seconds,
            rss: rss(side),
            late,
            broke,
        });
        if !held {
            return Ok(climb);
        }
    }
    if publishers == MOST && matches!(side, Side::Broadcaster { .. }) {
        let error = match side.place(MOST)? {
            Place::Rtmp(address, key) => crowd::come_in(address, &key, clip).await.err(),
            Place::Whip(api, key) => crowd::greet(&http, &api, &key).await.err(),
        };
        climb.refusal = error.map(|error| error.to_string());
    }
    Ok(climb)
}
