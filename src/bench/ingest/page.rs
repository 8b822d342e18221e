//! The words around the figures of ingest.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use super::churn::Churn;
use super::{Climb, Ingest, Step};

/// What SRS publishes of itself: RTMP publishers of 600 kbit/s on one core, and MB of memory for each. It packages nothing meanwhile.
const SRS: (u32, f64) = (2_300, 0.48);

impl Step {
    /// Publishers that a whole core would take at this rate.
    fn per_core(&self) -> f64 {
        self.publishers as f64 / self.cpu
    }

    /// MiB for each.
    fn memory(&self, idle: u64) -> f64 {
        self.rss.saturating_sub(idle) as f64 / 1024.0 / self.publishers as f64
    }
}

impl Climb {
    /// The step that another one's is compared with: of as many publishers, and one that held.
    fn like(&self, step: &Step) -> Option<&Step> {
        self.steps.iter().find(|own| own.publishers == step.publishers && own.broke.is_none())
    }
}

fn ms(time: Option<Duration>) -> String {
    time.map_or_else(|| "none came".to_owned(), |time| format!("{:.2} ms", time.as_secs_f64() * 1000.0))
}

impl Ingest {
    fn crowds(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| who takes them | publishers | of one core | per core | memory, MiB | MiB each | sender, of one core | others, cores | latest packet | held |"
        )?;
        writeln!(f, "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |")?;
        for climb in &self.climbs {
            for step in &climb.steps {
                writeln!(
                    f,
                    "| {} | {} | {:.1} % | {:.0} | {:.0} | {:.2} | {:.1} % | {:.2} | {} | {} |",
                    climb.name,
                    step.publishers,
                    step.cpu * 100.0,
                    step.per_core(),
                    step.rss as f64 / 1024.0,
                    step.memory(climb.idle),
                    step.sender * 100.0,
                    step.others,
                    ms(Some(step.late)),
                    step.broke.as_deref().unwrap_or("yes"),
                )?;
            }
        }
        let (each, memory) = SRS;
        writeln!(f, "| SRS, RTMP, by its own account, not packaged | | | {each} | | {memory} | | | | |")?;
        for climb in &self.climbs {
            if let Some(refusal) = &climb.refusal {
                writeln!(f, "\n{}: one publisher more than its limit is told “{refusal}”.", climb.name)?;
            }
        }
        Ok(())
    }

    fn ratios(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some((ours, others)) = self.climbs.split_first() else { return Ok(()) };
        writeln!(f, "\n| Millrace by RTMP ÷ | publishers | processor time | memory |\n| --- | ---: | ---: | ---: |")?;
        for climb in others {
            for step in climb.steps.iter().filter(|step| step.broke.is_none()) {
                let Some(own) = ours.like(step) else { continue };
                let (cpu, memory) = (own.cpu / step.cpu, own.memory(ours.idle) / step.memory(climb.idle));
                writeln!(f, "| {} | {} | {cpu:.2} | {memory:.2} |", climb.name, step.publishers)?;
            }
        }
        for without in &self.without {
            writeln!(f, "\nNot here to compare with: {without}.")?;
        }
        Ok(())
    }

    fn delays(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "| protocol | p50 | p99 | pictures | missing |\n| --- | ---: | ---: | ---: | ---: |")?;
        for delay in &self.delays {
            let (p50, p99) = (ms(delay.percentile(50)), ms(delay.percentile(99)));
            writeln!(f, "| {} | {p50} | {p99} | {} | {} |", delay.protocol, delay.sent, delay.missing)?;
        }
        Ok(())
    }
}

impl Display for Churn {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let all: u64 = self.ends.values().sum();
        let ways: Vec<_> = self.ends.iter().map(|(end, count)| format!("{count} {}", end.words())).collect();
        writeln!(f, "{all} publishers came, twelve at a time, for three seconds each: {}.\n", ways.join(", "))?;
        match &self.growth {
            Some(growth) => writeln!(
                f,
                "Resident memory of the broadcaster: {:.1} MiB before the first; mean {:.1} MiB and slope {:+.0} KiB/min by least squares over the \
                 second half of {} min, a look every 5 s, after 75 s of the same; in the quarters of that time {} MiB.",
                self.idle,
                growth.mean,
                growth.slope,
                self.minutes,
                self.quarters.iter().map(|mean| format!("{mean:.1}")).collect::<Vec<_>>().join(", ")
            )?,
            None => writeln!(f, "The broadcaster's memory was not seen.")?,
        }
        if let Some(first) = self.failed.first() {
            writeln!(f, "\n**{} went otherwise than they should**, the first: {first}.", self.failed.len())?;
        }
        Ok(())
    }
}

impl Display for Ingest {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "## Ingest\n\n{}", self.machine)?;
        writeln!(
            f,
            "Publishers of 640x360 at 30 frames/s, H.264 and sound at {} kbit/s in all, from {}, in real time and packaged as HLS without \
             transcoding. All of them are one process that sends what lies ready, by RTMP over TCP or by WebRTC over UDP.\n",
            self.bitrate / 1000,
            self.from
        )?;
        self.crowds(f)?;
        writeln!(
            f,
            "\nMemory is resident, and each: what the process has more than before the first, divided. Millrace holds its segments in \
             memory, 20 s in the playlist and 22 s after, and is measured when it holds them all; nginx (MPEG-TS) and ffmpeg (fMP4) write them to files, \
             which are not counted. *Latest packet*: the longest that anything was sent after its time; a second is too late, as is a playlist \
             that ends more than two segments before now. For WHIP there is nothing here to compare with: neither nginx nor ffmpeg takes it. Its sound is Opus, which becomes \
             AAC: most of its processor time."
        )?;
        self.ratios(f)?;
        writeln!(f, "\n### From the last packet of a picture to its access unit\n")?;
        writeln!(
            f,
            "Eight publishers at once of each protocol, over loopback, into what the segmenter reads from. SRT holds everything back by its latency, 200 ms, \
             and its pictures end where the next begins: 33 ms.\n"
        )?;
        self.delays(f)?;
        writeln!(f, "\n### Publishers that come and go\n")?;
        self.churn.fmt(f)
    }
}
