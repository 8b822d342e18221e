//! Verification: is a rendition what was asked for, and is it the source's picture? Pure, integer-only, no I/O and no clock, so that
//! anybody who runs it on the same bytes comes to the same verdict.
//!
//! # Layers
//!
//! | layer | on | looks at | catches | here |
//! | --- | --- | --- | --- | --- |
//! | A, [`probe`] | every segment | the container: codec, size, frames, timestamps, keys, bytes | wrong size, lost or added frames, shifted time, padding | yes |
//! | B, [`fingerprint`], [`compare`], [`judge`] | the key frame of every rendition | the picture | black, other content, flips, crop, overlay, colour, brightness | yes |
//! | C, every frame of a sample | what [`sampled`] and [`pick`] choose | motion | freeze, partial black, false frame rate | fingerprints serve for it |
//! | D, quality of a sample | the same | sharpness | blur, upscaling, a starved encoder | not yet |
//!
//! A and B do **not** judge quality. A blurred rendition, or one encoded at a sixteenth of its bit rate, passes both.
//!
//! # How layer B works
//!
//! Source and rendition differ in size, so both are averaged over the same grid: 32 × 32 cells of luma, 16 × 16 of U and of V, in
//! sixteenths of a level, with samples on cell edges shared exactly (`grid.rs`). The luma grid also gives a 256-bit hash, the signs
//! of its low DCT coefficients (`hash.rs`). A comparison (`compare.rs`) keeps the worst cell of each grid, never a mean, and the
//! hash's distance. A cell may differ by a quarter of the range among its neighbours in the source, plus a constant: 10 levels of
//! luma, 4 of colour.
//!
//! A sign near zero is decided by compression, so only *firm* bits of the source count. A flat picture has none; then the hash is not
//! judged, and the grids say all there is: a flat blue that comes back red differs in every cell.
//!
//! ```
//! use millrace_verify::{PictureRef, Thresholds, compare, fingerprint, judge};
//!
//! let flat = |level: u8, width: usize, height: usize| {
//!     let (y, c) = (vec![level; width * height], vec![128; width * height / 4]);
//!     fingerprint(PictureRef { width, height, y: &y, u: &c, v: &c })
//! };
//! let (source, same, brighter) = (flat(100, 64, 36)?, flat(101, 32, 18)?, flat(120, 32, 18)?);
//! assert!(judge(&compare(&source, &same), &Thresholds::default()).is_ok());
//! let fault = judge(&compare(&source, &brighter), &Thresholds::default()).unwrap_err();
//! assert_eq!(fault.code(), 201);
//! # Ok::<(), millrace_verify::PictureError>(())
//! ```
//!
//! # Figures
//!
//@FIGURES@
//!
//! # Invariants
//!
//! - Nothing that decides uses a float, a clock, a random source, or a value that the rendition's maker chose to widen its own limit.
//! - Every input may be hostile: sizes, counts and timestamps never overflow or index out of bounds; the answer is a verdict.
//! - The codes of [`Fault`] are signed into verdicts and never change. Fingerprints are committed to in receipts ([`hash_root`]): a change of the
//!   grids, the hash or their encoding is a new version of the protocol.

mod compare;
mod fault;
mod grid;
mod hash;
mod picture;
mod probe;
mod root;
mod sample;

pub use compare::{
    BITS_LIMIT, CHROMA_LIMIT, Cell, Comparison, FIRM_PER_BIT, LUMA_LIMIT, RANGE_SHARE, Thresholds, compare, judge,
};
pub use fault::Fault;
pub use picture::{CHROMA_CELLS, FLAT_BITS, Fingerprint, LUMA_CELLS, PictureError, PictureRef, fingerprint};
pub use probe::{
    ASPECT_TOLERANCE, BUFFER_TICKS, MAX_RATE_PERCENT, MIN_BYTES_PER_FRAME, OVERHEAD_PER_FRAME, PROFILES, SegmentShape,
    TICKS_PER_EXTRA_KEY, TIMESCALE, Wanted, probe,
};
pub use root::hash_root;
pub use sample::{FULL_RATE, Pick, QUALITY_RATE, RATE_ONE, pick, sampled};
