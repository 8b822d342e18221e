//! The bodies of WHIP: offers, and fragments of trickle ICE.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| millrace_broadcaster::ingest::whip::fuzz::bodies(text));
