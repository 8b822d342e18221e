//! What nodes send each other of media: init segments and parts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_media::cmaf::{Track, read_init, read_part, write_init};

fuzz_target!(|data: &[u8]| {
    if let Ok(track) = read_init(data) {
        // What is taken can be passed on.
        let again = write_init(&track).map(|bytes| read_init(&bytes));
        assert!(matches!((&track, again), (Track::Audio(_), Ok(_)) | (Track::Video(_), Ok(Ok(Track::Video(_))))));
    }
    let _ = read_part(data);
});
