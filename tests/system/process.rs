//! Child processes that a test starts: waited for under a deadline, signalled by id, never left behind.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(100);

/// Looks until `probe` gives a value. Fails with what it said last when `limit` has passed.
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        match probe() {
            Ok(value) => return value,
            Err(seen) if Instant::now() > deadline => {
                panic!("not within {} s: {what}; last seen: {seen}", limit.as_secs())
            }
            Err(_) => std::thread::sleep(POLL),
        }
    }
}

/// Waits for a process that is expected to end by itself.
pub(crate) fn wait_for_exit(what: &str, child: &mut Child, limit: Duration) -> ExitStatus {
    wait_for(what, limit, || child.try_wait().unwrap().ok_or_else(|| "still running".to_owned()))
}

/// Sends a signal; a negative `pid` names a process group. Says whether there was anything to send it to.
pub(crate) fn signal(name: &str, pid: i64) -> bool {
    let status = Command::new("sh")
        .args(["-c", "kill -s \"$0\" -- \"$1\"", name, &pid.to_string()])
        .stderr(Stdio::null())
        .status();
    status.unwrap().success()
}

/// Runs a program to its end; its output, or what it said of its failure.
pub(crate) fn output(command: &mut Command) -> Result<Output, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        Ok(output)
    } else {
        let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
        Err(format!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&said)))
    }
}

/// Processes that carry `mark` in their environment, as `pid name`, without the dead that nobody has waited for.
pub(crate) fn marked(mark: &str) -> Vec<(i64, String)> {
    let carries = |dir: &Path| {
        let environ = std::fs::read(dir.join("environ")).ok()?;
        let name = std::fs::read_to_string(dir.join("comm")).ok()?;
        environ.windows(mark.len()).any(|w| w == mark.as_bytes()).then(|| name.trim().to_owned())
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|e| Some((e.file_name().to_str()?.parse().ok()?, carries(&e.path())?))).collect()
}

/// The last lines of a log, for a failed test's output.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
