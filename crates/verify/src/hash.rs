//! The 256-bit perceptual hash: signs of the low frequencies of the luma grid.
//!
//! A sign says nothing where its coefficient is near zero: there compression decides it. So the hash carries a second word for each,
//! the *firm* bits, and only bits that are firm in the source are compared. A flat picture has none, which is how it shows.

use crate::grid::STEPS_PER_LEVEL;

/// Luma cells per side that the transform takes in.
pub(crate) const CELLS: usize = 32;
/// Frequencies per side that it gives out: 16 × 16 = 256 bits.
const FREQUENCIES: usize = 16;

/// A bit is firm when its coefficient exceeds this many levels. Key frames starved to a tenth of their due flip up to 27 bits at 4
/// levels and 16 at 8; the clips that have texture keep 112 to 214 firm bits of 255 at 8.
pub(crate) const FIRM_LEVELS: u32 = 8;

/// cos(k·π/64) for k = 0..=32 in units of 2^-14: the first quarter of the wave that a 32-point DCT walks around.
const COSINES: [i64; 33] = [
    16384, 16364, 16305, 16207, 16069, 15893, 15679, 15426, 15137, 14811, 14449, 14053, 13623, 13160, 12665, 12140,
    11585, 11003, 10394, 9760, 9102, 8423, 7723, 7005, 6270, 5520, 4756, 3981, 3196, 2404, 1606, 804, 0,
];
const COSINE_BITS: u32 = 14;

/// `BASIS[u][x]` = cos((2x + 1)·u·π/64).
const BASIS: [[i64; CELLS]; FREQUENCIES] = {
    let mut basis = [[0; CELLS]; FREQUENCIES];
    let mut u = 0;
    while u < FREQUENCIES {
        let mut x = 0;
        while x < CELLS {
            let k = (2 * x + 1) * u % 128;
            basis[u][x] = match k {
                0..=32 => COSINES[k],
                33..=64 => -COSINES[64 - k],
                65..=96 => -COSINES[k - 64],
                _ => COSINES[128 - k],
            };
            x += 1;
        }
        u += 1;
    }
    basis
};

/// Signs of the low 16 × 16 coefficients of the 32 × 32 DCT-II of `luma`, and which of them are firm. Bit `v·16 + u` of each, from the
/// low end of the first word, is the coefficient of u half-waves across and v down. Bit 0, the mean, is never firm.
pub(crate) fn hash(luma: &[u16; CELLS * CELLS]) -> ([u64; 4], [u64; 4]) {
    let mut across = [[0i64; CELLS]; FREQUENCIES]; // [u][y]
    for (y, row) in luma.chunks_exact(CELLS).enumerate() {
        for (u, wave) in BASIS.iter().enumerate() {
            across[u][y] = wave.iter().zip(row).map(|(c, &cell)| c * i64::from(cell)).sum::<i64>() >> COSINE_BITS;
        }
    }
    // The orthonormal transform has a factor of 2/32; the mean's row and column would have less by √2, which no sign minds.
    let firm_above = i64::from(FIRM_LEVELS * STEPS_PER_LEVEL) * CELLS as i64 / 2;
    let (mut bits, mut firm) = ([0u64; 4], [0u64; 4]);
    for (v, wave) in BASIS.iter().enumerate() {
        for (u, column) in across.iter().enumerate() {
            let coefficient = wave.iter().zip(column).map(|(c, value)| c * value).sum::<i64>() >> COSINE_BITS;
            let i = v * FREQUENCIES + u;
            bits[i / 64] |= u64::from(coefficient > 0) << (i % 64);
            firm[i / 64] |= u64::from(i > 0 && coefficient.abs() > firm_above) << (i % 64);
        }
    }
    (bits, firm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_basis_is_orthogonal() {
        for (a, first) in BASIS.iter().enumerate() {
            for (b, second) in BASIS.iter().enumerate() {
                let dot: i64 = first.iter().zip(second).map(|(x, y)| x * y).sum::<i64>() >> (2 * COSINE_BITS);
                let want = match (a == b, a) {
                    (false, _) => 0,
                    (true, 0) => 32,
                    (true, _) => 16,
                };
                assert!((dot - want).abs() <= 1, "{a} {b} {dot}");
            }
        }
    }

    #[test]
    fn one_wave_across_is_one_firm_bit() {
        let luma = std::array::from_fn(|i| (2000 + BASIS[3][i % CELLS] / 20) as u16);
        let (bits, firm) = hash(&luma);
        assert_eq!(firm, [1 << 3, 0, 0, 0]);
        assert_eq!(bits[0] & firm[0], firm[0]);
    }
}
