//! A picture and its fingerprint: what layer B keeps of a key frame.

use crate::grid::average;
use crate::hash::{self, hash};
use thiserror::Error;

/// Luma cells per side. At 32 a cell is 40 × 22 pixels of 720p; a patch of 5 % of the picture covers 36 whole cells or more.
pub const LUMA_CELLS: usize = hash::CELLS;
/// Chroma cells per side: half as many, as 4:2:0 has half the samples each way.
pub const CHROMA_CELLS: usize = 16;
/// Fewer firm bits than this, and the hash is not judged: the picture is flat, and its grids say all there is.
pub const FLAT_BITS: u32 = 16;

/// A decoded picture in 4:2:0 at 8 bit, planes tight (no padding at the end of rows).
#[derive(Debug, Clone, Copy)]
pub struct PictureRef<'a> {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// `width` × `height` samples.
    pub y: &'a [u8],
    /// ⌈`width`/2⌉ × ⌈`height`/2⌉ samples.
    pub u: &'a [u8],
    /// As `u`.
    pub v: &'a [u8],
}

/// A picture whose planes do not have the size that it says.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("plane {plane} of a {width}x{height} picture has {got} samples, it needs {want} (more than none)")]
pub struct PictureError {
    /// `y`, `u` or `v`.
    pub plane: char,
    /// Width of the picture in pixels.
    pub width: usize,
    /// Height of the picture in pixels.
    pub height: usize,
    /// Samples that the plane has.
    pub got: usize,
    /// Samples that it should have.
    pub want: usize,
}

/// What is kept of a picture, whatever its size: 3 KiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// Signs of the luma's low frequencies.
    pub hash: [u64; 4],
    /// Which bits of `hash` stand clear of what compression does.
    pub firm: [u64; 4],
    /// Mean luma of 32 × 32 cells, row by row, in sixteenths of a level.
    pub luma: [u16; LUMA_CELLS * LUMA_CELLS],
    /// Mean U and mean V of 16 × 16 cells, row by row, in sixteenths of a level.
    pub chroma: [[u16; CHROMA_CELLS * CHROMA_CELLS]; 2],
}

impl Fingerprint {
    /// Number of firm bits.
    pub fn firm_bits(&self) -> u32 {
        self.firm.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether the picture has too little structure for its hash to mean anything.
    pub fn flat(&self) -> bool {
        self.firm_bits() < FLAT_BITS
    }

    /// The one encoding that is hashed: `hash`, `firm`, `luma`, U, V, every number big-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let words = self.hash.iter().chain(&self.firm).flat_map(|word| word.to_be_bytes());
        let cells = self.luma.iter().chain(self.chroma.iter().flatten()).flat_map(|cell| cell.to_be_bytes());
        words.chain(cells).collect()
    }
}

/// Computes a picture's fingerprint. Any size from 1 × 1 will do; the error is a plane that is not as long as the size says.
pub fn fingerprint(picture: PictureRef<'_>) -> Result<Fingerprint, PictureError> {
    let PictureRef { width, height, y, u, v } = picture;
    let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
    for (name, plane, want) in [
        ('y', y, width.checked_mul(height)),
        ('u', u, half_width.checked_mul(half_height)),
        ('v', v, half_width.checked_mul(half_height)),
    ] {
        if plane.is_empty() || Some(plane.len()) != want {
            let want = want.unwrap_or(usize::MAX);
            return Err(PictureError { plane: name, width, height, got: plane.len(), want });
        }
    }
    let mut luma = [0; LUMA_CELLS * LUMA_CELLS];
    let mut chroma = [[0; CHROMA_CELLS * CHROMA_CELLS]; 2];
    average(y, width, height, LUMA_CELLS, &mut luma);
    average(u, half_width, half_height, CHROMA_CELLS, &mut chroma[0]);
    average(v, half_width, half_height, CHROMA_CELLS, &mut chroma[1]);
    let (hash, firm) = hash(&luma);
    Ok(Fingerprint { hash, firm, luma, chroma })
}
