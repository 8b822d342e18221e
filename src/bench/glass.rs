//! Glass to glass: how old the pictures are that a viewer sees. A picture carries the time of its making in its pixels, goes through a
//! real encoder and the whole network into Chromium, and is read off the screen there; beside it, when its part could be fetched.

mod camera;
mod page;
mod probe;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::network::Network;
use super::process::{self, Machine};
use super::{BenchError, say};
use crate::children::tail;
use camera::Camera;
use probe::Reach;

/// The script that plays, from the root of the repository.
const PLAYER: &str = "tests/browser/glass.mjs";
/// What is played: 1280x720 in, and this one rung, so that two cores keep up with encoder, ladder and browser.
const RUNG: &str = "360p";
const LADDER: &str = r#"[{ height = 360, bitrate = 700000 }]"#;
/// Until the stream has its first segments, and is paid for.
const SETTLE: Duration = Duration::from_secs(8);
/// Until a player is where it wants to be: it catches up by playing 5 % faster.
const WARM: u64 = 20;
/// What is counted of each way to play.
const SECONDS: u64 = 60;
/// A browser that does not come back is given up so long after that.
const SLACK: u64 = 60;

/// A way to play.
#[derive(Debug, Clone, Copy)]
struct Way {
    name: &'static str,
    rendition: &'static str,
    mode: &'static str,
}

const WAYS: [Way; 3] = [
    Way { name: "a rendition, low latency", rendition: RUNG, mode: "low" },
    Way { name: "the source, low latency", rendition: "source", mode: "low" },
    Way { name: "a rendition, plain HLS", rendition: RUNG, mode: "plain" },
];

/// What a player saw, times in ms.
#[derive(Debug, Deserialize)]
struct Seen {
    /// How old each picture was when it was shown.
    ages: Vec<f64>,
    /// Pictures whose time could not be read.
    bad: u64,
    stalls: u64,
    dropped: u64,
    /// How far behind the edge of its playlist hls.js says that it is.
    edge: Vec<f64>,
    errors: std::collections::BTreeMap<String, u64>,
    fatal: Option<String>,
    height: u32,
}

/// One way to play, and what the machine did meanwhile.
struct Played {
    way: Way,
    seen: Seen,
    /// Cores that were busy.
    busy: f64,
}

/// What was measured.
pub(super) struct Glass {
    machine: Machine,
    played: Vec<Played>,
    /// From the making of a picture until its part could be fetched: the source's and the rung's.
    reach: [Reach; 2],
    /// Pictures that the camera made late.
    late: Duration,
}

/// Measures, or says why there is nothing to measure with.
pub(super) async fn measure(dir: &Path, stop: &CancellationToken) -> Result<Result<Glass, String>, BenchError> {
    let player = PathBuf::from(PLAYER);
    if !player.exists() {
        return Ok(Err(format!("there is no {PLAYER} here: `make bench` runs in the root of the repository")));
    }
    let machine = Machine::look();
    say("glass to glass: starting the network");
    let settings = [("LADDER", LADDER.to_owned())];
    let network = stop.run_until_cancelled(Network::start_with(dir, &[], &settings)).await;
    let network = network.ok_or(BenchError::Stopped)??;
    let watched = stop.run_until_cancelled(watch(dir, &network, &player)).await;
    network.stop().await;
    let (played, reach, late) = watched.ok_or(BenchError::Stopped)??;
    Ok(Ok(Glass { machine, played, reach, late }))
}

async fn watch(
    dir: &Path,
    network: &Network,
    player: &Path,
) -> Result<(Vec<Played>, [Reach; 2], Duration), BenchError> {
    let camera = Camera::publish(dir, network)?;
    sleep(SETTLE).await;
    let gone = CancellationToken::new();
    let probes = ["source", RUNG].map(|rendition| {
        let (url, gone) = (network.playlist(rendition), gone.clone());
        tokio::spawn(probe::follow(url, camera.stamps(), gone))
    });
    let mut played = Vec::new();
    for way in WAYS {
        say(&format!("glass to glass: {}, {} s", way.name, WARM + SECONDS));
        let before = process::busy_seconds();
        let seen = play(dir, network, player, way).await?;
        let busy = (process::busy_seconds() - before) / (WARM + SECONDS) as f64;
        played.push(Played { way, seen, busy });
    }
    gone.cancel();
    let mut reach = Vec::new();
    for probe in probes {
        reach.push(probe.await.unwrap_or_default());
    }
    let late = camera.stop().await;
    Ok((played, <[Reach; 2]>::try_from(reach).unwrap_or_default(), late))
}

async fn play(dir: &Path, network: &Network, player: &Path, way: Way) -> Result<Seen, BenchError> {
    let log = dir.join("player.log");
    let child = Command::new("node")
        .arg(player)
        .args([network.hls(), way.rendition, way.mode, &WARM.to_string(), &SECONDS.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&log).map_err(BenchError::io(log.display()))?)
        .kill_on_drop(true)
        .spawn()
        .map_err(BenchError::io("node cannot be started"))?;
    let limit = Duration::from_secs(WARM + SECONDS + SLACK);
    let late = |_| BenchError::Late { what: "the browser has played", limit, seen: tail(&log, 3) };
    let output = timeout(limit, child.wait_with_output()).await.map_err(late)?.map_err(BenchError::io("node"))?;
    let ended = || BenchError::Ended { what: "the player", status: output.status, said: tail(&log, 3) };
    serde_json::from_slice(&output.stdout).map_err(|_| ended())
}
