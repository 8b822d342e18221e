//! `millrace clip`: a stretch of a recording as one MP4.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt};
use millrace_broadcaster::recording::clip::{ClipError, Recorded, Source, stretch};

use crate::Failure;

/// For one file of a recording that is somewhere else.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The longest file that is taken from there, bytes: a segment has 32 MB at most.
const MOST: usize = 64 << 20;

/// The command line of `millrace clip`.
#[derive(Debug, clap::Args)]
pub struct ClipArgs {
    /// The recording: its folder, its master.m3u8, or the URL of that.
    recording: String,
    /// Where it begins: seconds or HH:MM:SS from the recording's beginning. The clip starts with the key picture at or before it.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Where it ends; an hour later at most.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Which rendition; without it the first of the master playlist.
    #[arg(long, value_name = "NAME")]
    rendition: Option<String>,
    /// The file to write; another of that name is replaced.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// Runs it.
pub fn main(args: ClipArgs) -> Result<(), Failure> {
    let (from, to) = stretch(args.from.as_deref(), args.to.as_deref()).map_err(Failure::usage)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let source = source(&args.recording)?;
        let clip = Recorded::open(source, args.rendition.as_deref()).await.map_err(failure)?;
        let clip = clip.clip(from, to).await.map_err(failure)?;
        let folder = args.output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let wrong = |error: std::io::Error| Failure(format!("{}: {error}", args.output.display()), 1);
        // Under its name only when it is whole.
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(wrong)?;
        let mut bytes = clip.into_stream().boxed();
        while let Some(next) = bytes.try_next().await? {
            file.write_all(&next).map_err(wrong)?;
        }
        file.persist(&args.output).map_err(|error| wrong(error.error))?;
        Ok(())
    })
}

/// What was asked for that is not there is a matter of usage.
fn failure(error: ClipError) -> Failure {
    match error {
        ClipError::Source(_) | ClipError::Media(_) | ClipError::Gap => error.into(),
        error => Failure::usage(error),
    }
}

fn source(recording: &str) -> Result<Arc<dyn Source>, Failure> {
    let folder = recording.strip_suffix("master.m3u8").unwrap_or(recording);
    if recording.starts_with("http://") || recording.starts_with("https://") {
        let client = reqwest::Client::builder().timeout(TIMEOUT).build()?;
        return Ok(Arc::new(Elsewhere { client, base: folder.trim_end_matches('/').to_owned() }));
    }
    Ok(Arc::new(Folder(if folder.is_empty() { ".".into() } else { folder.into() })))
}

struct Folder(PathBuf);

impl Source for Folder {
    fn get(&self, file: String) -> BoxFuture<'_, Result<Bytes, String>> {
        let path = self.0.join(file);
        Box::pin(async move {
            let read = tokio::fs::read(&path).await;
            read.map(Bytes::from).map_err(|error| format!("{}: {error}", path.display()))
        })
    }
}

struct Elsewhere {
    client: reqwest::Client,
    base: String,
}

impl Source for Elsewhere {
    fn get(&self, file: String) -> BoxFuture<'_, Result<Bytes, String>> {
        let url = format!("{}/{file}", self.base);
        Box::pin(async move {
            let wrong = |error: reqwest::Error| format!("{url}: {}", error.without_url());
            let mut answer = self.client.get(&url).send().await.and_then(|a| a.error_for_status()).map_err(&wrong)?;
            let mut bytes = Vec::new();
            while let Some(chunk) = answer.chunk().await.map_err(&wrong)? {
                if bytes.len() + chunk.len() > MOST {
                    return Err(format!("{url}: it has over {MOST} bytes, more than a segment may"));
                }
                bytes.extend_from_slice(&chunk);
            }
            Ok(bytes.into())
        })
    }
}
