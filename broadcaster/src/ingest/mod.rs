//! Ingest: publishers come in here and leave as [`IngestEvent`](crate::events::IngestEvent)s.
//!
//! What every protocol has in common is in [`crate::events`] and, for AAC, in [`aac`]. RTMP is the first protocol.

pub mod aac;
pub mod rtmp;

pub use rtmp::{Keys, Publication, RtmpServer, Timeouts};
