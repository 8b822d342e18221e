//! The sums, and the page that they are printed on.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use millrace_node::version;

use super::ffmpeg::{Clip, Run};
use super::ingest::Ingest;
use super::payments::Payments;
use super::process::{Machine, Process};
use super::{Line, Moment, Rung, SIZE};

/// Processor time of the line over that of one ffmpeg process: the bar, and what it will come down to.
const RATIO: (f64, f64) = (1.25, 1.05);
/// Milliseconds from a source part in hand to its rendition part in the origin, 99th percentile: likewise.
const P99: (u64, u64) = (500, 300);

/// All that was measured.
pub(super) struct Report {
    pub(super) machine: Machine,
    pub(super) clip: Clip,
    pub(super) rungs: Vec<Rung>,
    pub(super) line: Line,
    /// The runs of ffmpeg alone, before and after the line's.
    pub(super) ffmpeg: [Run; 2],
    pub(super) payments: Payments,
    pub(super) ingest: Ingest,
}

/// Processor time between two moments of a network by process, seconds; a process that was not there at both is left out.
fn by_process([from, to]: [&Moment; 2]) -> Vec<(&Process, f64)> {
    let before = |of: &Process| from.processes.iter().find(|p| p.pid == of.pid);
    to.processes.iter().filter_map(|p| Some((p, p.cpu - before(p)?.cpu))).collect()
}

/// Processor time between two moments of a network, and their distance, seconds.
pub(super) fn spent(moments: [&Moment; 2]) -> (f64, f64) {
    let cpu = by_process(moments).iter().map(|(_, cpu)| cpu).sum();
    (cpu, (moments[1].at - moments[0].at).as_secs_f64())
}

/// What other programs took of the machine between two moments, cores.
pub(super) fn others(moments: [&Moment; 2]) -> f64 {
    let (ours, seconds) = spent(moments);
    (moments[1].busy - moments[0].busy - ours).max(0.0) / seconds
}

/// A ladder in words.
pub(super) fn ladder(rungs: &[Rung]) -> String {
    let rung = |r: &Rung| format!("{}x{} at {} kbit/s", r.width, r.height, r.bitrate / 1000);
    rungs.iter().map(rung).collect::<Vec<_>>().join(", ")
}

/// The slope of the straight line with the least squared distance to the points, or `None` if they make none.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let n = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / n, y + point.1 / n));
    let (products, squares) = points.iter().fold((0.0, 0.0), |(products, squares), point| {
        let off = point.0 - x;
        (products + off * (point.1 - y), squares + off * off)
    });
    (squares > 0.0).then(|| products / squares)
}

/// Memory of one process with a stream.
#[derive(Debug, PartialEq)]
pub(super) struct Growth {
    /// MiB, mean.
    pub(super) mean: f64,
    /// KiB a minute.
    pub(super) slope: f64,
}

/// By process, over the second half of the watch: by then a network has reached what it needs.
pub(super) fn growth(watch: &[Moment]) -> BTreeMap<String, Growth> {
    let mut points: BTreeMap<(String, u32), Vec<(f64, f64)>> = BTreeMap::new();
    for moment in &watch[watch.len() / 2..] {
        for p in &moment.processes {
            points.entry((p.name.clone(), p.pid)).or_default().push((moment.at.as_secs_f64() / 60.0, p.rss as f64));
        }
    }
    let of = |points: Vec<(f64, f64)>| {
        let mean = points.iter().map(|point| point.1).sum::<f64>() / points.len() as f64 / 1024.0;
        Some(Growth { mean, slope: slope(&points)? })
    };
    points.into_iter().filter_map(|((name, _), points)| Some((name, of(points)?))).collect()
}

/// Whether a bar holds.
fn verdict(holds: bool) -> &'static str {
    if holds { "PASS" } else { "over" }
}

impl Report {
    /// The line's processor seconds, the lower of ffmpeg's, and their ratio.
    fn ratio(&self) -> (f64, f64, f64) {
        let line = spent(self.line.publication.each_ref()).0;
        let alone = self.ffmpeg[0].cpu.min(self.ffmpeg[1].cpu);
        (line, alone, line / alone)
    }

    /// Segments of renditions that the two publications must have.
    fn due(&self) -> usize {
        (self.line.stream.segments + self.line.watched.segments) as usize * self.rungs.len()
    }

