//! An economy of strangers on an owned clock: 100 broadcasters, 20 orchestrators and 300 transcoders, a tenth of each
//! dishonest in the ways that the protocol has to stand. Both ends of every pair are the state machines that the nodes run, and
//! the money is in the real contracts on the embedded chain; only time, media and the network are played.
//!
//! What has to hold: nobody honest loses more than its bound, every winner is redeemed in full, and what the honest earn is
//! what their tickets promise, within chance. `MILLRACE_ECONOMY_SEGMENTS` plays a longer day; the table of docs/economy.md
//! is what this test prints.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test fails by panicking and prints its table"
)]

mod pair;
mod party;
mod world;

use millrace_tickets::credit::{MAX_OWED, PAID_PER_FORGIVEN, SECONDS_PER_FORGIVEN};

use party::{Role, Way};
use world::World;

/// Gaps that an honest broadcaster has at most, while it finds an orchestrator that serves: one for each that does not.
const MOST_GAPS: u64 = 4;

/// Segments of each stream: two minutes. A longer day is for the table.
const SEGMENTS: u64 = 60;

#[tokio::test(flavor = "multi_thread")] // the chain answers while the parties compute
async fn the_honest_lose_no_more_than_their_bound_and_earn_what_their_tickets_promise() {
    let segments = std::env::var("MILLRACE_ECONOMY_SEGMENTS").map_or(SEGMENTS, |n| n.parse().unwrap());
    let mut world = World::new().await;
    world.play(segments).await;
    world.settle().await;

    println!("{}", world.report());

    // Solvency: on the chain is what was won, to the wei, for every pair, whatever its payer did.
    for pair in world.pairs.values() {
        assert_eq!((pair.redeemed, pair.waiting.len()), (pair.won, 0), "{} to {}", pair.from, pair.to);
    }
    assert!(world.early_withdrawals > 0, "somebody tried to take its lock back early");

    // Loss. A payer that never paid leaves what it had prepaid and what its payee let it owe; one that was prepaid and never
    // worked has two segments' price.
    let seconds = segments * 2;
    for pair in world.pairs.values() {
        let bound = pair.ahead + MAX_OWED + pair.tickets / PAID_PER_FORGIVEN + seconds / SECONDS_PER_FORGIVEN;
        assert!(pair.unpaid <= bound, "{} owes {} {} segments, bound {bound}", pair.from, pair.to, pair.unpaid);
        if world.party(pair.from).is_honest() {
            assert_eq!(pair.unpaid, 0, "an honest payer pays");
            assert_eq!(pair.refused, 0, "an honest payer's tickets are taken");
        }
    }
    for broadcaster in world.parties.iter().filter(|p| p.role == Role::Broadcaster && p.is_honest()) {
        let met = broadcaster.shunned.iter().filter(|o| world.party(**o).way == Way::Vanishes).count() as u64;
        assert!(broadcaster.prepaid_for_nothing <= 2 * met);
        assert_eq!(broadcaster.delivered + broadcaster.gaps, segments);
        assert!(broadcaster.gaps <= MOST_GAPS, "{broadcaster:?}");
    }

    // Income: honest luck fails one run in a million, whichever of its sums it falls on, and to either side.
    let income = world.income();
    let runs = 2.0 * 1e6 * income.len() as f64;
    for (who, sum) in income {
        assert!(!sum.is_rarer_than(runs), "{who}: {sum:?}");
    }

    // Cheating does not pay: none of those that are caught at sight got further than a handful of segments, and each whose
    // signatures contradict each other left a proof.
    for cheat in world.parties.iter().filter(|p| !p.is_honest()) {
        match cheat.way {
            Way::Blacks => assert!(cheat.passed_bad == 0, "{cheat:?}"),
            Way::Equivocates => assert!(cheat.delivered == 0 || cheat.proofs > 0, "{cheat:?}"),
            _ => {}
        }
    }
}
