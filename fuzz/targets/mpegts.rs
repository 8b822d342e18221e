//! A publication by SRT: stream id, transport packets, tables, pictures and sound.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| millrace_broadcaster::ingest::srt::fuzz::publication(data));
