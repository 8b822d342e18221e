//! A plane of samples becomes a small square grid of cell averages, whatever the plane's size.
//!
//! Cell edges rarely fall between two samples (426 samples over 32 cells), so a sample on an edge counts for both cells in
//! exact proportion. Nothing is rounded before the last division: the grid of a picture does not depend on its size.

/// Grid values are in sixteenths of a level: 0 to 4080.
pub(crate) const STEPS_PER_LEVEL: u32 = 16;

/// What one cell takes of one axis: `first` weighted by `head`, whole samples up to `last`, and `last` weighted by `tail`.
struct Span {
    first: usize,
    head: u64,
    last: usize,
    tail: u64,
}

/// Cuts `length` samples into `cells` equal spans. A sample is `cells` units long, so a span is `length` units long.
fn spans(length: usize, cells: usize) -> Vec<Span> {
    (0..cells)
        .map(|cell| {
            let (from, to) = (cell * length, (cell + 1) * length);
            let (first, last) = (from / cells, (to - 1) / cells);
            let head = (to.min((first + 1) * cells) - from) as u64;
            let tail = if last > first { (to - last * cells) as u64 } else { 0 };
            Span { first, head, last, tail }
        })
        .collect()
}

/// Averages `plane` (`width` × `height` samples, tight) over `cells` × `cells` equal cells into `grid`, row by row, in sixteenths
/// of a level. The caller has checked that the plane has at least one sample and as many as it says.
pub(crate) fn average(plane: &[u8], width: usize, height: usize, cells: usize, grid: &mut [u16]) {
    let columns = spans(width, cells);
    let area = (width * height) as u64;
    let mut sums = vec![0u32; width];
    for (row, line) in spans(height, cells).iter().zip(grid.chunks_mut(cells)) {
        // Down first, for adding whole rows to each other is what a processor does fastest; and weights after the sum.
        sums.fill(0);
        for y in row.first + 1..row.last {
            add(&mut sums, &plane[y * width..(y + 1) * width], |sample| sample);
        }
        sums.iter_mut().for_each(|sum| *sum *= cells as u32);
        add(&mut sums, &plane[row.first * width..(row.first + 1) * width], |sample| sample * row.head as u32);
        add(&mut sums, &plane[row.last * width..(row.last + 1) * width], |sample| sample * row.tail as u32);
        for (column, cell) in columns.iter().zip(line) {
            let inner = sums.get(column.first + 1..column.last).unwrap_or_default();
            let whole: u64 = inner.iter().map(|&sum| u64::from(sum)).sum();
            let edges = u64::from(sums[column.first]) * column.head + u64::from(sums[column.last]) * column.tail;
            let total = whole * cells as u64 + edges;
            *cell = ((total * STEPS_PER_LEVEL as u64 + area / 2) / area) as u16;
        }
    }
}

fn add(sums: &mut [u32], row: &[u8], weigh: impl Fn(u32) -> u32) {
    for (sum, &sample) in sums.iter_mut().zip(row) {
        *sum += weigh(u32::from(sample));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_plane_gives_its_level_whatever_its_size() {
        for (width, height) in [(1, 1), (3, 7), (31, 33), (176, 144), (427, 241)] {
            let mut grid = [0; 1024];
            average(&vec![200; width * height], width, height, 32, &mut grid);
            assert!(grid.iter().all(|&cell| cell == 3200), "{width}x{height}");
        }
    }

    #[test]
    fn a_sample_on_an_edge_counts_for_both_cells_in_proportion() {
        // Three samples over two cells: the middle one is half in each.
        let mut grid = [0; 4];
        average(&[30, 60, 90, 30, 60, 90], 3, 2, 2, &mut grid);
        assert_eq!(grid, [640, 1280, 640, 1280]); // (30 + 60/2) / 1.5 = 40, (60/2 + 90) / 1.5 = 80
    }
}
