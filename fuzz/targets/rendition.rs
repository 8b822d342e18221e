//! What a transcoder sends back for a segment, an init segment and a part, as an orchestrator looks at it before it believes anything.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use millrace_hop::assign::Rendition;
use millrace_orchestrator::verification::verify;
use millrace_tickets::Profile;

const SOURCE: &[u8] = include_bytes!("../seeds/rendition/h264");

fuzz_target!(|data: &[u8]| {
    let (source_init, source) = millrace_fuzz::init_and_rest(SOURCE);
    let (init, rest) = millrace_fuzz::init_and_rest(data);
    // The source's own size: what differs is found before anything is decoded.
    let profile = Profile { name: "fuzzed".into(), width: 64, height: 48, bitrate: 1_000_000, codec: "h264".into() };
    let rendition = Rendition { init: Bytes::copy_from_slice(init), parts: vec![Bytes::copy_from_slice(rest)] };
    let findings = verify(source_init, &[Bytes::from_static(source)], &[profile], &[rendition]);
    assert_eq!(findings.map(|findings| findings.len()).ok(), Some(1), "the source reads, and one rendition is judged");
});
