//! What is kept of a rendition that failed verification, so that nobody has to take the orchestrator's word for it: both
//! pictures to look at, the bytes of source and rendition to decode and judge again, and what both sides have signed.
//!
//! Each is a folder, written beside its place and moved there, so that a crash leaves a whole one or none. The oldest go when there
//! are too many.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fs, io};

use alloy::primitives::{Address, B256};
use bytes::Bytes;
use millrace_media::jpeg;
use millrace_tickets::{Assignment, Profile, SegmentReceipt, Signed};
use millrace_verify::Comparison;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tracing::{debug, warn};
use utoipa::ToSchema;

/// Failures that are kept: with the largest segments 8 GiB, with those of a 720p stream some 100 MB.
const MOST: usize = 64;
/// Written at once. A liar is suspended at its third; who brings more than these at once loses what is beyond.
const AT_ONCE: usize = 2;
/// Samples of a picture's longer side.
const SIDE: u16 = 960;

const FOLDER: &str = "evidence";
const RECORD: &str = "evidence.json";
/// While it is written.
const UNFINISHED: &str = "unfinished-";

/// A rendition that failed, as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Evidence)]
pub(crate) struct Record {
    pub(crate) id: String,
    /// Unix milliseconds.
    at: u64,
    /// As its broadcaster calls it.
    #[schema(value_type = String)]
    stream: B256,
    seq: u64,
    attempt: u32,
    #[schema(value_type = String)]
    worker: Address,
    worker_name: String,
    /// Name, size and bit rate that were agreed.
    rendition: String,
    width: u32,
    height: u32,
    bitrate: u32,
    /// What is wrong with it, and its number in the signed verdict.
    fault: String,
    code: u16,
    /// How the key frames compare; none where the rendition was not looked at any more.
    figures: Option<Figures>,
    /// Of `source.jpg`, `rendition.jpg`, `source.mp4` and `rendition.mp4` those that there are.
    files: Vec<String>,
    /// What the transcoder was given, signed by this node, and its receipt, signed by it.
    #[schema(value_type = Object)]
    assignment: Signed<Assignment>,
    #[schema(value_type = Object)]
    receipt: Signed<SegmentReceipt>,
}

/// How the key frame of a rendition compares with its source's (`millrace_verify::Comparison`). Levels are sixteenths of one of 256.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
struct Figures {
    /// In the cell that is furthest beyond what is accepted there.
    luma: u32,
    luma_limit: u32,
    chroma: u32,
    chroma_limit: u32,
    /// Bits of the perceptual hash that differ, of those that are firm in the source. They are not judged where the source is flat.
    bits: u32,
    bits_limit: u32,
    firm: u32,
    flat: bool,
}

impl From<Comparison> for Figures {
    fn from(comparison: Comparison) -> Self {
        let limits = millrace_verify::Thresholds::default();
        let Comparison { distance, firm, flat, max_luma_cell: luma, max_chroma_cell: chroma } = comparison;
        Self {
            luma: luma.difference,
            luma_limit: luma.allowance + limits.luma,
            chroma: chroma.difference,
            chroma_limit: chroma.allowance + limits.chroma,
            bits: distance,
            bits_limit: limits.bits + firm / limits.firm_per_bit.max(1),
            firm,
            flat,
        }
    }
}

/// A track as bytes: its initialisation segment and its parts.
pub(crate) struct Media {
    pub(crate) init: Bytes,
    pub(crate) parts: Vec<Bytes>,
}

impl Media {
    fn picture(&self) -> Option<Vec<u8>> {
        let part = self.parts.first()?;
        jpeg::of_part(&self.init, part, SIDE).inspect_err(|error| debug!(%error, "no picture as evidence")).ok()
    }

    /// A file that plays.
    fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = fs::File::create(path)?;
        for bytes in std::iter::once(&self.init).chain(&self.parts) {
            io::Write::write_all(&mut file, bytes)?;
        }
        Ok(())
    }
}

