//! Which segments are checked in full, and where: decided by a secret committed beforehand, after the worker has signed.
//!
//! r is the epoch's secret. x = HMAC-SHA256(r, hash of the signed receipt), its first eight bytes read big-endian; the segment is
//! sampled iff x < rate × 2^64. Rendition and frames follow from the same function. The worker cannot foresee them, for it does not
//! know r; the checker cannot choose them, for r was committed; and once r is revealed anybody can compute them again.

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Sampling rates are parts of this.
pub const RATE_ONE: u32 = 1_000_000;
/// Layer C, every frame of a rendition: 5 % of segments.
pub const FULL_RATE: u32 = 50_000;
/// Layer D, quality: 1 % of segments.
pub const QUALITY_RATE: u32 = 10_000;

/// What is looked at within a sampled segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pick {
    /// Index among the segment's renditions.
    pub rendition: u32,
    /// Indices of frames in presentation order, rising, each once.
    pub frames: Vec<u32>,
}

/// Whether the segment with this signed receipt is sampled at `rate` parts of [`RATE_ONE`]. A segment sampled at a rate is sampled
/// at every higher one.
pub fn sampled(secret: &[u8; 32], receipt: &[u8; 32], rate: u32) -> bool {
    let limit = (u128::from(rate) << 64) / u128::from(RATE_ONE);
    u128::from(word(&prf(secret, &[receipt]), 0)) < limit
}

/// One rendition of `renditions`, and `count` of its `frames` (all of them when there are fewer). `None` where there is nothing
/// to choose from.
pub fn pick(secret: &[u8; 32], receipt: &[u8; 32], renditions: u32, frames: u32, count: u32) -> Option<Pick> {
    if renditions == 0 || frames == 0 {
        return None;
    }
    let rendition = below(word(&prf(secret, &[receipt]), 1), renditions);
    let count = count.min(frames);
    // Floyd's choice of distinct indices: one draw for each, whatever has been drawn before.
    let mut chosen = std::collections::BTreeSet::new();
    for (draw, top) in (frames - count..frames).enumerate() {
        let index = below(word(&prf(secret, &[receipt, &(draw as u32).to_be_bytes()]), 0), top + 1);
        if !chosen.insert(index) {
            chosen.insert(top);
        }
    }
    Some(Pick { rendition, frames: chosen.into_iter().collect() })
}

/// A draw in `0..limit`; its bias is below 2^-32.
fn below(draw: u64, limit: u32) -> u32 {
    ((u128::from(draw) * u128::from(limit)) >> 64) as u32
}

fn word(bytes: &[u8; 32], index: usize) -> u64 {
    bytes.iter().skip(index * 8).take(8).fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// HMAC-SHA256. Its definition fills a short key up with zeros; doing so here leaves no length that could be wrong.
fn prf(secret: &[u8; 32], message: &[&[u8]]) -> [u8; 32] {
    let mut key = [0; 64];
    key[..32].copy_from_slice(secret);
    let mut mac = <Hmac<Sha256> as Mac>::new(&key.into());
    message.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: [u8; 32] = [7; 32];

    fn receipt(i: u32) -> [u8; 32] {
        prf(&[1; 32], &[&i.to_be_bytes()])
    }

    #[test]
    fn the_function_is_hmac_sha256() {
        // RFC 4231, test case 1, whose key of 20 bytes ends in zeros here as it would by definition.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let want = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
        let got: String = prf(&key, &[b"Hi ", b"There"]).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn the_rate_is_kept() {
        let count = |rate| (0..100_000).filter(|&i| sampled(&SECRET, &receipt(i), rate)).count();
        assert_eq!((count(0), count(RATE_ONE)), (0, 100_000));
        // Five standard deviations around 5000 and 1000.
        assert!((4655..=5345).contains(&count(FULL_RATE)), "{}", count(FULL_RATE));
        assert!((843..=1157).contains(&count(QUALITY_RATE)), "{}", count(QUALITY_RATE));
    }

    #[test]
    fn every_rendition_and_every_frame_is_picked_about_equally_often() {
        let (mut renditions, mut frames) = ([0u32; 3], [0u32; 60]);
        for i in 0..6000 {
            let pick = pick(&SECRET, &receipt(i), 3, 60, 6).unwrap();
            renditions[pick.rendition as usize] += 1;
            pick.frames.iter().for_each(|&frame| frames[frame as usize] += 1);
        }
        assert!(renditions.iter().all(|count| count.abs_diff(2000) < 185), "{renditions:?}");
        assert!(frames.iter().all(|count| count.abs_diff(600) < 120), "{frames:?}");
    }

    proptest! {
        #[test]
        fn a_pick_is_distinct_in_range_and_repeatable(secret: [u8; 32], receipt: [u8; 32], renditions in 1u32..9, frames in 1u32..300, count in 0u32..70) {
            let chosen = pick(&secret, &receipt, renditions, frames, count).unwrap();
            prop_assert!(chosen.rendition < renditions);
            prop_assert_eq!(chosen.frames.len() as u32, count.min(frames));
            prop_assert!(chosen.frames.is_sorted_by(|a, b| a < b));
            prop_assert!(chosen.frames.iter().all(|&frame| frame < frames));
            prop_assert_eq!(Some(chosen), pick(&secret, &receipt, renditions, frames, count));
        }

        #[test]
        fn a_higher_rate_samples_all_that_a_lower_one_does(secret: [u8; 32], receipt: [u8; 32], low: u32, high: u32) {
            prop_assume!(low <= high);
            prop_assert!(!sampled(&secret, &receipt, low) || sampled(&secret, &receipt, high));
        }
    }

    #[test]
    fn nothing_to_choose_from_is_no_pick() {
        assert_eq!(pick(&SECRET, &receipt(0), 0, 60, 1), None);
        assert_eq!(pick(&SECRET, &receipt(0), 3, 0, 1), None);
    }
}
