//! Challenges that wait for their signature, and the sessions that came of them: in memory, bounded in number and in time. A restart
//! signs everybody out. It reads no clock: `now` is in unix seconds.

use std::collections::HashMap;
use std::hash::Hash;

use alloy::primitives::{Address, B256, keccak256};

/// A challenge is good for so long: a person finds their wallet and reads what they sign.
pub(super) const CHALLENGE_SECONDS: u64 = 300;
/// A session is good for a working day.
pub(super) const SESSION_SECONDS: u64 = 12 * 3_600;
/// Challenges at once; past them the oldest goes. Whoever wants to push an owner's out needs so many addresses within the seconds
/// that a signature takes, as each address has a few a minute.
const MOST_CHALLENGES: usize = 1_024;
/// Sessions at once; past them the oldest goes. Only owners have any.
const MOST_SESSIONS: usize = 64;

/// What was asked to be signed, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    pub(super) address: Address,
    pub(super) domain: String,
    pub(super) text: String,
    pub(super) expires_at: u64,
}

/// An owner who is signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) address: Address,
    pub(super) expires_at: u64,
}

/// Both tables. Sessions are found by the hash of their secret, which nobody but the browser has.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    challenges: HashMap<String, Challenge>,
    sessions: HashMap<B256, Session>,
}

impl Sessions {
    pub(super) fn challenge(&mut self, nonce: String, challenge: Challenge, now: u64) {
        make_room(&mut self.challenges, MOST_CHALLENGES, now, |challenge| challenge.expires_at);
        self.challenges.insert(nonce, challenge);
    }

    /// The challenge with this nonce, which is good once, whatever comes of it.
    pub(super) fn answer(&mut self, nonce: &str, now: u64) -> Option<Challenge> {
        self.challenges.remove(nonce).filter(|challenge| now < challenge.expires_at)
    }

    pub(super) fn open(&mut self, secret: &str, address: Address, now: u64) -> Session {
        make_room(&mut self.sessions, MOST_SESSIONS, now, |session| session.expires_at);
        let session = Session { address, expires_at: now + SESSION_SECONDS };
        self.sessions.insert(keccak256(secret), session);
        session
    }

    pub(super) fn find(&self, secret: &str, now: u64) -> Option<Session> {
        self.sessions.get(&keccak256(secret)).copied().filter(|session| now < session.expires_at)
    }

    pub(super) fn close(&mut self, secret: &str) {
        self.sessions.remove(&keccak256(secret));
    }
}

fn make_room<K: Clone + Eq + Hash, V>(table: &mut HashMap<K, V>, most: usize, now: u64, until: impl Fn(&V) -> u64) {
    if table.len() < most {
        return;
    }
    table.retain(|_, entry| now < until(entry));
    if table.len() >= most
        && let Some(oldest) = table.iter().min_by_key(|(_, entry)| until(entry)).map(|(key, _)| key.clone())
    {
        table.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(now: u64) -> Challenge {
        let expires_at = now + CHALLENGE_SECONDS;
        Challenge { address: Address::ZERO, domain: String::new(), text: String::new(), expires_at }
    }

    #[test]
    fn a_nonce_is_good_once_and_for_five_minutes() {
        let mut table = Sessions::default();
        for nonce in ["a", "b"] {
            table.challenge(nonce.into(), challenge(100), 100);
        }
        assert_eq!(table.answer("a", 399), Some(challenge(100)));
        assert_eq!(table.answer("a", 399), None, "it was used");
        assert_eq!(table.answer("b", 400), None, "it is too old");
        assert_eq!(table.answer("c", 100), None);
    }

    #[test]
    fn a_session_ends_by_time_and_by_being_closed_and_is_kept_as_a_hash() {
        let mut table = Sessions::default();
        let session = table.open("secret", Address::ZERO, 100);
        assert_eq!(table.find("secret", 100 + SESSION_SECONDS - 1), Some(session));
        assert_eq!(table.find("secret", 100 + SESSION_SECONDS), None);
        assert_eq!(table.find("other", 100), None);
        assert!(!format!("{table:?}").contains("secret"));
        table.close("secret");
        assert_eq!(table.find("secret", 100), None);
    }

    #[test]
    fn both_tables_stay_bounded_and_the_oldest_goes() {
        let mut table = Sessions::default();
        for n in 0..MOST_CHALLENGES as u64 + 10 {
            table.challenge(n.to_string(), challenge(n), n);
        }
        assert!(table.challenges.len() <= MOST_CHALLENGES && table.answer("0", 0).is_none());
        for n in 0..MOST_SESSIONS as u64 + 1 {
            table.open(&n.to_string(), Address::ZERO, n);
        }
        assert_eq!(table.sessions.len(), MOST_SESSIONS);
        assert!(table.find("0", 0).is_none() && table.find("1", 0).is_some());
    }
}
