//! What `/proc` tells: the processes of a network, what they have used, and the machine that they run on.

use std::collections::BTreeMap;
use std::path::Path;

/// Ticks a second in `/proc/PID/stat` and `/proc/stat`: USER_HZ, which is 100 on every architecture that this runs on.
const TICKS: f64 = 100.0;

/// A process.
#[derive(Debug, Clone)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// Its role, and which one: "transcoder-1", "worker of transcoder-1".
    pub(super) name: String,
    /// Seconds of processor time, in the program and in the kernel for it, of all its threads.
    pub(super) cpu: f64,
    /// Resident memory, KiB.
    pub(super) rss: u64,
}

/// `root` and all that descend from it.
pub(super) fn tree(root: u32) -> Vec<Process> {
    let mut parents = BTreeMap::new();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        if let Some(stat) = Stat::of(&pid.to_string()) {
            parents.insert(pid, stat);
        }
    }
    let mut found: Vec<Process> = Vec::new();
    let mut next = vec![(root, String::new())];
    while let Some((pid, parent)) = next.pop() {
        let Some(stat) = parents.get(&pid).filter(|stat| stat.alive) else { continue };
        let name = name(pid, &parent);
        next.extend(parents.iter().filter(|(_, child)| child.parent == pid).map(|(child, _)| (*child, name.clone())));
        found.push(Process { pid, name, cpu: stat.own, rss: rss(pid) });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// Seconds of processor time of this process's children that have ended and were waited for.
pub(super) fn children_seconds() -> f64 {
    Stat::of("self").map_or(0.0, |stat| stat.waited)
}

/// Seconds of processor time of this process, all its threads.
pub(super) fn own_seconds() -> f64 {
    Stat::of("self").map_or(0.0, |stat| stat.own)
}

/// Seconds of processor time that the machine has spent on anything.
pub(super) fn busy_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let all: Vec<f64> = text.lines().next().unwrap_or_default().split(' ').filter_map(|n| n.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal, and guests, which are counted among users already.
    let busy = |(at, ticks): (usize, &f64)| if matches!(at, 3 | 4) { 0.0 } else { *ticks };
    all.iter().take(8).enumerate().map(busy).sum::<f64>() / TICKS
}

struct Stat {
    alive: bool,
    parent: u32,
    own: f64,
    waited: f64,
}

impl Stat {
    fn of(pid: &str) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // The name, in brackets, may hold anything. After it come the state and the parent, which are fields 3 and 4.
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split_whitespace().collect();
        let seconds = |field: usize| Some(fields.get(field - 3)?.parse::<f64>().ok()? / TICKS);
        Some(Self {
            alive: fields.first().is_some_and(|state| !matches!(*state, "Z" | "X")),
            parent: fields.get(1)?.parse().ok()?,
            own: seconds(14)? + seconds(15)?,
            waited: seconds(16)? + seconds(17)?,
        })
    }
}

/// What a process is called by its command line.
fn name(pid: u32, parent: &str) -> String {
    let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let arguments: Vec<&str> = line.split('\0').collect();
    let config = arguments.iter().skip_while(|argument| **argument != "--config").nth(1);
    let stem = config.and_then(|path| Path::new(path).file_stem()?.to_str());
    match (arguments.get(1).copied(), stem) {
        (Some("up"), _) => "chain (`up`)".to_owned(),
        (Some("worker"), _) => format!("worker of {parent}"),
        (_, Some(stem)) => stem.to_owned(),
        _ => arguments.first().copied().unwrap_or_default().to_owned(),
    }
}

fn rss(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// The machine, before anything was measured.
pub(super) struct Machine {
    pub(super) cores: usize,
    /// The processor's name.
    pub(super) model: String,
    /// Mean number of runnable processes over the last 1, 5 and 15 minutes.
    pub(super) load: String,
}

impl Machine {
    pub(super) fn look() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo");
        let model = cpu.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(": "));
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            model: model.map_or("an unnamed processor", |(_, name)| name.trim()).to_owned(),
            load: read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(", "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_s_name_does_not_confuse_its_figures() {
        let line = "7 (a) b (c) S 3 7 7 0 -1 4194560 1 2 3 4 150 50 300 100 20 0 1 0 5 6 7";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.alive, stat.parent, stat.own, stat.waited), (true, 3, 2.0, 4.0));
        assert!(!Stat::parse(&line.replace(") S", ") Z")).unwrap().alive);
        assert!(Stat::parse("7 (short) S 3").is_none());
    }

    #[test]
    fn this_process_is_in_its_own_tree() {
        let tree = tree(std::process::id());
        assert!(tree.iter().any(|process| process.pid == std::process::id() && process.rss > 0));
    }
}
