//! Where recordings are kept: a directory, or a prefix of an S3-compatible bucket. Every file appears whole or not at all.
//!
//! Keys are relative, with slashes, and made of checked names only. Every call has a time limit.

use super::disk;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{
    Attribute, Attributes, ClientOptions, GetOptions, GetRange, GetResult, ObjectStore, ObjectStoreExt, PutOptions,
    PutPayload, RetryConfig,
};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// For one file: the largest segment has 32 MB, which a store that keeps up with a stream takes in a few seconds.
const FILE_LIMIT: Duration = Duration::from_secs(30);
/// For a listing, or what else may touch every file of a recording.
const MANY_LIMIT: Duration = Duration::from_secs(300);
/// For a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Requests at once, where a call needs several.
const AT_ONCE: usize = 8;
/// Files that recorders write and read at once, of all streams: a disk that hangs takes so many of the process's threads, and no more.
static AT_WORK: Semaphore = Semaphore::const_new(64);

/// Why a configured store cannot be one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    #[error("an s3 URL is s3://BUCKET or s3://BUCKET/PREFIX, of letters, digits, dashes, dots and underscores")]
    Url,
    #[error(
        "no S3 client: {0}; AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY configure it"
    )]
    Client(object_store::Error),
}

/// Why a store did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("{0}: {1}{way_out}", way_out = way_out(.1))]
    Disk(PathBuf, io::Error),
    #[error("{0}: {1}")]
    S3(String, object_store::Error),
    #[error("{0}: no answer in time")]
    TimedOut(String),
    #[error("{0}: {1}")]
    Malformed(String, String),
}

/// What an operator can do about it.
fn way_out(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; make room, and set recording_max_bytes to less than the disk has for recordings: the oldest then go by themselves"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "; mount it for writing: the system's log says whether the disk has failed"
        }
        io::ErrorKind::PermissionDenied => "; the folder must be the node's user's to write",
        _ => "",
    }
}

impl StoreError {
    pub(crate) fn is_missing(&self) -> bool {
        match self {
            Self::Disk(_, error) => matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
            Self::S3(_, error) => matches!(error, object_store::Error::NotFound { .. }),
            _ => false,
        }
    }
}

/// A file of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) key: String,
    pub(crate) size: u64,
}

/// The store.
#[derive(Debug, Clone)]
pub(crate) enum Store {
    Folder(Arc<PathBuf>),
    S3 { bucket: Arc<AmazonS3>, prefix: Arc<str> },
}

impl std::fmt::Display for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(root) => root.display().fmt(f),
            Self::S3 { bucket, prefix } => write!(f, "{bucket}/{prefix}"),
        }
    }
}

