//! What broadcasters' streams are called towards transcoders, and the numbers of their attempts.
//!
//! An orchestrator signs one assignment for each stream, segment and attempt; two different ones are a proof against it. So a
//! broadcaster's name for its stream is not passed on: two broadcasters may choose the same one, and one may send a segment
//! twice. Each stream gets a name of this orchestrator's own, a hash of the broadcaster's address, the broadcaster's name for
//! it and 32 random bytes, and under that name each attempt's number is given out once. The random bytes are in memory alone:
//! what is forgotten, by a restart or for want of room, comes back under another name, and so never under a used number.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use alloy::primitives::{Address, B256, b256, keccak256};
use alloy::sol_types::SolValue;

/// Streams that are remembered at once; the one that was silent longest is forgotten first. More than a pool can work on.
const MAX_STREAMS: usize = 1_024;
/// Segments of a stream whose attempts are counted: two minutes of segments of 2 s, far more than are ever under way.
const SEGMENTS: usize = 64;
/// Keeps these hashes apart from all others: "millrace stream" in ASCII.
const TAG: B256 = b256!("6d696c6c726163652073747265616d0000000000000000000000000000000000");

/// The streams that are under way.
#[derive(Default)]
pub struct Streams(Mutex<Table>);

#[derive(Default)]
struct Table {
    streams: HashMap<(Address, B256), Known>,
    /// Counts the attempts of all streams: the clock by which silence is measured.
    turn: u64,
}

struct Known {
    name: B256,
    /// The next attempt's number of each segment.
    next: BTreeMap<u64, u32>,
    last: u64,
}

impl Known {
    fn new(broadcaster: Address, stream: B256, salt: B256) -> Self {
        Self { name: keccak256((TAG, broadcaster, stream, salt).abi_encode()), next: BTreeMap::new(), last: 0 }
    }

    /// The number of the next attempt at a segment; none when it is not known whether there was one.
    fn attempt(&mut self, seq: u64) -> Option<u32> {
        if !self.next.contains_key(&seq) && self.next.len() >= SEGMENTS {
            // The lowest is forgotten, so one below it may have been forgotten before.
            if self.next.first_key_value().is_some_and(|(lowest, _)| seq < *lowest) {
                return None;
            }
            self.next.pop_first();
        }
        let next = self.next.entry(seq).or_default();
        let number = *next;
        *next = number.checked_add(1)?;
        Some(number)
    }
}

impl Streams {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name and the number under which segment `seq` of a broadcaster's stream is given to a transcoder now. No pair of the two
    /// comes twice for a segment, whatever the broadcaster sends.
    pub fn attempt(&self, broadcaster: Address, stream: B256, seq: u64) -> (B256, u32) {
        let mut table = self.table();
        table.turn += 1;
        let turn = table.turn;
        let key = (broadcaster, stream);
        if !table.streams.contains_key(&key)
            && table.streams.len() >= MAX_STREAMS
            && let Some(silent) = table.streams.iter().min_by_key(|(_, known)| known.last).map(|(key, _)| *key)
        {
            table.streams.remove(&silent);
        }
        let fresh = || Known::new(broadcaster, stream, B256::from(rand::random::<[u8; 32]>()));
        let known = table.streams.entry(key).or_insert_with(fresh);
        known.last = turn;
        if let Some(number) = known.attempt(seq) {
            return (known.name, number);
        }
        *known = Known { last: turn, ..fresh() };
        (known.name, known.attempt(seq).unwrap_or_default())
    }

    /// What broadcasters call the streams, by the names that transcoders know.
    pub fn originals(&self) -> HashMap<B256, B256> {
        self.table().streams.iter().map(|((_, stream), known)| (known.name, *stream)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const STREAM: B256 = B256::repeat_byte(7);
    const ONE: Address = Address::repeat_byte(1);
    const TWO: Address = Address::repeat_byte(2);

    #[test]
    fn two_broadcasters_with_the_same_stream_id_have_two_names() {
        let streams = Streams::default();
        let (one, two) = (streams.attempt(ONE, STREAM, 0), streams.attempt(TWO, STREAM, 0));
        assert_ne!(one.0, two.0);
        assert_ne!(one.0, STREAM);
        assert_eq!(streams.originals()[&one.0], STREAM);
        assert_eq!(streams.attempt(ONE, STREAM, 1), (one.0, 0), "a stream keeps its name");
    }

    #[test]
    fn a_segment_that_is_sent_again_gets_the_next_number() {
        let streams = Streams::default();
        let (name, numbers): (HashSet<_>, Vec<_>) = (0..5).map(|_| streams.attempt(ONE, STREAM, 9)).unzip();
        assert_eq!((name.len(), numbers), (1, vec![0, 1, 2, 3, 4]));
    }

    #[test]
    fn a_restarted_orchestrator_uses_no_name_again() {
        let before = Streams::default().attempt(ONE, STREAM, 0);
        assert_ne!(before.0, Streams::default().attempt(ONE, STREAM, 0).0);
    }

    #[tokio::test]
    async fn an_orchestrator_signs_no_two_assignments_for_one_scope_also_after_it_was_killed() {
        use alloy::primitives::U256;
        use alloy::signers::local::PrivateKeySigner;
        use millrace_hop::sign::Pen;
        use millrace_tickets::{Assignment, Domain};

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.sqlite");
        let key = PrivateKeySigner::random();
        let domain = Domain { chain_id: 1, broker: ONE };
        for _run in 0..2 {
            let store = millrace_store::Store::open(&path.to_string_lossy()).await.unwrap();
            let (pen, streams) = (Pen::new(key.clone(), domain, store), Streams::default());
            // Two broadcasters, one id, and each sends one segment again with other content.
            for (n, broadcaster) in [ONE, TWO, ONE, TWO].into_iter().enumerate() {
                let (stream, attempt) = streams.attempt(broadcaster, STREAM, 3);
                let price = U256::from(n);
                let body = Assignment { streamId: stream, seq: 3, attempt, price, ..Assignment::default() };
                pen.sign(body).await.unwrap();
            }
        }
    }

    #[test]
    fn no_name_and_number_comes_twice_whatever_is_sent_and_forgotten() {
        let streams = Streams::default();
        let mut given = HashSet::new();
        for round in 0..3u64 {
            // More streams than are remembered, and segments out of any order.
            for n in 0..MAX_STREAMS as u64 + 50 {
                let stream = B256::from(alloy::primitives::U256::from(n));
                for seq in [0, 1, round] {
                    assert!(given.insert((streams.attempt(ONE, stream, seq), seq)));
                }
            }
            for seq in (0..3 * SEGMENTS as u64).chain([5, 70, 0]) {
                assert!(given.insert((streams.attempt(TWO, STREAM, seq), seq)));
            }
        }
        assert!(streams.table().streams.len() <= MAX_STREAMS);
        assert!(streams.table().streams.values().all(|known| known.next.len() <= SEGMENTS));
    }
}
