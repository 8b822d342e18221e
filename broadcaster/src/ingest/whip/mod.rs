//! WHIP ingest (RFC 9725): browsers, OBS, FFmpeg and GStreamer publish by WebRTC, H.264, VP9 or VP8 with Opus.
//!
//! | file | what |
//! | --- | --- |
//! | `server`, `session` | HTTP routes, the table of sessions; one session's task: the async files |
//! | `resource`, `offer`, `problem` | what requests and their SDP ask for, or why they are refused |
//! | `peer` | ICE, DTLS, SRTP and RTCP, from the `rtc` crate, with `nomination` |
//! | `intake` | packets become tracks and access units on one timeline, by way of `reorder`, `picture`, `vpx` and `clock` |
//! | `ports` | UDP ports, bound before anything is served |
//!
//! WebRTC itself is the `rtc` crate, the sans-IO core of `webrtc`: with sockets of our own there is one bounded queue, the socket's,
//! ports are known before serving, and each packet has the time of its arrival. Pictures are passed on as they are; sound becomes AAC, which every
//! HLS player takes.

mod clock;
#[cfg(fuzzing)]
pub mod fuzz;
mod intake;
#[cfg(test)]
mod intake_tests;
mod nomination;
mod offer;
#[cfg(test)]
mod offer_tests;
mod peer;
mod picture;
mod ports;
mod problem;
mod reorder;
mod resource;
mod server;
mod session;
mod vpx;

pub use ports::{MOST_PORTS, PortRange, PortRangeError};
pub use server::WhipServer;