impl Store {
    /// The store at `place`: a directory's path, or `s3://bucket/prefix`, which the environment configures as AWS's own tools.
    pub(crate) fn open(place: &str) -> Result<Self, PlaceError> {
        let Some(rest) = place.strip_prefix("s3://") else { return Ok(Self::Folder(Arc::new(place.into()))) };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let prefix = prefix.trim_matches('/');
        let mut names = prefix.split('/').filter(|_| !prefix.is_empty()).chain([bucket]);
        if !names.all(|name| crate::origin::check_name(name).is_ok()) {
            return Err(PlaceError::Url);
        }
        let client = ClientOptions::new().with_timeout(FILE_LIMIT).with_connect_timeout(CONNECT_LIMIT);
        // A server on this machine or in a private network may have no TLS: its URL says which it is.
        let client = client.with_allow_http(true);
        let retry = RetryConfig { max_retries: 2, retry_timeout: Duration::from_secs(10), ..RetryConfig::default() };
        let builder =
            AmazonS3Builder::from_env().with_bucket_name(bucket).with_client_options(client).with_retry(retry);
        let bucket = Arc::new(builder.build().map_err(PlaceError::Client)?);
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Self::S3 { bucket, prefix: prefix.into() })
    }

    /// Whether [`append`](Self::append) is possible.
    pub(crate) fn appends(&self) -> bool {
        matches!(self, Self::Folder(_))
    }

    /// Where a key is, in a directory.
    pub(crate) fn path(&self, key: &str) -> Option<PathBuf> {
        match self {
            Self::Folder(root) => Some(root.join(key)),
            Self::S3 { .. } => None,
        }
    }

    /// Writes a file, which replaces another.
    pub(crate) async fn put(&self, key: &str, content: Vec<Bytes>) -> Result<(), StoreError> {
        match self {
            Self::Folder(root) => on_disk(key, FILE_LIMIT, root.join(key), move |path| disk::put(path, &content)).await,
            Self::S3 { bucket, prefix } => {
                let at = format!("{prefix}{key}").into();
                let attributes = Attributes::from_iter([(Attribute::ContentType, content_type(key))]);
                let options = PutOptions { attributes, ..PutOptions::default() };
                let put = bucket.put_opts(&at, PutPayload::from_iter(content), options);
                in_time(key, FILE_LIMIT, put).await.map(drop)
            }
        }
    }

    /// Writes what follows the first `offset` bytes of a file, whatever was there. In a directory only.
    pub(crate) async fn append(&self, key: &str, offset: u64, tail: Bytes) -> Result<(), StoreError> {
        let path = self.path(key).unwrap_or_default();
        on_disk(key, FILE_LIMIT, path, move |path| disk::append(path, offset, &tail)).await
    }

    /// A whole file.
    pub(crate) async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        match self {
            Self::Folder(root) => {
                on_disk(key, FILE_LIMIT, root.join(key), |path| fs::read(path).map(Bytes::from)).await
            }
            Self::S3 { bucket, prefix } => {
                let at = format!("{prefix}{key}").into();
                in_time(key, FILE_LIMIT, async { bucket.get(&at).await?.bytes().await }).await
            }
        }
    }

    /// A file of a bucket, or a range of it, to be streamed. Nothing for a directory.
    pub(crate) async fn stream(&self, key: &str, range: Option<GetRange>) -> Result<Option<GetResult>, StoreError> {
        let Self::S3 { bucket, prefix } = self else { return Ok(None) };
        let options = GetOptions { range, ..GetOptions::default() };
        let at = format!("{prefix}{key}").into();
        in_time(key, FILE_LIMIT, bucket.get_opts(&at, options)).await.map(Some)
    }

    /// All files below a folder that is given without a slash at its end; empty for all. Unfinished ones are no files.
    pub(crate) async fn list(&self, folder: &str) -> Result<Vec<Found>, StoreError> {
        match self {
            Self::Folder(root) => {
                let (root, below) = (root.clone(), folder.to_owned());
                on_disk(folder, MANY_LIMIT, root.join(folder), move |path| {
                    let mut found = Vec::new();
                    walk(path, &below, &mut found)?;
                    Ok(found)
                })
                .await
            }
            Self::S3 { bucket, prefix } => {
                let below = object_store::path::Path::from(format!("{prefix}{folder}"));
                let listing = bucket.list(Some(&below)).map_ok(|meta| Found {
                    key: meta.location.as_ref().strip_prefix(&**prefix).unwrap_or_default().to_owned(),
                    size: meta.size,
                });
                in_time(folder, MANY_LIMIT, listing.try_collect()).await
            }
        }
    }

    /// Deletes files; those that are not there are no fault.
    pub(crate) async fn delete(&self, keys: Vec<String>) -> Result<(), StoreError> {
        let deleting = futures::stream::iter(keys.into_iter().map(|key| async move {
            match self.delete_one(&key).await {
                Err(error) if !error.is_missing() => Err(error),
                _ => Ok(()),
            }
        }));
        let all = deleting.buffer_unordered(AT_ONCE).try_collect::<()>();
        timeout(MANY_LIMIT, all).await.map_err(|_| StoreError::TimedOut("deleting".into()))?
    }

    async fn delete_one(&self, key: &str) -> Result<(), StoreError> {
        match self {
            Self::Folder(root) => on_disk(key, FILE_LIMIT, root.join(key), |path| fs::remove_file(path)).await,
            Self::S3 { bucket, prefix } => {
                let at = format!("{prefix}{key}").into();
                in_time(key, FILE_LIMIT, bucket.delete(&at)).await
            }
        }
    }

    /// Removes a folder with all that is left in it. A bucket has none.
    pub(crate) async fn remove_folder(&self, folder: &str) -> Result<(), StoreError> {
        let Self::Folder(root) = self else { return Ok(()) };
        let removed = on_disk(folder, MANY_LIMIT, root.join(folder), |path| {
            fs::remove_dir_all(path)?;
            // That of the stream too, if it was the last.
            path.parent().map_or(Ok(()), |stream| fs::remove_dir(stream).or(Ok(())))
        });
        match removed.await {
            Err(error) if !error.is_missing() => Err(error),
            _ => Ok(()),
        }
    }
}

