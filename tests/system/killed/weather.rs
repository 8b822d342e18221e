//! The chain's weather, which changes all the time: endpoints in storms, transactions held back, dropped or reverted in their
//! block, prices that no redemption is worth, blocks that a reorganisation takes.

use super::scene::{BASE_FEE, CONFIRMATIONS, Scene};
use crate::chaos::{Chaos, Weather};
use crate::http::rpc;
use alloy::primitives::U64;
use millrace_contracts::devnet::Devnet;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two changes, milliseconds.
const CHANGE_MS: std::ops::Range<u64> = 200..1_200;
/// How long transactions are held, or are too dear, milliseconds.
const HELD_MS: std::ops::Range<u64> = 200..3_000;
/// How long a reorganisation waits for a transaction to take.
const AIM: Duration = Duration::from_secs(3);
/// A base fee at which redeeming costs more than any batch of winners.
const DEAR: u64 = 1_000 * BASE_FEE;

/// What the chain has done.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Done {
    pub(super) storms: u32,
    pub(super) held: u32,
    pub(super) dropped: usize,
    pub(super) reorganised: u32,
    pub(super) blocks_taken: usize,
    pub(super) made_fail: u64,
    pub(super) dear: u32,
}

/// A thread that changes the weather until it is told to clear up.
pub(super) struct Changing {
    clear: Arc<AtomicBool>,
    thread: JoinHandle<Done>,
}

impl Changing {
    pub(super) fn start(scene: &Scene, seed: u64) -> Self {
        let clear = Arc::new(AtomicBool::new(false));
        let (stop, devnet, proxies) = (clear.clone(), scene.devnet.clone(), scene.proxies.clone());
        let thread = std::thread::spawn(move || {
            let mut rng = StdRng::seed_from_u64(seed ^ 0x5EA);
            let mut done = Done::default();
            while !stop.load(Ordering::Relaxed) {
                change(&devnet, &proxies, &mut rng, &mut done);
                pause(&mut rng, CHANGE_MS);
            }
            done
        });
        Self { clear, thread }
    }

    /// Fair weather from now on.
    pub(super) fn clear_up(self, scene: &Scene) -> Done {
        self.clear.store(true, Ordering::Relaxed);
        let done = self.thread.join().unwrap();
        scene.proxies.iter().for_each(|proxy| proxy.set(Weather::Fair));
        scene.devnet.fail_next(0);
        done
    }
}

fn pause(rng: &mut StdRng, ms: std::ops::Range<u64>) {
    std::thread::sleep(Duration::from_millis(rng.random_range(ms)));
}

/// Each change ends with a chain that takes transactions at the usual price.
fn change(devnet: &Devnet, proxies: &[Chaos; 2], rng: &mut StdRng, done: &mut Done) {
    match rng.random_range(0..12) {
        0..3 => {
            for proxy in proxies {
                let storm = rng.random_bool(0.4);
                proxy.set(if storm { Weather::Storm(rng.random()) } else { Weather::Fair });
            }
            done.storms += 1;
        }
        3..5 => {
            devnet.hold();
            pause(rng, HELD_MS);
            if rng.random_bool(0.3) {
                done.dropped += devnet.drop_waiting();
            }
            devnet.release();
            done.held += 1;
        }
        5..9 => reorganise(devnet, rng, done),
        9..11 => {
            let transactions = rng.random_range(1..4);
            devnet.fail_next(transactions);
            done.made_fail += transactions;
        }
        _ => {
            devnet.set_base_fee(DEAR);
            pause(rng, HELD_MS);
            devnet.set_base_fee(BASE_FEE);
            done.dear += 1;
        }
    }
}

/// What was in the blocks comes again at once, later, not at all by itself, or to revert this time.
fn reorganise(devnet: &Devnet, rng: &mut StdRng, done: &mut Done) {
    let depth = aim(devnet, rng);
    let held = rng.random_bool(0.5);
    if held {
        devnet.hold();
    }
    if rng.random_bool(0.5) {
        devnet.fail_next(1);
        done.made_fail += 1;
    }
    if devnet.reorg(depth) {
        done.reorganised += 1;
        done.blocks_taken += depth;
    }
    if held {
        pause(rng, HELD_MS);
        if rng.random_bool(0.5) {
            done.dropped += devnet.drop_waiting();
        }
        devnet.release();
    }
}

/// How deep a reorganisation goes: so that it takes a transaction that some blocks follow already, if one comes within
/// [`AIM`]. Its sender has taken note of it by then, and must not have taken it for final.
fn aim(devnet: &Devnet, rng: &mut StdRng) -> usize {
    let (url, deepest) = (devnet.rpc_url(), CONFIRMATIONS - 1);
    let follow = rng.random_range(0..deepest);
    let number = || serde_json::from_value::<U64>(rpc(&url, "eth_blockNumber", &json!([])).ok()?).ok();
    let carries = |block: u64| {
        let block = rpc(&url, "eth_getBlockByNumber", &json!([U64::from(block), false])).unwrap_or_default();
        block["transactions"].as_array().is_some_and(|transactions| !transactions.is_empty())
    };
    let began = Instant::now();
    while began.elapsed() < AIM {
        let head = number().unwrap_or_default().to::<u64>();
        if carries(head.saturating_sub(follow)) {
            return follow as usize + 1;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    rng.random_range(1..=deepest) as usize
}
