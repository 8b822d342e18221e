//! The whole network, as a person would run it: real encoders push by RTMP, WHIP and SRT, a real browser publishes and plays, real players read, processes are killed.
//!
//! Each test starts `millrace up` on free ports in a folder of its own. They run one at a time, since each takes what two cores can give.
//! What needs the clips of `../shared/media` (or `MILLRACE_MEDIA`) says so and passes where they are missing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a test tells its figures")]

mod api;
mod browser;
/// Shared with the tests of the packages below.
#[path = "../../contracts/tests/support/chaos.rs"]
#[allow(unreachable_pub, dead_code, missing_docs, reason = "each test uses it in part")]
mod chaos;
mod http;
mod media;
mod network;
mod playlist;
mod process;
#[path = "../../broadcaster/tests/common/webrtcbin.rs"]
#[allow(unreachable_pub, dead_code, reason = "each test uses it in part")]
mod webrtcbin;

mod bad_clips;
mod bucket;
mod captions;
mod closed_api;
mod codecs;
mod console;
mod demo;
mod fuzzed_api;
mod killed;
mod ladder;
mod liar;
mod lost_transcoder;
mod low_latency;
mod nat;
mod players;
mod recording;
mod recording_disk;
mod refusals;
mod resized;
mod roles;
mod srt;
mod whip;
