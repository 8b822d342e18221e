//! The small picture that is made of a publisher's or a transcoder's key picture: an init segment and a part, one after the other.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_media::jpeg::of_part;

fuzz_target!(|data: &[u8]| {
    let (init, part) = millrace_fuzz::init_and_rest(data);
    if let Ok(jpeg) = of_part(init, part, 320) {
        assert!(jpeg.starts_with(&[0xff, 0xd8]), "no JPEG");
    }
});