/// What a file is, by its name.
pub(crate) fn content_type(key: &str) -> &'static str {
    let sound = key.rsplit('/').nth(1) == Some(crate::origin::AUDIO);
    match key.rsplit('.').next() {
        Some("m3u8") => "application/vnd.apple.mpegurl",
        Some("json") => "application/json",
        _ if sound => "audio/mp4",
        _ => "video/mp4",
    }
}

async fn in_time<T>(
    key: &str,
    limit: Duration,
    call: impl Future<Output = object_store::Result<T>>,
) -> Result<T, StoreError> {
    match timeout(limit, call).await {
        Ok(done) => done.map_err(|error| StoreError::S3(key.to_owned(), error)),
        Err(_) => Err(StoreError::TimedOut(key.to_owned())),
    }
}

async fn on_disk<T: Send + 'static>(
    key: &str,
    limit: Duration,
    path: PathBuf,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    let task = async {
        let place = AT_WORK.acquire().await;
        // The place is the thread's: it is free again when the disk has answered, which may be long after the call.
        let working = tokio::task::spawn_blocking(move || {
            let _place = place;
            work(&path).map_err(|error| StoreError::Disk(path, error))
        });
        working.await.unwrap_or_else(|error| Err(StoreError::Malformed(key.to_owned(), error.to_string())))
    };
    timeout(limit, task).await.unwrap_or_else(|_| Err(StoreError::TimedOut(key.to_owned())))
}

fn walk(folder: &Path, key: &str, found: &mut Vec<Found>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| !name.starts_with(disk::UNFINISHED)) else { continue };
        let key = if key.is_empty() { name.to_owned() } else { format!("{key}/{name}") };
        let Ok(about) = entry.metadata() else { continue }; // it is gone
        if about.is_dir() {
            walk(&entry.path(), &key, found)?;
        } else {
            found.push(Found { key, size: about.len() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_directory_or_a_bucket_and_nothing_that_climbs() {
        assert!(matches!(Store::open("/var/lib/recordings"), Ok(Store::Folder(_))));
        for place in ["s3://", "s3://bucket/../other", "s3://bu cket"] {
            assert!(matches!(Store::open(place), Err(PlaceError::Url)), "{place}");
        }
    }

    #[tokio::test]
    async fn files_are_whole_are_appended_to_from_where_they_should_end_and_are_listed_and_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::Folder(Arc::new(dir.path().join("new")));
        assert_eq!(store.list("").await.unwrap(), []);
        store.put("show/1/source/index.m3u8", vec!["one\n".into(), "two\n".into()]).await.unwrap();
        store.append("show/1/source/index.m3u8", 4, "TWO\n".into()).await.unwrap();
        store.append("show/1/source/index.m3u8", 8, "three".into()).await.unwrap();
        assert_eq!(store.get("show/1/source/index.m3u8").await.unwrap(), "one\nTWO\nthree");
        fs::write(dir.path().join("new/show/1/.unfinished-9"), "torn").unwrap();
        let listed = store.list("show").await.unwrap();
        assert_eq!(listed, [Found { key: "show/1/source/index.m3u8".into(), size: 13 }]);
        let missing = store.get("show/1/none").await.unwrap_err();
        assert!(missing.is_missing() && missing.to_string().contains("show/1/none"), "{missing}");
        store.delete(vec!["show/1/none".into(), "show/1/source/index.m3u8".into()]).await.unwrap();
        store.remove_folder("show/1").await.unwrap();
        assert!(!dir.path().join("new/show").exists());
    }
}
