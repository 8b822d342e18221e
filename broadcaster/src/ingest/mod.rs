//! Ingest: publishers come in here and leave as [`IngestEvent`](crate::events::IngestEvent)s.
//!
//! What every protocol has in common: the keys, the names that are live and the way to a consumer in [`live`], tracks and their
//! times in [`tracks`], what flows in [`crate::events`], AAC's configuration in [`aac`].

pub mod aac;
pub mod live;
pub mod rtmp;
pub mod tracks;
pub mod whip;

pub use live::{Gate, Keys, Publication};
pub use rtmp::{RtmpServer, Timeouts};
pub use whip::WhipServer;
