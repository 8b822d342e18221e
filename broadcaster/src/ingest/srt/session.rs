//! One publisher's task: payloads in, events out. Nothing in it waits without a limit.

use super::intake::{Intake, IntakeError};
use crate::ingest::live::{Live, LiveError};
use sapflow_srt::{CloseReason, Stats};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

/// A publisher whose stream brings neither picture nor sound for so long has nothing to publish.
const MEDIA_TIMEOUT: Duration = Duration::from_secs(10);

/// What one packet carried.
pub(super) struct Payload {
    /// MPEG-TS.
    pub(super) bytes: Vec<u8>,
    /// Whether something is missing before it.
    pub(super) gap: bool,
}

/// How a connection ended, and what the port counted of it.
pub(super) struct Closed {
    pub(super) reason: Option<CloseReason>,
    pub(super) stats: Stats,
}

/// Why a session ends before its publisher said so.
#[derive(Debug, thiserror::Error)]
enum Ending {
    #[error("the publisher has vanished")]
    Vanished,
    #[error("neither picture nor sound came for {} s", MEDIA_TIMEOUT.as_secs())]
    Silent,
    #[error("the server is shutting down")]
    Draining,
    #[error(transparent)]
    Intake(#[from] IntakeError),
    #[error(transparent)]
    Live(#[from] LiveError),
}

/// The task's own things.
pub(super) struct Session {
    pub(super) live: Live,
    pub(super) intake: Intake,
    /// Closed when the connection has ended.
    pub(super) payloads: mpsc::Receiver<Payload>,
    /// Why it has.
    pub(super) closed: oneshot::Receiver<Closed>,
    pub(super) shutdown: CancellationToken,
}

impl Session {
    /// Runs to the end.
    pub(super) async fn run(mut self) {
        let mut stats = Stats::default();
        let result = self.drive(&mut stats).await;
        let (stream, counts, clean) = (self.live.name().to_owned(), self.intake.counts, result.is_ok());
        let (pictures, dropped, sounds) = (counts.pictures, counts.dropped, counts.sounds);
        let (lost, late) = (stats.lost, stats.dropped);
        match result {
            Ok(()) => tracing::info!(%stream, pictures, dropped, sounds, lost, late, "srt publisher finished"),
            Err(reason) => {
                tracing::warn!(%stream, %reason, pictures, dropped, sounds, lost, late, "srt publisher cut off")
            }
        }
        self.live.end(clean).await;
    }

    async fn drive(&mut self, stats: &mut Stats) -> Result<(), Ending> {
        let mut heard = (self.intake.read(), Instant::now());
        loop {
            let deadline = heard.1 + MEDIA_TIMEOUT;
            tokio::select! {
                biased; // ends first: a flood of payloads must not keep them waiting
                () = self.shutdown.cancelled() => return Err(Ending::Draining),
                reason = self.live.stopped() => return Err(reason.into()),
                payload = timeout_at(deadline.into(), self.payloads.recv()) => match payload {
                    Ok(Some(Payload { bytes, gap })) => {
                        self.intake.push(&bytes, gap)?;
                        self.flush().await?;
                    }
                    Ok(None) => {
                        let closed = (&mut self.closed).await;
                        if let Ok(closed) = closed {
                            *stats = closed.stats;
                            if closed.reason == Some(CloseReason::Shutdown) {
                                self.intake.finish()?;
                                return self.flush().await;
                            }
                        }
                        return Err(Ending::Vanished);
                    }
                    Err(_) => {}
                },
            }
            let now = Instant::now();
            if self.intake.read() != heard.0 {
                heard = (self.intake.read(), now);
            } else if now >= heard.1 + MEDIA_TIMEOUT {
                return Err(Ending::Silent);
            }
        }
    }

    async fn flush(&mut self) -> Result<(), Ending> {
        while let Some(event) = self.intake.poll() {
            self.live.deliver(event).await?;
        }
        Ok(())
    }
}
