//! H.264 whose parameter sets come with the pictures, as WebRTC and MPEG-TS send it.

use bytes::Bytes;
use millrace_media::cmaf::{CmafError, VideoTrack};
use millrace_media::h264::AvcConfig;

/// The track that the parameter sets of a picture describe, if they are not those of `now`.
pub(super) fn configure(
    now: Option<&VideoTrack>,
    sps: &[Bytes],
    pps: &[Bytes],
) -> Result<Option<VideoTrack>, CmafError> {
    if sps.is_empty() && pps.is_empty() {
        return Ok(None);
    }
    let before = now.and_then(|track| AvcConfig::parse(&track.config).ok());
    let sets = |new: &[Bytes], old: fn(AvcConfig) -> Vec<Bytes>| {
        if new.is_empty() { before.clone().map(old).unwrap_or_default() } else { new.to_vec() }
    };
    let config = AvcConfig { sps: sets(sps, |c| c.sps), pps: sets(pps, |c| c.pps) };
    if config.sps.is_empty() || config.pps.is_empty() || before.as_ref() == Some(&config) {
        return Ok(None); // half of them, until the other half comes
    }
    Ok(Some(VideoTrack::h264(config.to_record()?)?))
}
