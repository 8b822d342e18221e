//! The database of a node: tickets, winners, signing log. The only crate that speaks SQL.
//!
//! Money is written before it is acknowledged: every function that returns `Ok` has committed to disk (WAL,
//! `synchronous = FULL`), and whatever may happen only once is a unique key. All writes go through one connection, and those of
//! every segment share its commits (`group`).
//!
//! - [`pairs`]: payer and payee with their rows, in the order that survives a crash at any point. Start here.
//! - [`sent`], [`received`]: tickets of either side. `session`: what session keys have spent. [`winners`]: redemption.
//!   [`outbox`]: transactions on their way. [`signing`]: what may be signed once.
//!   [`unpaid`]: work whose ticket is still to come.
//! - [`totals`]: figures for the API. [`journal`]: segments, suspensions. [`settings`]: small values.
//!   [`stream_keys`]: who may publish at a broadcaster. [`api_tokens`]: which programs may call the API.

pub mod api_tokens;
mod codec;
mod group;
pub mod journal;
pub mod outbox;
pub mod pairs;
pub mod received;
pub mod sent;
mod session;
pub mod settings;
pub mod short_ids;
pub mod signing;
pub mod stream_keys;
pub mod totals;
pub mod unpaid;
pub mod winners;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use alloy::primitives::B256;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

pub use api_tokens::ApiTokenRow;
pub use journal::{SegmentRow, Suspension};
pub use outbox::OutboxRow;
pub use pairs::{AcceptError, IssueError, PayeePair, PayerPair};
pub use received::Acceptance;
pub use short_ids::{by_id, short_id};
pub use signing::SignedOnce;
pub use stream_keys::StreamKeyRow;
pub use totals::{Direction, TicketRow, Totals};
pub use unpaid::Unpaid;
pub use winners::{Winner, WinnerState};

/// How long a statement waits for a lock that another process (a backup, a shell) holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a caller waits for a connection: writers queue for one, so a stuck disk shows as an error, not a hang.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that read; WAL lets them read while the one writer writes.
const READERS: u32 = 4;

/// A node's database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    write: SqlitePool,
    read: SqlitePool,
    group: group::Group,
    journal_writes: Arc<AtomicU32>,
}

impl Store {
    /// Opens or creates the database at `url`, a file's path or `sqlite:path`, and brings its tables up to date.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            return Err(StoreError::Unsupported(url.split('@').next_back().unwrap_or_default().to_owned()));
        }
        let path = url.strip_prefix("sqlite:").map_or(url, |rest| rest.strip_prefix("//").unwrap_or(rest));
        let failed = |source| StoreError::Open { path: path.to_owned(), source };
        let options = SqliteConnectOptions::new()
            .filename(Path::new(path))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = |connections| {
            // A SQLite connection is a file handle: keeping it open for good costs nothing.
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(ACQUIRE_TIMEOUT)
                .idle_timeout(None)
                .max_lifetime(None)
        };
        let write = pool(1).connect_with(options.clone()).await.map_err(failed)?;
        sqlx::migrate!("./migrations").run(&write).await.map_err(|e| failed(e.into()))?;
        let read = pool(READERS).connect_with(options.read_only(true)).await.map_err(failed)?;
        let group = group::Group::start(write.clone());
        Ok(Self { write, read, group, journal_writes: Arc::default() })
    }

    /// Returns when every write that was asked for before is on disk, or lost, also those whose callers went away.
    pub(crate) async fn settle(&self) -> Result<(), StoreError> {
        self.group.write("waiting for earlier writes", |_| Box::pin(async { Ok(()) })).await
    }

    /// Closes every connection, waiting for what is under way. What was acknowledged is on disk with or without it.
    pub async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }
}

/// What a database call can fail with.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL's engine is not built in.
    #[error("database {0}: only sqlite is supported for now, give a file's path")]
    Unsupported(String),
    /// The file cannot be opened or its tables brought up to date.
    #[error("cannot open database {path}: {source}")]
    Open {
        /// The file.
        path: String,
        /// Why.
        source: sqlx::Error,
    },
    /// A statement failed.
    #[error("database failed while {doing}: {source}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// Why.
        source: sqlx::Error,
    },
    /// A stored value has the wrong shape: another program wrote it, or the file is damaged.
    #[error("database column {0} holds what this program never writes: restore a backup")]
    Corrupt(&'static str),
    /// A ticket that would be a second one for the same thing.
    #[error("ticket refused: {0} of this pair has served another ticket")]
    Taken(Once),
    /// A winner is not in a state that allows the step; nothing was changed.
    #[error("winner {digest} cannot become {to}: it is unknown, or past that")]
    Winner {
        /// The ticket's digest.
        digest: B256,
        /// The state asked for.
        to: WinnerState,
    },
    /// Redeeming would pass over a winner that came in between; nothing was changed.
    #[error("winner {0} lies below these and is not among them: redeem it with them")]
    Overtaken(B256),
    /// The database belongs to another chain or contract.
    #[error("database belongs to {0}: use another database file, or that chain and broker")]
    Domain(String),
}

/// What serves exactly one ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Once {
    /// The work that it pays.
    WorkHash,
    /// The payee's commit.
    Commit,
    /// The nonce, or it lies below one that was handed to redemption.
    Nonce,
}

impl std::fmt::Display for Once {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::WorkHash => "the work hash",
            Self::Commit => "the commit",
            Self::Nonce => "the nonce (or a higher redeemed one)",
        })
    }
}

/// Maps an engine's error to ours, naming what was being done.
pub(crate) fn db(doing: &'static str) -> impl Fn(sqlx::Error) -> StoreError + Copy {
    move |source| StoreError::Database { doing, source }
}
