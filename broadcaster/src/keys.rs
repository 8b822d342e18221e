//! Stream keys as people handle them: made and shown once, listed, revoked. The command line and the API do it by this.

use alloy::primitives::B256;
use millrace_hop::unix_now_ms;
use millrace_store::{Store, StoreError, StreamKeyRow, by_id, short_id, short_ids::IdError};
use serde::Serialize;
use utoipa::ToSchema;

use crate::ingest::keyring;
use crate::ingest::rtmp::APP;
use crate::origin::{OriginError, check_name};

/// Where a node takes streams, and where it is on the web: by https where it has that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// `host:port` of RTMP.
    pub rtmp: String,
    /// And of RTMPS.
    pub rtmps: Option<String>,
    /// And of SRT.
    pub srt: Option<String>,
    /// `http://host:port`.
    pub web: String,
    /// Playback addresses are signed, each for a while: none can stand beside a key.
    pub signed: bool,
}

/// A key that was just made: the only time that it is told.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct NewKey {
    /// Public name of the stream.
    pub name: String,
    /// By which the list has it.
    pub id: String,
    /// The key itself.
    pub key: String,
    /// Where to publish with it by RTMP.
    pub rtmp_url: String,
    /// By RTMPS; none where the node has none.
    pub rtmps_url: Option<String>,
    /// By SRT; none where the node has none.
    pub srt_url: Option<String>,
    /// By WHIP, with the key as bearer token.
    pub whip_url: String,
    /// Where to watch; none where the node signs playback addresses.
    pub hls_url: Option<String>,
}

/// A key as it is listed, revoked ones too. The keys of the configuration are not among them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct KeyView {
    /// Public name of the stream.
    pub name: String,
    /// The first digits of its hash.
    pub id: String,
    /// Unix milliseconds, as the others.
    pub created_at: u64,
    /// When it last let a publisher in.
    pub used_at: Option<u64>,
    /// Since when it lets nobody in.
    pub revoked_at: Option<u64>,
}

/// Why there is no such key, or none is made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No name of a stream.
    #[error(transparent)]
    Name(#[from] OriginError),
    /// No id of one key.
    #[error(transparent)]
    Id(#[from] IdError),
    /// It was revoked before.
    #[error("key {id} of {name} is revoked already")]
    Revoked {
        /// Its id.
        id: String,
        /// Its stream.
        name: String,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<&StreamKeyRow> for KeyView {
    fn from(row: &StreamKeyRow) -> Self {
        Self {
            name: row.name.clone(),
            id: short_id(row.hash),
            created_at: row.created_ms,
            used_at: row.used_ms,
            revoked_at: row.revoked_ms,
        }
    }
}

/// Makes a key for the stream `name`; only its hash is kept.
pub async fn make(store: &Store, name: &str, at: &Addresses) -> Result<NewKey, KeyError> {
    check_name(name)?;
    let key = keyring::new_key();
    let hash: B256 = keyring::hash(&key);
    store.add_stream_key(hash, name, unix_now_ms()).await?;
    let Addresses { rtmp, rtmps, srt, web, signed } = at;
    Ok(NewKey {
        name: name.to_owned(),
        id: short_id(hash),
        rtmp_url: format!("rtmp://{rtmp}/{APP}/{key}"),
        rtmps_url: rtmps.as_ref().map(|rtmps| format!("rtmps://{rtmps}/{APP}/{key}")),
        srt_url: srt.as_ref().map(|srt| format!("srt://{srt}?streamid={key}")),
        whip_url: format!("{web}/whip"),
        hls_url: (!signed).then(|| format!("{web}/live/{name}/master.m3u8")),
        key,
    })
}

/// All keys that were made, oldest first.
pub async fn list(store: &Store) -> Result<Vec<KeyView>, KeyError> {
    Ok(store.stream_keys().await?.iter().map(KeyView::from).collect())
}

/// Revokes the key whose id begins with `asked`, for good; a running node ends what is published with it within seconds.
pub async fn revoke(store: &Store, asked: &str) -> Result<KeyView, KeyError> {
    let known = store.stream_keys().await?;
    let row = by_id(&known, asked, |row| row.hash)?;
    let now = unix_now_ms();
    let view = KeyView { revoked_at: Some(now), ..KeyView::from(row) };
    if !store.revoke_stream_key(row.hash, now).await? {
        return Err(KeyError::Revoked { id: view.id, name: view.name });
    }
    Ok(view)
}
