//! The tags of a publication: configurations, pictures, sound, in the old form and that of Enhanced RTMP, at any times.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use millrace_broadcaster::ingest::rtmp::{flv, intake::Intake};

/// In front of each tag: its kind, four bytes of time, two of size.
const HEAD: usize = 7;

fuzz_target!(|data: &[u8]| {
    let mut intake = Intake::new("demo");
    let mut rest = data;
    while let Some((head, after)) = rest.split_first_chunk::<HEAD>() {
        let [kind, a, b, c, d, size @ ..] = *head;
        let (body, next) = after.split_at(usize::from(u16::from_be_bytes(size)).min(after.len()));
        rest = next;
        let body = Bytes::copy_from_slice(body);
        let Ok(tag) = (if kind & 1 == 0 { flv::video(body) } else { flv::audio(body) }) else { return };
        if intake.tag(u32::from_be_bytes([a, b, c, d]), tag).is_err() {
            return;
        }
        while intake.poll().is_some() {}
    }
});
