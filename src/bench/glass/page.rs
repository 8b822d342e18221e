//! The words around the figures.

use std::fmt::{self, Display, Formatter};

use super::probe::Reach;
use super::{Glass, Played, RUNG, SECONDS};

/// What the 95th percentile of a transcoded rendition may be, ms.
const BAR: f64 = 2_000.0;

/// The value below which so many thousandths of the others lie.
fn at(values: &[f64], permille: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) * permille / 1000).copied().unwrap_or(f64::NAN)
}

impl Display for Glass {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Glass to glass\n")?;
        write!(f, "{}", self.machine)?;
        writeln!(
            f,
            "- a camera of 1280x720 at 30 pictures/s writes the time of its making into each picture; x264 superfast and AAC by RTMP, a key \
             picture every 2 s, by {}; a ladder of {RUNG}; Chromium with hls.js reads the time off its screen, for {SECONDS} s",
            super::camera::version()
        )?;
        writeln!(f, "- the latest picture was made {:.0} ms after its time\n", self.late.as_secs_f64() * 1000.0)?;
        writeln!(
            f,
            "| what is played | age when shown, p50 | p95 | p99 | bar | | behind its edge, p50 | stalls | dropped | pictures | cores busy |"
        )?;
        writeln!(f, "| --- | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |")?;
        for played in &self.played {
            played.row(f)?;
        }
        writeln!(f, "\nPlain HLS ÷ low latency, of the same rendition, p95: {:.1}.\n", self.ratio())?;
        writeln!(
            f,
            "From the making of a picture until its part could be fetched by a client that waits for it, ms:\n"
        )?;
        writeln!(f, "| rendition | last picture of the part, p50 | p95 | first picture, p50 | p95 | parts |")?;
        writeln!(f, "| --- | ---: | ---: | ---: | ---: | ---: |")?;
        for (name, Reach { first, last }) in ["source", RUNG].into_iter().zip(&self.reach) {
            let [last50, last95, first50, first95] = [at(last, 500), at(last, 950), at(first, 500), at(first, 950)];
            writeln!(f, "| {name} | {last50:.0} | {last95:.0} | {first50:.0} | {first95:.0} | {} |", last.len())?;
        }
        for Played { way, seen, .. } in &self.played {
            for (error, times) in &seen.errors {
                writeln!(f, "\n{}: hls.js said {error} {times} times.", way.name)?;
            }
            if let Some(fatal) = &seen.fatal {
                writeln!(f, "\n{}: hls.js gave up: {fatal}.", way.name)?;
            }
        }
        Ok(())
    }
}

impl Glass {
    fn ratio(&self) -> f64 {
        let p95 = |at_: usize| self.played.get(at_).map_or(f64::NAN, |played| at(&played.seen.ages, 950));
        p95(2) / p95(0)
    }
}

impl Played {
    fn row(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { way, seen, busy } = self;
        let (bar, held) = match (way.rendition, way.mode) {
            (RUNG, "low") if at(&seen.ages, 950) <= BAR => ("2,000", "PASS"),
            (RUNG, "low") => ("2,000", "over"),
            _ => ("", ""),
        };
        writeln!(
            f,
            "| {}, {} lines | {:.0} ms | {:.0} ms | {:.0} ms | {bar} | {held} | {:.0} ms | {} | {} | {}, {} unread | {busy:.2} |",
            way.name,
            seen.height,
            at(&seen.ages, 500),
            at(&seen.ages, 950),
            at(&seen.ages, 990),
            at(&seen.edge, 500),
            seen.stalls,
            seen.dropped,
            seen.ages.len(),
            seen.bad,
        )
    }
}
