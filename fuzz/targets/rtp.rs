//! RTP packets of a picture track: their order, and what they put together.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| millrace_broadcaster::ingest::whip::fuzz::packets(data));
