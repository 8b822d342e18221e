//! What players ask of the origin: a path, a query and a range, on a line each.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.splitn(3, '\n').chain(["", "", ""]);
    let [path, query, range] = std::array::from_fn(|_| lines.next().unwrap_or_default());
    millrace_broadcaster::origin::fuzz::ask(path, query, range);
});
