//! `kill -9` of broadcaster, orchestrator and transcoders in the middle of a paying session, again and again, on a chain that
//! delays, reverts, reorganises and refuses. Nothing that was won is lost, nothing is paid twice, nobody contradicts what it
//! signed before, and every wei is accounted for.
//!
//! `MILLRACE_KILLS=200` makes it as many kills; `MILLRACE_SEED=7` draws other instants and another weather.

mod audit;
mod books;
mod chain;
mod scene;
mod weather;

use crate::media::{Publisher, clip, cuts};
use crate::network::alone;
use crate::process::wait_for;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use scene::Scene;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Kills, unless `MILLRACE_KILLS` says otherwise: enough to see that it works, within two minutes.
const KILLS: u32 = 12;
/// Of the instants: `MILLRACE_SEED` names others.
const SEED: u64 = 20_261_122;
/// From a kill to the next draw, milliseconds: from the middle of a start to the third segment after it.
const BETWEEN_MS: std::ops::Range<u64> = 200..6_500;
/// A database that is written to no more than this far apart is in use.
const WRITE: Duration = Duration::from_secs(3);
/// An encoder that lost its server tries again after this.
const REPUBLISH: Duration = Duration::from_millis(300);
/// The first ticket comes within this, fair weather assumed.
const FIRST: Duration = Duration::from_secs(60);
/// Everything is settled within this once the weather is fair: a transaction that was dropped is sent again after half a
/// minute, a payer that could not be redeemed from is tried again after as long, and blocks have to follow.
const SETTLE: Duration = Duration::from_secs(240);
/// And stays so for this long.
const QUIET: Duration = Duration::from_secs(5);

/// A setting of the run, from the environment.
fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}: a number, please")))
}

/// An encoder that begins again whenever its server has gone, as a person's does.
struct Encoder {
    url: String,
    picture: PathBuf,
    publisher: Publisher,
    began: Instant,
}

impl Encoder {
    fn start(url: &str, picture: PathBuf) -> Self {
        let publisher = Publisher::file(&picture, -1, url);
        Self { url: url.to_owned(), picture, publisher, began: Instant::now() }
    }

    fn look_after(&mut self) {
        if !self.publisher.is_running() && self.began.elapsed() > REPUBLISH {
            *self = Self::start(&self.url, self.picture.clone());
        }
    }
}

/// When the file was written last, and its length.
fn touched(path: &Path) -> Option<(std::time::SystemTime, u64)> {
    std::fs::metadata(path).ok().and_then(|file| Some((file.modified().ok()?, file.len())))
}

/// Waits for the instant of the next kill, keeping everybody up meanwhile.
fn until_next(scene: &mut Scene, encoder: &mut Encoder, rng: &mut StdRng) {
    let at = Instant::now() + Duration::from_millis(rng.random_range(BETWEEN_MS));
    while Instant::now() < at {
        scene.look_after();
        encoder.look_after();
        std::thread::sleep(Duration::from_millis(20).min(at.saturating_duration_since(Instant::now())));
    }
}

