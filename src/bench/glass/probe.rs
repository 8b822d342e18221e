//! When a part can be fetched: a client that follows a media playlist by blocking reloads, and compares with when the pictures were made.

use std::sync::PoisonError;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millrace_broadcaster::events::TICKS_PER_SECOND;
use millrace_broadcaster::segmenter::START;
use millrace_media::cmaf;
use tokio_util::sync::CancellationToken;

use super::camera::{FPS, Stamps};

/// A reload is held for six seconds at most.
const ANSWER: Duration = Duration::from_secs(10);
/// A playlist that is not there is asked for again after this.
const AGAIN: Duration = Duration::from_millis(200);

/// From the making of the first and of the last picture of a part until that part was fetched, ms, one of each for each part.
#[derive(Debug, Default)]
pub(super) struct Reach {
    pub(super) first: Vec<f64>,
    pub(super) last: Vec<f64>,
}

/// Follows the playlist at `url`, part by part, until `gone`.
pub(super) async fn follow(url: String, stamps: Stamps, gone: CancellationToken) -> Reach {
    let mut reach = Reach::default();
    let Ok(client) = reqwest::Client::builder().timeout(ANSWER).build() else { return reach };
    let mut seen: Option<String> = None;
    let mut query = String::new();
    loop {
        let asked = async {
            let text = client.get(format!("{url}{query}")).send().await?.error_for_status()?.text().await?;
            let Some((name, next)) = newest(&text) else { return Ok(None) };
            if seen.as_deref() == Some(name) {
                return Ok(Some((None, next)));
            }
            let part = client.get(url.replace("index.m3u8", name)).send().await?.error_for_status()?.bytes().await?;
            Ok::<_, reqwest::Error>(Some((Some((name.to_owned(), part)), next)))
        };
        let answer = match gone.run_until_cancelled(asked).await {
            None => return reach,
            Some(answer) => answer,
        };
        match answer {
            Ok(Some((part, next))) => {
                if let Some((name, part)) = part {
                    // The first one is as old as it may be.
                    if seen.replace(name).is_some() {
                        note(&mut reach, &part, &stamps);
                    }
                }
                query = next;
            }
            Ok(None) | Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

fn note(reach: &mut Reach, part: &[u8], stamps: &Stamps) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1000.0;
    let stamps = stamps.lock().unwrap_or_else(PoisonError::into_inner);
    let made = |pts: i64| {
        let number = (pts - START) * FPS as i64 / TICKS_PER_SECOND;
        stamps.get(usize::try_from(number).ok()?).map(|made| now - *made as f64)
    };
    let Ok(samples) = cmaf::read_part(part) else { return };
    reach.first.extend(samples.first().and_then(|sample| made(sample.pts + 1)));
    reach.last.extend(samples.last().and_then(|sample| made(sample.pts + 1)));
}

/// The name of the newest part of a playlist, and the query that waits for the next.
fn newest(text: &str) -> Option<(&str, String)> {
    let name = text.lines().rev().find(|line| line.starts_with("#EXT-X-PART:"))?.split('"').nth(1)?;
    let hint = text.lines().find(|line| line.starts_with("#EXT-X-PRELOAD-HINT:"))?.split('"').nth(1)?;
    let mut numbers = hint.split('?').next()?.split('.');
    let (segment, index) = (numbers.next()?, numbers.next()?);
    Some((name, format!("?_HLS_msn={segment}&_HLS_part={index}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_part_and_the_one_to_wait_for_are_found() {
        let text = "#EXT-X-PART:DURATION=0.2,URI=\"4.9.m4s?v=a\"\n#EXTINF:2.0,\n4.m4s?v=a\n#EXT-X-PART:DURATION=0.2,URI=\"5.0.m4s?v=a\",\
                    INDEPENDENT=YES\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"5.1.m4s?v=a\"\n";
        assert_eq!(newest(text), Some(("5.0.m4s?v=a", "?_HLS_msn=5&_HLS_part=1".to_owned())));
        assert_eq!(newest("#EXTM3U\n"), None);
    }
}
