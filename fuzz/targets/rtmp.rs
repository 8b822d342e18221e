//! A connection by RTMP after its handshake: chunks, commands, tags, whatever comes. The publication is accepted when asked for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_broadcaster::ingest::rtmp::Timeouts;
use millrace_broadcaster::ingest::rtmp::session::{Event, Session};
use std::time::Instant;

/// C0, C1 and C2 of the simple handshake.
const HANDSHAKE: usize = 1 + 1536 + 1536;
/// What is received at once.
const READ: usize = 700;

fuzz_target!(|data: &[u8]| {
    let now = Instant::now();
    let mut session = Session::new(Timeouts::default(), 7, now);
    let mut hello = vec![0; HANDSHAKE];
    hello[0] = 3;
    session.receive(&hello, now);
    for bytes in data.chunks(READ) {
        session.receive(bytes, now);
        loop {
            match session.poll() {
                Ok(Some(Event::Publish { .. })) => session.accept("demo"),
                Ok(Some(Event::Ingest(_))) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
        session.take_output();
    }
});
