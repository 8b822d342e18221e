//! One publication from its first frame to its last: what ingest says goes through the segmenter, and what the segmenter
//! cuts goes to the origin at once and to the ladder beside it.

use std::sync::Arc;

use alloy::primitives::B256;
use millrace_hop::unix_now_ms;
use millrace_media::cmaf::VideoTrack;
use millrace_tickets::Profile;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::Broadcaster;
use crate::config::Rung;
use crate::events::{IngestEvent, SegmentEvent};
use crate::ingest::Publication;
use crate::ladder::Ladder;
use crate::origin::{LadderRendition, OriginError, StreamHandle};
use crate::segmenter::Segmenter;
use crate::status::StreamStatus;

/// Runs a publication to its end.
pub(crate) async fn run(node: Arc<Broadcaster>, publication: Publication, stop: CancellationToken) {
    let Publication { name, ladder: own, record, peer, mut events, stop: refuse } = publication;
    let origin = match node.origin.stream(&name) {
        Ok(origin) => origin,
        Err(error) => {
            warn!(stream = %name, %peer, %error, "publication refused");
            let _ = refuse.send(error.to_string()); // it may be gone already
            return;
        }
    };
    let id = stream_id();
    let status = Arc::new(StreamStatus::new(&name, id));
    node.streams.begin(status.clone());
    info!(stream = %name, %id, %peer, "publication began");
    if let Some(recordings) = &node.recordings {
        status.set_recording(recordings.follow(&name, &origin, record, &node.tasks, &stop));
    }
    let ladder = Ladder::new(node.clone(), id, origin.clone(), status.clone());
    let segmenter = Segmenter::within(origin.target(), origin.reached());
    let mut stream = Stream {
        origin,
        status: status.clone(),
        rungs: own.unwrap_or_else(|| node.config.ladder.clone()),
        ladder,
        segmenter,
        segment: (0, 0),
    };
    let ended = loop {
        let event = tokio::select! {
            event = events.recv() => event.unwrap_or(IngestEvent::Ended { clean: false }),
            () = stop.cancelled() => IngestEvent::Ended { clean: true },
        };
        let last = match event {
            IngestEvent::Ended { clean } => Some(clean),
            _ => None,
        };
        if let Err(reason) = stream.take(event) {
            warn!(stream = %name, %peer, %reason, "publication ended by this node");
            let _ = refuse.send(reason); // it may be gone already
            stream.finish();
            break false;
        }
        if let Some(clean) = last {
            break clean;
        }
    };
    stream.ladder.abandon();
    status.end();
    node.orchestrators.forget(id);
    info!(stream = %name, %id, clean = ended, "publication ended");
}

/// A stream's id: random, so that none comes twice, also after a restart and whatever the clock does.
fn stream_id() -> B256 {
    B256::from(rand::random::<[u8; 32]>())
}

/// Fails for a stream that nobody could watch.
fn check_playable(profiles: &[Profile], track: &VideoTrack) -> Result<(), String> {
    if track.codec.is_playable() || !profiles.is_empty() {
        return Ok(());
    }
    let codec = track.codec.name();
    Err(format!("no player takes {codec} as it is, and this stream has no ladder: give it a rung, or send h264"))
}

struct Stream {
    origin: StreamHandle,
    status: Arc<StreamStatus>,
    /// The stream's own, or the node's.
    rungs: Vec<Rung>,
    ladder: Ladder,
    segmenter: Segmenter,
    /// Number of the segment being cut, and its bytes so far.
    segment: (u64, u64),
}

impl Stream {
    fn take(&mut self, event: IngestEvent) -> Result<(), String> {
        self.status.ingest(&event);
        let events = self.segmenter.push(unix_now_ms() as i64, event).map_err(|e| e.to_string())?;
        // At one time: a player that wakes for the last part of a segment finds the segment too.
        self.origin.apply(&events).map_err(|e| e.to_string())?;
        for event in events {
            self.publish(event)?;
        }
        Ok(())
    }

    /// Ends what the segmenter could not.
    fn finish(&mut self) {
        self.origin.end(false);
    }

    fn publish(&mut self, event: SegmentEvent) -> Result<(), String> {
        let refused = |error: OriginError| error.to_string();
        match event {
            SegmentEvent::VideoInit(init, track) => {
                let profiles = Ladder::profiles(&self.rungs, &track);
                check_playable(&profiles, &track)?;
                let ladder: Vec<LadderRendition> = profiles
                    .iter()
                    .map(|p| LadderRendition {
                        name: p.name.clone(),
                        width: p.width,
                        height: p.height,
                        bitrate: p.bitrate,
                    })
                    .collect();
                self.status.set_source(&track);
                self.status.set_ladder(&profiles);
                self.origin.set_ladder(&ladder, self.segment.0).map_err(refused)?;
                self.ladder.source(init, profiles);
            }
            SegmentEvent::AudioInit(_, track) => self.status.set_audio(&track),
            SegmentEvent::VideoPart { seq, index, independent, bytes, .. } => {
                if index == 0 {
                    self.segment = (seq, 0);
                    self.ladder.begin(seq, independent);
                }
                self.segment.1 += bytes.len() as u64;
                self.status.source_part();
                self.ladder.part(index, bytes);
            }
            SegmentEvent::VideoSegmentEnd { seq, duration, frames, .. } => {
                self.status.source_segment(frames, duration, self.segment.1);
                self.segment = (seq + 1, 0);
                self.ladder.end();
            }
            SegmentEvent::AudioPart { bytes, .. } if self.status.is_sound_alone() => {
                self.segment.1 += bytes.len() as u64;
                self.status.source_part();
            }
            SegmentEvent::AudioSegmentEnd { seq, duration, alone: Some(_), .. } => {
                self.status.source_segment(0, duration, self.segment.1);
                self.segment = (seq + 1, 0);
            }
            SegmentEvent::Captions(_)
            | SegmentEvent::AudioPart { .. }
            | SegmentEvent::AudioSegmentEnd { .. }
            | SegmentEvent::Discontinuity { .. }
            | SegmentEvent::End { .. } => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_media::cmaf::Codec;

    #[test]
    fn a_source_that_no_player_takes_needs_a_ladder_which_small_ones_get_too() {
        let vp8 = b"\xf0\x62\0\x9d\x01\x2a\x40\x01\xb4\0\0\x07\x08"; // 320x180
        let vp8 = VideoTrack::of_key_frame(Codec::Vp8, vp8).unwrap().unwrap();
        let vp9 = b"\x82\x49\x83\x42\0\x13\xf0\x0b\x36\x06\x38\x24";
        let vp9 = VideoTrack::of_key_frame(Codec::Vp9, vp9).unwrap().unwrap();
        let rungs = [Rung { height: 720, bitrate: 2_000_000 }, Rung { height: 360, bitrate: 700_000 }];
        let profiles = Ladder::profiles(&rungs, &vp8);
        assert_eq!(profiles.iter().map(|p| (p.width, p.height)).collect::<Vec<_>>(), [(320, 180)]);
        assert_eq!(check_playable(&profiles, &vp8), Ok(()));
        assert_eq!(check_playable(&[], &vp9), Ok(()));
        assert!(check_playable(&[], &vp8).unwrap_err().contains("vp8"));
    }
}
