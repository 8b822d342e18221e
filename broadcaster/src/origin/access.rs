//! Who may watch: with a secret, only by addresses that carry an expiry and a signature. Pure.
//!
//! The signature stands in the path and not in the query, since the addresses in playlists are relative: a player that was let in is let in
//! everywhere below, and no playlist has to be written for each viewer.
//!
//! `/live/{name}@{expiry}-{signature}/master.m3u8`: the expiry in unix seconds, the signature the first 32 hex digits of the HMAC-SHA256 of
//! `{name}@{expiry}` under the secret.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt;

/// A secret has so many characters at least: fewer could be tried out.
pub const LEAST_SECRET: usize = 16;
/// How long a console may watch with one address, seconds.
const CONSOLE_WATCHES: u64 = 24 * 3600;
/// Hex digits of a signature: 128 bits.
const DIGITS: usize = 32;

/// Why somebody may not watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    /// No signature.
    #[error("this stream needs a signed address: ask whoever shows it")]
    Unsigned,
    /// Another signature than ours.
    #[error("this address is not signed by this broadcaster: ask whoever shows the stream for another")]
    Forged,
    /// It was good once.
    #[error("this address has expired: ask whoever shows the stream for another")]
    Expired,
}

/// What playback addresses are signed with; nothing where anybody may watch.
#[derive(Clone, Default)]
pub struct Access(Option<Hmac<Sha256>>);

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Access(by signature)" } else { "Access(open)" })
    }
}

impl Access {
    /// Access by this secret; an empty one opens the streams to everybody.
    pub fn new(secret: &str) -> Self {
        let keyed = Hmac::new_from_slice(secret.as_bytes());
        Self(keyed.ok().filter(|_| !secret.is_empty())) // an HMAC takes a key of any length
    }

    /// The path of a stream's master playlist for somebody who may watch until `expiry`, unix seconds.
    pub fn path(&self, name: &str, expiry: u64) -> String {
        format!("/live/{}/master.m3u8", self.part(name, expiry))
    }

    /// The part of such a path that names the stream.
    pub(crate) fn part(&self, name: &str, expiry: u64) -> String {
        match &self.0 {
            None => name.to_owned(),
            Some(key) => format!("{name}@{expiry}-{}", sign(key, name, expiry)),
        }
    }

    /// The stream's name in a path's part, if who comes with it may watch at `now`, unix seconds.
    pub(crate) fn admit<'a>(&self, part: &'a str, now: u64) -> Result<&'a str, Denied> {
        let Some(key) = &self.0 else { return Ok(part) };
        let (name, (expiry, signature)) = part
            .rsplit_once('@')
            .and_then(|(name, rest)| Some((name, rest.split_once('-')?)))
            .ok_or(Denied::Unsigned)?;
        let until: u64 = expiry.parse().map_err(|_| Denied::Forged)?;
        let given =
            alloy::hex::decode(signature).ok().filter(|given| given.len() * 2 == DIGITS).ok_or(Denied::Forged)?;
        let mac = key.clone().chain_update(format!("{name}@{until}"));
        mac.verify_truncated_left(&given).map_err(|_| Denied::Forged)?;
        if now < until { Ok(name) } else { Err(Denied::Expired) }
    }
}

/// Until when, unix seconds, a console at `now` may watch: the same for a day, since a player that is told another address begins anew.
pub(crate) fn console_expiry(now: u64) -> u64 {
    (now / CONSOLE_WATCHES + 2) * CONSOLE_WATCHES
}

fn sign(key: &Hmac<Sha256>, name: &str, expiry: u64) -> String {
    let mac = key.clone().chain_update(format!("{name}@{expiry}")).finalize().into_bytes();
    alloy::hex::encode(&mac[..DIGITS / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_opens_one_stream_until_its_time() {
        let access = Access::new("a secret of some length");
        let path = access.path("show", 1000);
        let part = path.split('/').nth(2).unwrap();
        assert_eq!(access.admit(part, 999), Ok("show"));
        assert_eq!(access.admit(part, 1000), Err(Denied::Expired));
        for unsigned in ["show", "show@", "show@1000", ""] {
            assert_eq!(access.admit(unsigned, 0), Err(Denied::Unsigned), "{unsigned}");
        }
        let signature = part.split_once('-').unwrap().1;
        for forged in [
            part.replace("show", "other"),
            part.replace("1000", "2000"),
            part.replace("1000", "01000x"),
            part[..part.len() - 2].to_owned(),
            format!("{part}00"),
            format!("show@1000-{}", "0".repeat(32)),
            format!("show@{}-{signature}", u128::MAX),
            format!("show@1000-{}", "é".repeat(16)),
        ] {
            assert_eq!(access.admit(&forged, 0), Err(Denied::Forged), "{forged}");
        }
        assert_eq!(Access::new("another secret, as long").admit(part, 0), Err(Denied::Forged));
    }

    /// By `printf '%s' 'show@1000' | openssl dgst -sha256 -hmac 'a secret of some length'`.
    #[test]
    fn others_can_sign_too() {
        let path = Access::new("a secret of some length").path("show", 1000);
        assert_eq!(path, "/live/show@1000-ca14d56247918f739938ab3d917b40bf/master.m3u8");
    }

    #[test]
    fn without_a_secret_everybody_may_watch() {
        let access = Access::new("");
        assert_eq!(access.path("show", 1000), "/live/show/master.m3u8");
        assert_eq!(access.admit("show", u64::MAX), Ok("show"));
    }
}