/// Waits until a node writes to its database, and then some microseconds: what it signs, pays, acknowledges, redeems and
/// tends it writes down, so the kill falls between two steps of just that. False when it wrote nothing.
fn until_it_writes(wal: &Path, rng: &mut StdRng) -> bool {
    let (before, began) = (touched(wal), Instant::now());
    while touched(wal) == before {
        if began.elapsed() > WRITE {
            return false;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    // Half of them at once, the others within the few milliseconds that a step takes.
    let within = if rng.random_bool(0.5) { 300 } else { 20_000 };
    std::thread::sleep(Duration::from_micros(rng.random_range(0..within)));
    true
}

#[test]
fn killed_nodes_on_a_hostile_chain_lose_no_winner_and_contradict_nobody() {
    let _alone = alone();
    let began = Instant::now();
    let kills: u32 = setting("MILLRACE_KILLS").unwrap_or(KILLS);
    let seed: u64 = setting("MILLRACE_SEED").unwrap_or(SEED);
    // Straight to stderr: the test runner keeps what a passing test prints.
    let say = |text: String| drop(writeln!(std::io::stderr(), "{text}"));
    say(format!("\n{kills} kills, MILLRACE_SEED={seed}"));
    let mut rng = StdRng::seed_from_u64(seed);

    let mut scene = Scene::start();
    scene.until_all_ready();
    let picture = clip("bikes.mp4").unwrap_or_else(|| cuts().to_owned());
    let mut encoder = Encoder::start(&scene.rtmp, picture);
    wait_for("the session pays", FIRST, || {
        encoder.look_after();
        let books = scene.roles.iter().map(|role| scene.block_on(books::Books::read(role)));
        let books = books.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        let received: Vec<_> = books.iter().map(|books| books.received.len()).collect();
        // The orchestrator, and one of the transcoders.
        if received[0] > 0 && received[1] + received[2] > 0 { Ok(()) } else { Err(format!("{received:?}")) }
    });

    let changing = weather::Changing::start(&scene, seed);
    let (mut on_write, mut last) = (0, Instant::now());
    for kill in 0..kills {
        until_next(&mut scene, &mut encoder, &mut rng);
        // Each role as often as the others, whichever of the transcoders.
        let victim = [0, rng.random_range(1..3), 3][rng.random_range(0..3)];
        let wal = scene.roles[victim].database().with_extension("sqlite-wal");
        on_write += u32::from(rng.random_bool(0.6) && until_it_writes(&wal, &mut rng));
        scene.roles[victim].kill();
        if last.elapsed() > Duration::from_secs(60) {
            last = Instant::now();
            let received = scene.roles.iter().map(|role| scene.block_on(books::received(role)).unwrap_or_default());
            let (after, tickets) = (began.elapsed().as_secs(), received.sum::<i64>());
            say(format!("{} of {kills} kills after {after} s, {tickets} tickets accepted", kill + 1));
        }
    }
    let done = changing.clear_up(&scene);

    // What is live goes on for a moment, ends, and is settled.
    scene.until_all_ready();
    encoder.publisher.stop();
    let mut quiet: Option<Instant> = None;
    wait_for("every winner is final", SETTLE, || {
        scene.look_after();
        let left = scene.roles.iter().map(|role| scene.block_on(books::under_way(role)).map(|left| (role.name, left)));
        let left = left.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        if left.iter().any(|(_, left)| *left != (0, 0, 0)) {
            quiet = None;
            return Err(format!("winners, transactions and tickets under way: {left:?}"));
        }
        let since = quiet.get_or_insert_with(Instant::now).elapsed();
        if since > QUIET { Ok(()) } else { Err(format!("quiet for {} ms", since.as_millis())) }
    });
    scene.until_all_ready();
    scene.stop();

    let books = scene.roles.iter().map(|role| scene.block_on(books::Books::read(role)).unwrap()).collect();
    let ledger = chain::Ledger::read(&scene);
    let audit = audit::Audit { scene: &scene, books, ledger };
    let seen = audit.run();
    for role in &scene.roles {
        say(format!("{}: {} kills, {} starts that found no chain", role.name, role.kills, role.failed));
    }
    let ledger = &audit.ledger;
    say(format!(
        "{on_write} of {kills} kills as the database was written; {seen:?}; {done:?}\n\
         chain: {} blocks, {} transactions, {} reverted, {} redemptions of {} winners, {} wei of fees\n\
         seed {seed}, {} s",
        ledger.blocks,
        ledger.transactions,
        ledger.reverted,
        ledger.redemptions,
        ledger.redeemed.len(),
        ledger.fees,
        began.elapsed().as_secs()
    ));
    assert!(seen.winners > 0, "nobody won anything, so nothing was shown");
}
