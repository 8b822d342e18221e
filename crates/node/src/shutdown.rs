//! The end of a process: the first SIGINT or SIGTERM asks everything to finish, a deadline limits how long that may take,
//! and a second signal ends the process at once.

use std::{future::Future, io, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
    time::timeout,
};
pub use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// All went well, also after a signal.
pub const EXIT_OK: u8 = 0;
/// Something failed while it ran.
pub const EXIT_FAILURE: u8 = 1;
/// Flags, environment or configuration file are wrong (sysexits' EX_USAGE).
pub const EXIT_USAGE: u8 = 64;

/// Asks for the end, and knows the tasks that must come to it. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
}

/// Tasks were still running at the deadline.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{tasks} tasks were still running {within:?} after the signal: they are cut off")]
pub struct Undrained {
    /// How many.
    pub tasks: usize,
    /// The deadline.
    pub within: Duration,
}

impl Shutdown {
    /// One that only [`Shutdown::begin`] triggers, as in tests.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that the process's signals trigger. Must be called inside a tokio runtime.
    pub fn on_signals() -> io::Result<Self> {
        let shutdown = Self::new();
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let token = shutdown.token.clone();
        tokio::spawn(async move {
            let number = either(&mut interrupt, &mut terminate).await;
            tracing::info!(signal = number, "shutting down; once more to stop at once");
            token.cancel();
            let number = either(&mut interrupt, &mut terminate).await;
            tracing::warn!(signal = number, "stopped at once");
            std::process::exit(128 + number);
        });
        Ok(shutdown)
    }

    /// Asks for the end.
    pub fn begin(&self) {
        self.token.cancel();
    }

    /// Cancelled when the end is asked for.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Runs a task that the end waits for. It watches [`Shutdown::token`] itself.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// Waits until the end is asked for, and then until every task has ended, at most `within`.
    pub async fn drained(&self, within: Duration) -> Result<(), Undrained> {
        self.token.cancelled().await;
        self.tasks.close();
        timeout(within, self.tasks.wait()).await.map_err(|_| Undrained { tasks: self.tasks.len(), within })
    }
}

/// The number of the next signal.
async fn either(interrupt: &mut Signal, terminate: &mut Signal) -> i32 {
    tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        _ = terminate.recv() => SignalKind::terminate().as_raw_value(),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader},
        process::{Child, Command, Stdio},
    };

    use super::*;

    #[tokio::test]
    async fn draining_waits_for_the_tasks() {
        let shutdown = Shutdown::new();
        let token = shutdown.token();
        let task = shutdown.spawn(async move {
            token.cancelled().await;
            7
        });
        shutdown.begin();
        shutdown.drained(Duration::from_secs(20)).await.unwrap();
        assert_eq!(task.await.unwrap(), 7);
    }

    #[tokio::test]
    async fn the_deadline_cuts_off_what_does_not_end() {
        let shutdown = Shutdown::new();
        shutdown.spawn(std::future::pending::<()>());
        shutdown.begin();
        let within = Duration::from_millis(50);
        assert_eq!(shutdown.drained(within).await, Err(Undrained { tasks: 1, within }));
    }

    const CHILD: &str = "SHUTDOWN_TEST_TASK";

    /// Not a test of its own: the process that the tests below send signals to. Its task ends when asked, or never.
    #[test]
    fn child() {
        let Ok(task) = std::env::var(CHILD) else { return };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let shutdown = Shutdown::on_signals().unwrap();
            let token = shutdown.token();
            shutdown.spawn(async move {
                token.cancelled().await;
                println!("\nasked to end");
                if task == "stays" {
                    std::future::pending::<()>().await;
                }
            });
            println!("\nready");
            shutdown.drained(Duration::from_secs(60)).await.unwrap();
        });
    }

    /// Starts this test binary again as the child and waits for `ready`.
    fn start(task: &str) -> (Child, impl FnMut(&str)) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "shutdown::tests::child", "--nocapture"])
            .env(CHILD, task)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut wait_for = move |line: &str| assert!(lines.any(|l| l.unwrap() == line), "no line {line:?}");
        wait_for("ready");
        (child, wait_for)
    }

    fn send(child: &Child, signal: &str) {
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
    }

    #[test]
    fn each_signal_drains_and_exits_zero() {
        for signal in ["-INT", "-TERM"] {
            let (mut child, mut wait_for) = start("ends");
            send(&child, signal);
            wait_for("asked to end");
            assert_eq!(child.wait().unwrap().code(), Some(0), "{signal}");
        }
    }

    #[test]
    fn a_second_signal_exits_at_once() {
        let (mut child, mut wait_for) = start("stays");
        send(&child, "-INT");
        wait_for("asked to end");
        send(&child, "-TERM");
        assert_eq!(child.wait().unwrap().code(), Some(128 + 15));
    }
}
