//! One publication from its first frame to its last: what ingest says goes through the segmenter, and what the segmenter
//! cuts goes to the origin at once and to the ladder beside it.

use std::sync::Arc;

use alloy::primitives::B256;
use millrace_hop::unix_now_ms;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::Broadcaster;
use crate::events::{IngestEvent, SegmentEvent};
use crate::ingest::Publication;
use crate::ladder::Ladder;
use crate::origin::{LadderRendition, OriginError, StreamHandle};
use crate::segmenter::Segmenter;
use crate::status::StreamStatus;

/// Runs a publication to its end.
pub(crate) async fn run(node: Arc<Broadcaster>, publication: Publication, stop: CancellationToken) {
    let Publication { name, peer, mut events, stop: refuse } = publication;
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
    let ladder = Ladder::new(node.clone(), id, origin.clone(), status.clone());
    let mut stream = Stream {
        node: node.clone(),
        origin,
        status: status.clone(),
        ladder,
        segmenter: Segmenter::default(),
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

struct Stream {
    node: Arc<Broadcaster>,
    origin: StreamHandle,
    status: Arc<StreamStatus>,
    ladder: Ladder,
    segmenter: Segmenter,
    /// Number of the segment being cut, and its bytes so far.
    segment: (u64, u64),
}

impl Stream {
    fn take(&mut self, event: IngestEvent) -> Result<(), String> {
        self.status.ingest(&event);
        let events = self.segmenter.push(unix_now_ms() as i64, event).map_err(|e| e.to_string())?;
        for event in events {
            self.publish(event).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// Ends what the segmenter could not.
    fn finish(&mut self) {
        self.origin.end(false);
    }

    fn publish(&mut self, event: SegmentEvent) -> Result<(), OriginError> {
        self.origin.apply(&event)?;
        match event {
            SegmentEvent::VideoInit(init, track) => {
                let profiles = Ladder::profiles(&self.node.config.ladder, &track);
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
                self.origin.set_ladder(&ladder, self.segment.0)?;
                self.ladder.source(init, profiles);
            }
            SegmentEvent::AudioInit(..) => self.status.set_audio(),
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
            SegmentEvent::AudioPart { .. }
            | SegmentEvent::AudioSegmentEnd { .. }
            | SegmentEvent::Discontinuity { .. }
            | SegmentEvent::End { .. } => {}
        }
        Ok(())
    }
}
