//! SRT ingest: encoders publish MPEG-TS with H.264 and AAC, all on one UDP port, told apart by their stream ids.
//!
//! | file | what |
//! | --- | --- |
//! | `server`, `session` | the port and its connections; one publisher's task: the async files |
//! | `stream_id` | the key that a stream id carries, or why it is refused |
//! | `intake` | a transport stream becomes tracks and access units on one timeline |
//! | `ts`, `psi`, `pes`, `adts` | packets, program tables, PES packets, AAC frames |
//!
//! SRT itself is the `sapflow-srt` crate: sans-IO and without `unsafe`, so that strangers' datagrams meet neither C code nor a socket that
//! is not ours. Whoever has no key or the wrong passphrase is refused in the handshake, with a code that says why.

mod adts;
#[cfg(fuzzing)]
pub mod fuzz;
mod intake;
#[cfg(test)]
mod intake_tests;
#[cfg(test)]
mod mux;
mod pes;
mod psi;
mod server;
mod session;
mod stream_id;
mod ts;

pub use server::{SrtOptions, SrtOptionsError, SrtServer};