    fn bars(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let line = &self.line;
        writeln!(f, "| what | measured | bar here | | bar later | |\n| --- | ---: | ---: | --- | ---: | --- |")?;
        let ratio = self.ratio().2;
        let held = [RATIO.0, RATIO.1].map(|bar| verdict(ratio <= bar));
        let name = "processor time of the whole line ÷ one ffmpeg process";
        writeln!(f, "| {name} | {ratio:.3} | {} | {} | {} | {} |", RATIO.0, held[0], RATIO.1, held[1])?;
        for (name, stream) in [("", &line.stream), (", while memory was watched", &line.watched)] {
            let p99 = stream.latency_ms.map(|l| l.p99);
            let held = [P99.0, P99.1].map(|bar| verdict(p99.is_some_and(|p99| p99 <= bar)));
            let said = p99.map_or("none came".to_owned(), |p99| format!("{p99} ms"));
            let name = format!("part in hand to its renditions in the origin, p99{name}");
            writeln!(f, "| {name} | {said} | {} ms | {} | {} ms | {} |", P99.0, held[0], P99.1, held[1])?;
        }
        let missing = self.due().saturating_sub(line.listed);
        let held = verdict(missing == 0);
        let name = format!("missing among {} segments of renditions", self.due());
        writeln!(f, "| {name} | {} | 0 | {held} | 0 | {held} |", missing)
    }

    fn cpu(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let line = &self.line;
        let (all, seconds) = spent(line.publication.each_ref());
        let (_, alone, _) = self.ratio();
        let (idle, idle_seconds) = spent(line.idle.each_ref());
        writeln!(f, "| process | CPU s | of one core | share | ÷ ffmpeg | idle, of one core |")?;
        writeln!(f, "| --- | ---: | ---: | ---: | ---: | ---: |")?;
        let resting: BTreeMap<u32, f64> =
            by_process(line.idle.each_ref()).iter().map(|(p, cpu)| (p.pid, *cpu)).collect();
        let row = |f: &mut Formatter<'_>, name: &str, cpu: f64, rest: f64| {
            let [core, share, rest] = [cpu / seconds, cpu / all, rest / idle_seconds].map(|x| x * 100.0);
            writeln!(f, "| {name} | {cpu:.2} | {core:.1} % | {share:.1} % | {:.3} | {rest:.2} % |", cpu / alone)
        };
        for (process, cpu) in by_process(line.publication.each_ref()) {
            row(f, &process.name, cpu, resting.get(&process.pid).copied().unwrap_or(0.0))?;
        }
        row(f, "**the line**", all, idle)?;
        for (run, when) in self.ffmpeg.iter().zip(["before", "after"]) {
            let (cpu, wall) = (run.cpu, run.wall.as_secs_f64());
            let core = cpu / wall * 100.0;
            writeln!(f, "| one ffmpeg, {when}, in {wall:.1} s | {cpu:.2} | {core:.1} % | | {:.3} | |", cpu / alone)?;
        }
        let [before, after] = &line.publication;
        let strangers = |one: &Moment, other: &Moment| {
            one.processes.iter().filter(|p| other.processes.iter().all(|o| o.pid != p.pid)).count()
        };
        match strangers(before, after) + strangers(after, before) {
            0 => Ok(()),
            n => writeln!(f, "\n**{n} processes began or ended meanwhile: their seconds are not in these sums.**"),
        }
    }

    fn memory(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let with = growth(&self.line.watch);
        writeln!(f, "| process | no stream, MiB | one stream, MiB | slope, KiB/min |\n| --- | ---: | ---: | ---: |")?;
        let mut sums = (0.0, 0.0, 0.0);
        for process in &self.line.idle[1].processes {
            let idle = process.rss as f64 / 1024.0;
            match with.get(&process.name) {
                Some(Growth { mean, slope }) => {
                    sums = (sums.0 + idle, sums.1 + mean, sums.2 + slope);
                    writeln!(f, "| {} | {idle:.1} | {mean:.1} | {slope:+.0} |", process.name)?;
                }
                None => writeln!(f, "| {} | {idle:.1} | it ended | |", process.name)?,
            }
        }
        writeln!(f, "| **the line** | {:.1} | {:.1} | {:+.0} |", sums.0, sums.1, sums.2)
    }
}

impl Display for Machine {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let profile = if cfg!(debug_assertions) { ", **a debug build: its figures mean nothing**" } else { "" };
        writeln!(f, "- program: millrace {}{profile}", version::VERSION)?;
        writeln!(f, "- machine: {} cores of {}; load average before: {}", self.cores, self.model, self.load)
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (machine, clip, line) = (&self.machine, &self.clip, &self.line);
        writeln!(f, "# What the line costs\n\nThis page is the output of `make bench`.\n")?;
        write!(f, "{machine}")?;
        let rate = clip.bytes * 8 / u64::from(clip.seconds) / 1000;
        let (width, height) = SIZE;
        writeln!(
            f,
            "- input: {} s of {width}x{height} at 30 frames/s, H.264 and AAC by RTMP at {rate} kbit/s, {} B-frames, from {}",
            clip.seconds, clip.bframes, clip.from
        )?;
        writeln!(f, "- ladder: {}", ladder(&self.rungs))?;
        writeln!(f, "- encoders: {}\n", line.devices.join("; "))?;
        self.bars(f)?;

