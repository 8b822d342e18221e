//! Ingest: publishers come in here and leave as [`IngestEvent`](crate::events::IngestEvent)s.
//!
//! What every protocol has in common: the keys, the names that are live and the way to a consumer in [`live`], tracks and their
//! times in [`tracks`], what flows in [`crate::events`], what is to be known of the codecs in [`aac`] and `avc`.

pub mod aac;
mod avc;
pub mod live;
pub mod rtmp;
pub mod srt;
pub mod tracks;
pub mod whip;

pub use live::{Gate, Keys, Publication};
pub use rtmp::{RtmpServer, Timeouts};
pub use srt::SrtServer;
pub use whip::WhipServer;
