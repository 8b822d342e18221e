//! Ingest: publishers come in here and leave as [`IngestEvent`](crate::events::IngestEvent)s.
//!
//! What every protocol has in common: who may publish in [`gate`], the way to a consumer in [`live`], tracks and their times in
//! [`tracks`], what flows in [`crate::events`], what is to be known of the codecs in [`aac`] and `avc`.
//!
//! Behind the gate: the node's own keys in [`keyring`], the operator's program that has a say in [`webhook`], what one address may
//! have in `addresses`, why somebody is turned away in `refusal`.

pub mod aac;
mod addresses;
mod avc;
pub mod gate;
pub mod keyring;
pub mod live;
mod refusal;
pub mod rtmp;
pub mod srt;
pub mod tracks;
pub mod webhook;
pub mod whip;

pub use addresses::{CONNECTIONS_PER_STREAM, Limits, MOST_STREAMS};
pub use gate::{Gate, Keys, Protocol};
pub use live::Publication;
pub use refusal::Refusal;
pub use rtmp::{ListenError, RtmpServer, Timeouts};
pub use srt::SrtServer;
pub use whip::WhipServer;