/// A failure, as it is found.
pub(crate) struct Failure {
    pub(crate) stream: B256,
    pub(crate) seq: u64,
    pub(crate) attempt: u32,
    pub(crate) worker: Address,
    pub(crate) worker_name: String,
    pub(crate) profile: Profile,
    pub(crate) fault: millrace_verify::Fault,
    pub(crate) comparison: Option<Comparison>,
    pub(crate) source: Media,
    pub(crate) rendition: Media,
    pub(crate) assignment: Signed<Assignment>,
    pub(crate) receipt: Signed<SegmentReceipt>,
}

/// What is kept.
pub(crate) struct Evidence {
    folder: PathBuf,
    /// The oldest first.
    kept: Mutex<VecDeque<Record>>,
    writing: Semaphore,
}

impl Evidence {
    /// What an earlier run has kept in `data_dir`. One that cannot be read is left alone.
    pub(crate) fn open(data_dir: &Path) -> Self {
        let folder = data_dir.join(FOLDER);
        let mut kept: Vec<Record> = Vec::new();
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                let _ = fs::remove_dir_all(entry.path()); // of a run that was killed
                continue;
            }
            let read = || serde_json::from_slice(&fs::read(entry.path().join(RECORD)).ok()?).ok();
            kept.extend(read().filter(|record: &Record| *record.id == *entry.file_name()));
        }
        kept.sort_by_key(|record| record.at);
        let too_many = kept.len().saturating_sub(MOST);
        remove(&folder, &kept.drain(..too_many).collect::<Vec<_>>());
        Self { folder, kept: Mutex::new(kept.into()), writing: Semaphore::new(AT_ONCE) }
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Record>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All there is, the newest first.
    pub(crate) fn list(&self) -> Vec<Record> {
        self.kept().iter().rev().cloned().collect()
    }

    /// Where a file of it lies; none that it does not have.
    pub(crate) fn file(&self, id: &str, file: &str) -> Option<PathBuf> {
        let kept = self.kept();
        let record = kept.iter().find(|record| record.id == id)?;
        let name = record.files.iter().find(|name| *name == file)?;
        Some(self.folder.join(&record.id).join(name))
    }

    /// Keeps a failure. That it cannot be kept stops nothing.
    pub(crate) async fn keep(self: Arc<Self>, failure: Failure) {
        let (stream, seq) = (failure.stream, failure.seq);
        let Ok(_place) = self.writing.try_acquire() else {
            return warn!(%stream, seq, "no evidence is kept: that of {AT_ONCE} failures is being written");
        };
        let evidence = self.clone();
        let written = tokio::task::spawn_blocking(move || evidence.write(failure)).await;
        if let Err(error) = written.unwrap_or_else(|stopped| Err(io::Error::other(stopped))) {
            warn!(%stream, seq, %error, "the evidence of a failure could not be kept");
        }
    }

    fn write(&self, failure: Failure) -> io::Result<()> {
        let at = millrace_hop::unix_now_ms();
        let id = format!("{at:x}-{:08x}", rand::random::<u32>());
        let unfinished = self.folder.join(format!("{UNFINISHED}{id}"));
        let written = self.write_in(&unfinished, id, at, failure);
        if written.is_err() {
            let _ = fs::remove_dir_all(&unfinished); // it may be the disk that is full
        }
        let record = written?;
        let mut kept = self.kept();
        kept.push_back(record);
        let oldest = kept.len().saturating_sub(MOST);
        let gone: Vec<Record> = kept.drain(..oldest).collect();
        drop(kept);
        remove(&self.folder, &gone);
        Ok(())
    }

    fn write_in(&self, unfinished: &Path, id: String, at: u64, failure: Failure) -> io::Result<Record> {
        fs::create_dir_all(unfinished)?;
        let mut files = Vec::new();
        for (media, name) in [(&failure.source, "source"), (&failure.rendition, "rendition")] {
            if let Some(picture) = media.picture() {
                files.push(format!("{name}.jpg"));
                fs::write(unfinished.join(format!("{name}.jpg")), picture)?;
            }
            files.push(format!("{name}.mp4"));
            media.write(&unfinished.join(format!("{name}.mp4")))?;
        }
        let record = Record {
            id: id.clone(),
            at,
            stream: failure.stream,
            seq: failure.seq,
            attempt: failure.attempt,
            worker: failure.worker,
            worker_name: failure.worker_name,
            rendition: failure.profile.name,
            width: failure.profile.width,
            height: failure.profile.height,
            bitrate: failure.profile.bitrate,
            fault: failure.fault.to_string(),
            code: failure.fault.code(),
            figures: failure.comparison.map(Figures::from),
            files,
            assignment: failure.assignment,
            receipt: failure.receipt,
        };
        fs::write(unfinished.join(RECORD), serde_json::to_vec_pretty(&record)?)?;
        fs::rename(unfinished, self.folder.join(&id))?;
        Ok(record)
    }
}

