//! Writes that share a transaction. A disk takes a few hundred commits a second, however little is in each: what is asked for
//! while one commit is under way goes into the next together.
//!
//! Every write has a savepoint of its own, so one that fails takes nothing of the others with it, and its caller hears of it
//! only after the commit. A caller that goes away in between leaves its write to happen, as if it had crashed right after it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection, SqliteConnection, SqlitePool};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::warn;

use crate::{StoreError, db};

/// Writes of one transaction at most: it bounds how long the first one waits for the last.
const MAX_GROUP: usize = 64;
/// Writes that may wait; more callers than that wait to wait.
const QUEUE: usize = 4 * MAX_GROUP;
/// How long a caller waits for its write: a stuck disk shows as an error, not a hang.
const PATIENCE: Duration = Duration::from_secs(20);

/// A write under way on the connection of the moment.
pub(crate) type Writing<'c, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'c>>;

/// Tells the caller what its write came to, or that the transaction was lost.
type Tell = Box<dyn FnOnce(Option<Arc<sqlx::Error>>) + Send>;

/// What a write leaves: whether to keep what it wrote, and whom to tell.
type Outcome<'c> = Pin<Box<dyn Future<Output = (bool, Tell)> + Send + 'c>>;

/// A write that waits for its transaction.
type Job = Box<dyn for<'c> FnOnce(&'c mut SqliteConnection) -> Outcome<'c> + Send>;

/// The queue to the task that writes; the task ends with the last handle.
#[derive(Debug, Clone)]
pub(crate) struct Group(mpsc::Sender<Job>);

impl Group {
    /// Starts the task, on the one connection that writes.
    pub(crate) fn start(write: SqlitePool) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE);
        tokio::spawn(run(write, queue));
        Self(jobs)
    }

    /// Does `work` in a transaction that it may share; on `Ok` it is on disk. `doing` says in an error what failed.
    pub(crate) async fn write<T, F>(&self, doing: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Writing<'c, T> + Send + 'static,
    {
        let failed = db(doing);
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            Box::pin(async move {
                let result = work(connection).await;
                let keep = result.is_ok();
                let tell: Tell = Box::new(move |lost| {
                    let lost = lost.map(|error| failed(sqlx::Error::Io(std::io::Error::other(error))));
                    let _ = answer.send(lost.map_or(result, Err)); // a caller that is gone needs no answer
                });
                (keep, tell)
            })
        });
        let written = async {
            self.0.send(job).await.ok()?;
            answered.await.ok()
        };
        match timeout(PATIENCE, written).await {
            Ok(Some(result)) => result,
            Ok(None) => Err(failed(sqlx::Error::WorkerCrashed)), // the log says why
            Err(_) => Err(failed(sqlx::Error::PoolTimedOut)),
        }
    }
}

async fn run(write: SqlitePool, mut queue: mpsc::Receiver<Job>) {
    let mut jobs = Vec::with_capacity(MAX_GROUP);
    let mut told = Vec::with_capacity(MAX_GROUP);
    while queue.recv_many(&mut jobs, MAX_GROUP).await > 0 {
        let lost = together(&write, jobs.drain(..), &mut told).await.err().map(Arc::new);
        if let Some(error) = &lost {
            warn!(%error, writes = told.len(), "a transaction was lost: what was in it is not written");
        }
        for tell in told.drain(..) {
            tell(lost.clone());
        }
    }
}

async fn together(
    write: &SqlitePool,
    jobs: impl Iterator<Item = Job>,
    told: &mut Vec<Tell>,
) -> Result<(), sqlx::Error> {
    let mut transaction = write.begin().await?;
    for job in jobs {
        let mut savepoint = transaction.begin().await?;
        let (keep, tell) = job(&mut savepoint).await;
        told.push(tell);
        if keep { savepoint.commit().await? } else { savepoint.rollback().await? }
    }
    transaction.commit().await
}
