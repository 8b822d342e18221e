//! Who plays, and how each cheats.

use std::collections::{BTreeSet, VecDeque};

use alloy::primitives::B256;
use alloy::signers::local::PrivateKeySigner;

/// Index of a party in the world.
pub type Id = usize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Broadcaster,
    Orchestrator,
    Transcoder,
}

/// What a party does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    Honest,
    // Payers.
    /// Prepays, or takes work on credit, and never pays a segment.
    NeverPays,
    /// Announces to take its whole lock back as soon as it is served, and tries to at once.
    Drains,
    /// Writes a little less win probability into its tickets than is due.
    Underpays,
    /// Sends a second ticket with new randomness for work that it has paid, in place of the next.
    Reissues,
    /// Chooses its randomness after looking at the commit, the best of 16.
    Grinds,
    /// Signs for another chain.
    SignsElsewhere,
    // Orchestrators.
    /// Takes the prepayment and serves nothing.
    Vanishes,
    // Transcoders.
    /// Sends black pictures.
    Blacks,
    /// Does one segment in five badly, so that only a full sample shows it.
    Skimps,
    /// Takes one segment in three and sends nothing.
    Stalls,
    /// Signs a second receipt for more pixels.
    Equivocates,
}

pub const PAYERS: [Way; 6] =
    [Way::NeverPays, Way::Drains, Way::Underpays, Way::Reissues, Way::Grinds, Way::SignsElsewhere];
pub const ORCHESTRATORS: [Way; 2] = [Way::Vanishes, Way::NeverPays];
pub const WORKERS: [Way; 4] = [Way::Blacks, Way::Skimps, Way::Stalls, Way::Equivocates];

/// A party with its record.
#[derive(Debug, Clone)]
pub struct Party {
    pub role: Role,
    pub way: Way,
    pub key: PrivateKeySigner,
    /// A broadcaster's session: its orchestrator, its stream, the next segment.
    pub session: Option<(Id, B256, u64)>,
    /// Orchestrators that a broadcaster does not go back to.
    pub shunned: BTreeSet<Id>,
    /// A transcoder's orchestrator; an orchestrator's own index.
    pub home: Id,
    /// The last samples of a transcoder: whether each was good.
    pub samples: VecDeque<bool>,
    /// A transcoder gets no work until then, unix seconds.
    pub suspended_until: u64,
    /// Segments it received (broadcaster) or delivered (the others) that passed.
    pub delivered: u64,
    /// Of those, bad ones that nobody noticed.
    pub passed_bad: u64,
    /// Segments that nobody could make for a broadcaster.
    pub gaps: u64,
    /// Segments' prices that a broadcaster prepaid and got nothing for.
    pub prepaid_for_nothing: u64,
    /// Pairs of signatures that contradict each other.
    pub proofs: u64,
}

impl Party {
    pub fn new(role: Role, way: Way, home: Id, key: PrivateKeySigner) -> Self {
        Self {
            role,
            way,
            key,
            session: None,
            shunned: BTreeSet::new(),
            home,
            samples: VecDeque::new(),
            suspended_until: 0,
            delivered: 0,
            passed_bad: 0,
            gaps: 0,
            prepaid_for_nothing: 0,
            proofs: 0,
        }
    }

    pub fn is_honest(&self) -> bool {
        self.way == Way::Honest
    }
}