        writeln!(f, "\n## Processor time\n")?;
        let seconds = spent(line.publication.each_ref()).1;
        writeln!(
            f,
            "From just before the publication to the last segment of its ladder, {seconds:.1} s. One ffmpeg process makes the same ladder from the \
             same clip as fast as it goes, with the same options, before and after; the lower one counts.\n"
        )?;
        self.cpu(f)?;

        writeln!(f, "\n## From a source part in hand to its rendition part in the origin\n")?;
        writeln!(f, "| publication | p50 | p99 | parts of renditions | taken by other programs, cores |")?;
        writeln!(f, "| --- | ---: | ---: | ---: | ---: |")?;
        let watch = line.watch.first().zip(line.watch.last()).map_or(0.0, |(first, last)| others([first, last]));
        let rows = [
            ("the one above", &line.stream, others(line.publication.each_ref())),
            ("the one below", &line.watched, watch),
        ];
        for (name, stream, others) in rows {
            match stream.latency_ms {
                Some(l) => writeln!(f, "| {name} | {} ms | {} ms | {} | {others:.2} |", l.p50, l.p99, l.samples)?,
                None => writeln!(f, "| {name} | | | none | {others:.2} |")?,
            }
        }

        writeln!(f, "\n## Memory\n")?;
        let minutes = line
            .watch
            .first()
            .zip(line.watch.last())
            .map_or(0.0, |(first, last)| (last.at - first.at).as_secs_f64() / 60.0);
        writeln!(
            f,
            "Resident memory; pages of the program itself count in each process. With a stream: mean and least-squares slope over the second \
             half of {minutes:.1} min of publishing, a look every 5 s.\n"
        )?;
        self.memory(f)?;

        writeln!(f, "\n## Segments and payments\n")?;
        let (segments, parts) = (line.stream.segments, line.stream.parts);
        writeln!(
            f,
            "- the first publication: {segments} segments in {parts} parts, each for {} renditions",
            self.rungs.len()
        )?;
        let t = &line.tickets;
        writeln!(
            f,
            "- its tickets: {} from the broadcaster to the orchestrator, with the prepayments; {} from there to the transcoders; {} won",
            t.orchestrator, t.transcoders, t.winners
        )?;
        writeln!(
            f,
            "- both publications: {} segments of renditions listed of {} due, {} gaps; {} attempts did not pass",
            line.listed,
            self.due(),
            line.gaps,
            line.troubles.values().map(Vec::len).sum::<usize>()
        )?;
        line.troubles.iter().try_for_each(|(why, of)| {
            let (first, last) = (of.iter().min().copied().unwrap_or(0), of.iter().max().copied().unwrap_or(0));
            writeln!(f, "  - {} times among segments {first} to {last}: {why}", of.len())
        })?;

        writeln!(f, "\n## Tickets\n\n{}", self.payments)?;
        write!(f, "\n{}", self.ingest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn moment(second: u64, cpu: f64, rss: u64) -> Moment {
        let process = Process { pid: 1, name: "broadcaster".into(), cpu, rss };
        Moment { at: Duration::from_secs(second), processes: vec![process], busy: 2.0 * cpu }
    }

    #[test]
    fn a_straight_line_has_its_own_slope() {
        assert_eq!(slope(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]), Some(2.0));
        assert_eq!(slope(&[(1.0, 5.0)]), None);
        assert_eq!(slope(&[]), None);
    }

    #[test]
    fn memory_is_judged_by_the_second_half() {
        let watch = [moment(0, 0.0, 1024), moment(60, 0.0, 9216), moment(120, 0.0, 10240), moment(180, 0.0, 10250)];
        assert_eq!(growth(&watch)["broadcaster"], Growth { mean: (10240.0 + 10250.0) / 2048.0, slope: 10.0 });
    }

    #[test]
    fn processor_time_is_of_the_same_processes() {
        let mut moments = [moment(1, 2.0, 0), moment(3, 3.5, 0)];
        moments[1].processes.push(Process { pid: 2, name: "worker".into(), cpu: 100.0, rss: 0 });
        assert_eq!(spent(moments.each_ref()), (1.5, 2.0));
        assert_eq!(others(moments.each_ref()), 0.75);
    }
}
