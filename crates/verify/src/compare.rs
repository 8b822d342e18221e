//! Layer B: the fingerprint of a rendition's key frame against that of the source's frame at the same time.
//!
//! What counts is the worst cell, never the mean: a logo touches few cells. How much a cell may differ depends on where it is. Beside
//! an edge, a fraction of a pixel of scaling or the blur of a low bit rate moves brightness from one cell to the next, in
//! proportion to the step between them; in a smooth place nothing honest does. So each cell is allowed a quarter of the range
//! among its neighbours *in the source* (the rendition's own would let a cheat widen its own limit), plus a constant.

use crate::{CHROMA_CELLS, Fault, Fingerprint, LUMA_CELLS};
use serde::{Deserialize, Serialize};

/// The share of the local range that a cell may differ by: one part in this many.
pub const RANGE_SHARE: u32 = 4;

/// The limits of [`judge`]. [`Default`] has the fitted ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thresholds {
    /// What a luma cell may differ by beyond its share of the local range, in sixteenths of a level.
    pub luma: u32,
    /// The same for a chroma cell.
    pub chroma: u32,
    /// Firm hash bits that may differ in any picture.
    pub bits: u32,
    /// And one more for each this many firm bits. Must not be 0; 0 counts as 1.
    pub firm_per_bit: u32,
}

impl Default for Thresholds {
    fn default() -> Self {
        Thresholds { luma: LUMA_LIMIT, chroma: CHROMA_LIMIT, bits: BITS_LIMIT, firm_per_bit: FIRM_PER_BIT }
    }
}

/// 10 levels: twice the worst of the fitted titles (78), seven times that of the others (23). Encoders other than x264 were not measured,
/// so the room is theirs.
pub const LUMA_LIMIT: u32 = 160;
/// 4 levels: half as much again as the worst of the fitted titles (44) and of the others (43). Less would catch weaker changes of
/// colour: at this limit half the saturation escapes in 3 % of the pictures where it shows.
pub const CHROMA_LIMIT: u32 = 64;
/// With the share below, no honest key frame came nearer than these 4.
pub const BITS_LIMIT: u32 = 4;
/// Another eighth of the firm bits: swaps and flips differ in two fifths and more.
pub const FIRM_PER_BIT: u32 = 8;

/// The cell of a grid that exceeds its allowance most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cell {
    /// How far the rendition is from the source, in sixteenths of a level.
    pub difference: u32,
    /// Its share of the local range in the source, in sixteenths of a level.
    pub allowance: u32,
}

impl Cell {
    /// What is left of the difference after the allowance; 0 when that covers it.
    pub fn excess(&self) -> u32 {
        self.difference.saturating_sub(self.allowance)
    }
}

/// How a rendition's picture differs from the source's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison {
    /// Hash bits that differ among those that are firm in the source.
    pub distance: u32,
    /// Hash bits that are firm in the source.
    pub firm: u32,
    /// The source is flat: `distance` means nothing.
    pub flat: bool,
    /// The worst luma cell.
    pub max_luma_cell: Cell,
    /// The worst cell of U and V.
    pub max_chroma_cell: Cell,
}

/// Compares a rendition's fingerprint with its source's. Not symmetrical: the source alone sets the allowances.
pub fn compare(source: &Fingerprint, rendition: &Fingerprint) -> Comparison {
    let bits = source.hash.iter().zip(&rendition.hash).zip(&source.firm);
    let [u, v] = [0, 1].map(|i| worst_cell(&source.chroma[i], &rendition.chroma[i], CHROMA_CELLS));
    Comparison {
        distance: bits.map(|((a, b), firm)| ((a ^ b) & firm).count_ones()).sum(),
        firm: source.firm_bits(),
        flat: source.flat(),
        max_luma_cell: worst_cell(&source.luma, &rendition.luma, LUMA_CELLS),
        max_chroma_cell: if v.excess() > u.excess() { v } else { u },
    }
}

/// Passes a comparison or says what is wrong: brightness first, then colour, then structure.
pub fn judge(comparison: &Comparison, thresholds: &Thresholds) -> Result<(), Fault> {
    let Comparison { distance, firm, flat, max_luma_cell: luma, max_chroma_cell: chroma } = *comparison;
    if luma.excess() > thresholds.luma {
        return Err(Fault::Luma { difference: luma.difference, limit: luma.allowance + thresholds.luma });
    }
    if chroma.excess() > thresholds.chroma {
        return Err(Fault::Chroma { difference: chroma.difference, limit: chroma.allowance + thresholds.chroma });
    }
    let limit = thresholds.bits + firm / thresholds.firm_per_bit.max(1);
    if !flat && distance > limit {
        return Err(Fault::Structure { distance, firm, limit });
    }
    Ok(())
}

fn worst_cell(source: &[u16], rendition: &[u16], cells: usize) -> Cell {
    let mut worst = Cell::default();
    for (i, (&a, &b)) in source.iter().zip(rendition).enumerate() {
        let difference = u32::from(a.abs_diff(b));
        if difference > worst.excess() {
            let cell = Cell { difference, allowance: local_range(source, cells, i) / RANGE_SHARE };
            if cell.excess() > worst.excess() {
                worst = cell;
            }
        }
    }
    worst
}

/// Highest less lowest of the 3 × 3 cells around cell `i`, fewer at the border.
fn local_range(grid: &[u16], cells: usize, i: usize) -> u32 {
    let (x, y) = (i % cells, i / cells);
    let rows = grid.chunks_exact(cells).take(y + 2).skip(y.saturating_sub(1));
    let around = rows.flat_map(|row| row.iter().take(x + 2).skip(x.saturating_sub(1)));
    let (low, high) = around.fold((u16::MAX, 0), |(low, high), &cell| (low.min(cell), high.max(cell)));
    u32::from(high.saturating_sub(low))
}