fn remove(folder: &Path, gone: &[Record]) {
    for Record { id, .. } in gone {
        if let Err(error) = fs::remove_dir_all(folder.join(id)) {
            warn!(id, %error, "old evidence could not be removed: the next start tries again");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;
    use alloy::signers::local::PrivateKeySigner;
    use millrace_media::cmaf::{self, Track};
    use millrace_verify::Fault;

    fn media() -> Media {
        let (track, samples) = millrace_media::synthetic::source(64, 48, 30, 2, 2).unwrap();
        let init = cmaf::write_init(&Track::Video(track)).unwrap();
        Media { init, parts: vec![cmaf::write_part(0, &samples).unwrap()] }
    }

    fn failure(seq: u64) -> Failure {
        let key = PrivateKeySigner::from_bytes(&B256::repeat_byte(1)).unwrap();
        let domain = millrace_tickets::Domain { chain_id: 1, broker: Address::ZERO };
        let profile = Profile { name: "360p".into(), width: 640, height: 360, bitrate: 700_000, codec: "h264".into() };
        Failure {
            stream: B256::ZERO,
            seq,
            attempt: 0,
            worker: key.address(),
            worker_name: "liar".into(),
            profile,
            fault: Fault::NoIdr,
            comparison: None,
            source: media(),
            rendition: Media { parts: vec![Bytes::from_static(b"no part")], ..media() },
            assignment: Signed::sign(Assignment::default(), &domain, &key).unwrap(),
            receipt: Signed::sign(SegmentReceipt::default(), &domain, &key).unwrap(),
        }
    }

    #[tokio::test]
    async fn what_is_kept_is_there_after_a_restart_and_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let evidence = Arc::new(Evidence::open(dir.path()));
        for seq in 0..MOST as u64 + 3 {
            evidence.clone().keep(failure(seq)).await;
        }
        fs::create_dir(dir.path().join(FOLDER).join("unfinished-1")).unwrap();
        for evidence in [evidence.as_ref(), &Evidence::open(dir.path())] {
            let all = evidence.list();
            assert_eq!(all.len(), MOST);
            assert_eq!((all[0].seq, all[MOST - 1].seq), (MOST as u64 + 2, 3));
            assert_eq!(
                all[0].files,
                ["source.jpg", "source.mp4", "rendition.mp4"],
                "what does not decode has no picture"
            );
            let source = fs::read(evidence.file(&all[0].id, "source.mp4").unwrap()).unwrap();
            assert_eq!(source, [&media().init[..], &media().parts[0]].concat());
            assert!(evidence.file(&all[0].id, "rendition.jpg").is_none());
            assert!(evidence.file(&all[0].id, "../../identity.key").is_none());
            assert!(evidence.file("..", "source.mp4").is_none());
        }
        assert_eq!(fs::read_dir(dir.path().join(FOLDER)).unwrap().count(), MOST);
    }
}
