//! One WHIP session at work: its port, its peer, and the publication that comes of it. A task each; nothing in it waits without
//! a limit, and what a publisher sends faster than it can be taken, its own port drops.

use super::intake::{Intake, IntakeError};
use super::peer::{Answer, Peer, Said};
use super::ports::Port;
use super::problem::Problem;
use crate::ingest::live::{Live, LiveError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

/// From the answer to the first media: a browser may still be asking its user for the camera.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// A publisher that sends nothing for so long has gone: even a muted browser sends sound.
const MEDIA_TIMEOUT: Duration = Duration::from_secs(5);
/// Datagrams taken in one go, before what they brought is looked at.
const BATCH: usize = 64;
/// The largest datagram of WebRTC stays below an Ethernet frame.
const DATAGRAM: usize = 2_048;
/// Without any other reason, the task looks at its clocks so often.
const TICK: Duration = Duration::from_millis(500);

/// What the session's URL asks of the task.
pub(super) enum Command {
    /// More candidates.
    Trickle(Vec<String>),
    /// New ICE credentials; answered with ours.
    Restart {
        ufrag: String,
        password: String,
        candidates: Vec<String>,
        answer: oneshot::Sender<Result<Answer, Problem>>,
    },
    /// The publisher is done. Answered when its stream has ended.
    End(oneshot::Sender<()>),
}

/// Why a session ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ending {
    #[error("the publisher is done")]
    Done,
    #[error("no media came within {} s: the server's UDP port, named in the answer, must be reachable", CONNECT_TIMEOUT.as_secs())]
    NeverCame,
    #[error("the publisher has vanished")]
    Vanished,
    #[error("the server is shutting down")]
    Draining,
    #[error(transparent)]
    Intake(#[from] IntakeError),
    #[error(transparent)]
    Live(#[from] LiveError),
}

/// The task's own things.
pub(super) struct Session {
    pub(super) port: Port,
    pub(super) peer: Peer,
    pub(super) intake: Intake,
    pub(super) live: Live,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) shutdown: CancellationToken,
}

impl Session {
    /// Runs to the end.
    pub(super) async fn run(mut self) {
        let mut done = None;
        let ending = match self.drive(&mut done).await {
            Ok(()) => Ending::Done,
            Err(ending) => ending,
        };
        let (stream, counts, clean) = (self.live.name().to_owned(), self.intake.counts, matches!(ending, Ending::Done));
        let (pictures, dropped, requests) = (counts.pictures, counts.dropped, counts.requests);
        if clean {
            tracing::info!(%stream, pictures, dropped, requests, "whip publisher finished");
        } else {
            tracing::warn!(%stream, reason = %ending, pictures, dropped, requests, "whip publisher cut off");
        }
        self.peer.close();
        self.transmit();
        self.live.end(clean).await;
        if let Some(done) = done {
            let _ = done.send(()); // whoever asked may have gone
        }
    }

    async fn drive(&mut self, done: &mut Option<oneshot::Sender<()>>) -> Result<(), Ending> {
        let mut buffer = vec![0; DATAGRAM];
        let (began, mut heard) = (Instant::now(), None::<Instant>);
        loop {
            let now = Instant::now();
            while let Some(said) = self.peer.poll() {
                match said {
                    Said::Packet(kind, packet) => {
                        heard = Some(now);
                        self.intake.packet(kind, packet, now)?;
                    }
                    Said::Report(kind, ntp, timestamp) => self.intake.report(kind, ntp, timestamp),
                    Said::Closed => return self.flush().await,
                    Said::Failed => return Err(Ending::Vanished),
                }
            }
            self.intake.advance(now)?;
            self.flush().await?;
            if heard.is_some() && self.intake.wants_key_picture(now) {
                self.peer.ask_for_key_picture(now);
            }
            self.transmit();
            match heard {
                Some(last) if now >= last + MEDIA_TIMEOUT => return Err(Ending::Vanished),
                None if now >= began + CONNECT_TIMEOUT => return Err(Ending::NeverCame),
                _ => {}
            }
            let due = [self.peer.next_timeout(), self.intake.next_timeout()].into_iter().flatten().min();
            let deadline = due.unwrap_or(now + TICK).min(now + TICK);
            tokio::select! {
                // Commands and ends first: a flood of datagrams must not keep them waiting.
                biased;
                command = self.commands.recv() => match command {
                    Some(Command::Trickle(candidates)) => self.peer.add_candidates(candidates),
                    Some(Command::Restart { ufrag, password, candidates, answer }) => {
                        let _ = answer.send(self.peer.restart(&ufrag, &password, candidates, Instant::now()));
                    }
                    Some(Command::End(answer)) => {
                        *done = Some(answer);
                        return self.flush().await;
                    }
                    None => return Err(Ending::Draining),
                },
                reason = self.live.stopped() => return Err(reason.into()),
                () = self.shutdown.cancelled() => return Err(Ending::Draining),
                received = timeout_at(deadline.into(), self.port.receive(&mut buffer)) => match received {
                    Ok(Ok((count, from))) => {
                        self.peer.receive(&buffer[..count], from, Instant::now());
                        for _ in 1..BATCH {
                            let Ok((count, from)) = self.port.try_receive(&mut buffer) else { break };
                            self.peer.receive(&buffer[..count], from, Instant::now());
                        }
                    }
                    // A socket without connection reports what befell its last answer: nothing that concerns reading.
                    Ok(Err(error)) => tracing::trace!(%error, "udp"),
                    Err(_) => {}
                },
            }
            self.peer.advance(Instant::now());
        }
    }

    async fn flush(&mut self) -> Result<(), Ending> {
        while let Some(event) = self.intake.poll() {
            self.live.deliver(event).await?;
        }
        Ok(())
    }

    fn transmit(&mut self) {
        while let Some((bytes, to)) = self.peer.transmit() {
            self.port.send(&bytes, to);
        }
    }
}
