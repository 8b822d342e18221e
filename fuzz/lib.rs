//! What targets share.

/// A file of an init segment and a part, taken apart where the part begins.
pub fn init_and_rest(file: &[u8]) -> (&[u8], &[u8]) {
    let at = file.windows(4).position(|kind| kind == b"moof").map_or(file.len(), |at| at.saturating_sub(4));
    file.split_at(at)
}
