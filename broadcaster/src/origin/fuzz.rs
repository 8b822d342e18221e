//! What strangers ask of the origin, for the fuzzer: see `fuzz/`.

use super::access::Access;
use super::directives::Directives;
use super::http::{File, cut};
use super::stream::Edge;
use crate::events::TICKS_PER_SECOND;
use bytes::Bytes;

/// One request: parts of its path, its query, and a `Range`.
pub fn ask(path: &str, query: &str, range: &str) {
    let _ = File::parse(path);
    assert!(Access::new("a secret that nobody knows").admit(path, 0).is_err(), "{path} is let in");
    if let Ok(directives) = Directives::parse(query) {
        for edge in
            [Edge::default(), Edge { next: 10, parts: 3, over: false }, Edge { next: u64::MAX, parts: 9, over: false }]
        {
            let met = directives.is_met(edge, |number| (number % 11) as u32);
            let refused = directives.check(edge, TICKS_PER_SECOND / 5, TICKS_PER_SECOND).is_err();
            assert!(!(met && refused), "{query} is both there and too far ahead of {edge:?}");
        }
    }
    let parts = vec![Bytes::from_static(&[0; 7]), Bytes::new(), Bytes::from_static(&[1; 5])];
    if let Some(Ok(ranges)) = http_range_header::parse_range_header(range).ok().map(|ranges| ranges.validate(12)) {
        for range in ranges {
            let length: usize = cut(parts.clone(), *range.start(), *range.end()).iter().map(Bytes::len).sum();
            assert_eq!(length as u64, range.end() - range.start() + 1, "{range:?}");
        }
    }
}
