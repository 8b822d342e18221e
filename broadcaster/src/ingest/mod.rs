//! Ingest: publishers come in here and leave as [`IngestEvent`](crate::events::IngestEvent)s.
//!
//! What every protocol has in common: the keys, the names that are live and the way to a consumer in [`live`], what flows in
//! [`crate::events`], AAC's configuration in [`aac`].

pub mod aac;
pub mod live;
pub mod rtmp;
pub mod whip;

pub use live::{Gate, Keys, Publication};
pub use rtmp::{Certificate, ListenError, RtmpServer, Timeouts, TlsError};
pub use whip::WhipServer;
