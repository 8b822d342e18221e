//! What a player asks of a media playlist in its query: the delivery directives of RFC 8216bis, section 6.2.5. Pure.

use super::stream::Edge;
use std::fmt;

/// The directives of one request. Anything else in the query is none of ours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Directives {
    /// `_HLS_msn`: answer once the playlist has this segment …
    pub segment: Option<u64>,
    /// `_HLS_part`: … or this part of it.
    pub part: Option<u32>,
    /// `_HLS_skip`: what the player knows already may be left out.
    pub skip: bool,
}

/// Why a query is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirectiveError {
    /// A value that cannot be.
    Value(&'static str, &'static str),
    /// The same directive twice.
    Twice(&'static str),
    /// A part of no segment.
    PartAlone,
    /// What is too far in the future to wait for.
    TooFarAhead {
        /// The next segment of the playlist.
        next: u64,
    },
}

impl fmt::Display for DirectiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(name, allowed) => write!(f, "{name} must be {allowed}"),
            Self::Twice(name) => write!(f, "{name} must come once"),
            Self::PartAlone => write!(f, "_HLS_part needs _HLS_msn beside it"),
            Self::TooFarAhead { next } => {
                write!(
                    f,
                    "the playlist is at segment {next}: _HLS_msn may be one more at most, and _HLS_part a few parts on"
                )
            }
        }
    }
}

/// Parts ahead of the newest that a player may ask for, in seconds of parts (the advance part limit of RFC 8216bis).
const ADVANCE_SECONDS: i64 = 3;

impl Directives {
    /// Reads a query, without its question mark.
    pub fn parse(query: &str) -> Result<Self, DirectiveError> {
        const NUMBER: &str = "a decimal number";
        let mut directives = Self::default();
        let mut skip = None;
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "_HLS_msn" => once(&mut directives.segment, number(value), "_HLS_msn", NUMBER)?,
                "_HLS_part" => once(&mut directives.part, number(value), "_HLS_part", NUMBER)?,
                "_HLS_skip" => {
                    let known = matches!(value, "YES" | "v2").then_some(true);
                    once(&mut skip, known, "_HLS_skip", "YES or v2")?;
                }
                _ => {}
            }
        }
        if directives.part.is_some() && directives.segment.is_none() {
            return Err(DirectiveError::PartAlone);
        }
        Ok(Self { skip: skip.is_some(), ..directives })
    }

    /// Whether a playlist that is at `edge` is the answer. `parts_of` tells how many parts of a listed segment are listed.
    pub(super) fn is_met(&self, edge: Edge, parts_of: impl Fn(u64) -> u32) -> bool {
        let Some(segment) = self.segment else { return true };
        let Some(part) = self.part else { return edge.next > segment };
        if segment >= edge.next {
            return segment == edge.next && part < edge.parts;
        }
        // A part behind the last of its segment is the first of the next one.
        let parts = parts_of(segment);
        part < parts || parts == 0 || edge.next > segment + 1 || edge.parts > 0
    }

    /// Refuses what no player near the edge can want.
    pub(super) fn check(&self, edge: Edge, part_target: i64, second: i64) -> Result<(), DirectiveError> {
        let ahead = u32::try_from(ADVANCE_SECONDS * second / part_target.clamp(1, second)).unwrap_or(u32::MAX);
        let (Some(segment), part) = (self.segment, self.part.unwrap_or(0)) else { return Ok(()) };
        let newest = if segment == edge.next { edge.parts } else { 0 };
        if segment > edge.next.saturating_add(1) || segment >= edge.next && part > newest.saturating_add(ahead) {
            return Err(DirectiveError::TooFarAhead { next: edge.next });
        }
        Ok(())
    }
}

/// Digits only: `parse` would take a sign.
fn number<T: std::str::FromStr>(value: &str) -> Option<T> {
    value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok())?
}

fn once<T>(
    slot: &mut Option<T>,
    value: Option<T>,
    name: &'static str,
    allowed: &'static str,
) -> Result<(), DirectiveError> {
    let value = value.ok_or(DirectiveError::Value(name, allowed))?;
    if slot.replace(value).is_some() { Err(DirectiveError::Twice(name)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDGE: Edge = Edge { next: 10, parts: 3, over: false };

    #[test]
    fn a_query_is_read_and_what_is_not_ours_is_left_alone() {
        let read = |query| Directives::parse(query);
        assert_eq!(read(""), Ok(Directives::default()));
        assert_eq!(read("token=a%20b&_HLS_start_offset=1&x&&=="), Ok(Directives::default()));
        let all = Directives { segment: Some(7), part: Some(0), skip: true };
        assert_eq!(read("_HLS_skip=YES&_HLS_part=0&a=b&_HLS_msn=7"), Ok(all));
        assert_eq!(read("_HLS_skip=v2").map(|read| read.skip), Ok(true));
        for bad in
            ["_HLS_msn=", "_HLS_msn=-1", "_HLS_msn=+1", "_HLS_msn=1e3", "_HLS_msn=99999999999999999999", "_HLS_msn"]
        {
            assert!(matches!(read(bad), Err(DirectiveError::Value("_HLS_msn", _))), "{bad}");
        }
        assert!(matches!(read("_HLS_msn=1&_HLS_part=4294967296"), Err(DirectiveError::Value("_HLS_part", _))));
        assert!(matches!(read("_HLS_skip=no"), Err(DirectiveError::Value("_HLS_skip", _))));
        assert_eq!(read("_HLS_part=1"), Err(DirectiveError::PartAlone));
        assert_eq!(read("_HLS_msn=1&_HLS_msn=1"), Err(DirectiveError::Twice("_HLS_msn")));
    }

    #[test]
    fn a_playlist_answers_once_it_has_what_was_asked_for() {
        let met =
            |segment, part| Directives { segment, part, skip: false }.is_met(EDGE, |n| if n == 8 { 0 } else { 10 });
        assert!(met(None, None));
        assert!(met(Some(9), None) && !met(Some(10), None));
        assert!(met(Some(10), Some(2)) && !met(Some(10), Some(3)));
        assert!(met(Some(9), Some(9)));
        assert!(met(Some(9), Some(10)), "the first part of segment 10");
        assert!(
            !Directives { segment: Some(9), part: Some(10), skip: false }.is_met(Edge { parts: 0, ..EDGE }, |_| 10)
        );
        assert!(met(Some(8), Some(4)), "a segment that is listed whole");
        assert!(!met(Some(11), Some(0)) && !met(Some(u64::MAX), Some(u32::MAX)));
    }

    #[test]
    fn what_is_too_far_ahead_is_refused_at_once() {
        let check =
            |segment, part| Directives { segment: Some(segment), part, skip: false }.check(EDGE, 18_900, 90_000);
        assert!(check(0, Some(500)).is_ok() && check(11, None).is_ok() && check(12, None).is_err());
        assert!(check(10, Some(3 + 14)).is_ok() && check(10, Some(3 + 15)).is_err());
        assert!(check(11, Some(14)).is_ok() && check(11, Some(15)).is_err());
        let refused = check(u64::MAX, Some(u32::MAX)).unwrap_err();
        assert!(refused.to_string().contains("at segment 10"), "{refused}");
        assert!(Directives::default().check(EDGE, 0, 90_000).is_ok());
    }
}
