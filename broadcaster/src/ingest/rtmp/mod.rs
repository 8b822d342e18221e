//! RTMP ingest, with the parts of Enhanced RTMP v2 that a server for H.264, HEVC, AV1, VP9, VP8 and AAC needs.
//!
//! | file | what |
//! | --- | --- |
//! | `server` | sockets and limits: what is async |
//! | [`session`] | one connection: handshake, commands, deadlines |
//! | [`handshake`], [`chunk`], [`aggregate`], [`amf0`], [`flv`], [`enhanced`] | the layers of the wire, each bounded on hostile input |
//! | [`intake`] | tags become tracks and access units on one timeline |
//!
//! The protocol is written here rather than taken from a library, since neither of the two that exist could face strangers.
//! `rml_rtmp` 0.8 reads AMF0 by unbounded recursion (one message of nested arrays overflows the stack and ends the process),
//! indexes an empty `@setDataFrame`, keeps one buffer for all chunk streams so that interleaved messages corrupt each other, and
//! takes messages of 16 MB. `rtmp-rs` 0.6 reserves what is declared, up to 16 MB for each of 65,600 chunk streams, is bound to its own
//! sockets, answers every refusal with BadName and has none for a stream that runs.

pub mod aggregate;
pub mod amf0;
pub mod chunk;
pub mod enhanced;
pub mod flv;
pub mod handshake;
pub mod intake;
mod server;
pub mod session;
#[cfg(test)]
mod session_tests;

pub use server::{APP, ListenError, RtmpServer};
pub use session::Timeouts;
