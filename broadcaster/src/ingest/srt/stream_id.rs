//! Stream ids: the bare key, `live/KEY`, or the access-control form `#!::r=KEY,m=publish`.

/// How the access-control form begins.
const ACCESS_CONTROL: &str = "#!::";

/// Why a stream id names no key. The message is for the log: SRT carries a code only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum StreamIdError {
    /// Nothing in it, or no text.
    #[error("no stream key: publish with streamid=KEY, a key of this server")]
    NoKey,
    /// It wants to play, or both.
    #[error("streams are not played by srt here: publish with m=publish, and watch over hls")]
    Mode,
}

/// The key in a stream id as it arrived. A mode that is not named is taken for `publish`: nothing else is served here.
pub(super) fn key(stream_id: &[u8]) -> Result<&str, StreamIdError> {
    let text = std::str::from_utf8(stream_id).map_err(|_| StreamIdError::NoKey)?;
    let resource = match text.strip_prefix(ACCESS_CONTROL) {
        None => text,
        Some(pairs) => {
            let mut resource = "";
            for (name, value) in pairs.split(',').filter_map(|pair| pair.split_once('=')) {
                match name.trim() {
                    "r" => resource = value,
                    "m" if value != "publish" => return Err(StreamIdError::Mode),
                    _ => {}
                }
            }
            resource
        }
    };
    let resource = resource.strip_prefix('/').unwrap_or(resource);
    let key = resource.strip_prefix("live/").unwrap_or(resource);
    if key.is_empty() { Err(StreamIdError::NoKey) } else { Ok(key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_gives_the_same_key() {
        let forms = [
            "secret",
            "live/secret",
            "/live/secret",
            "#!::r=secret,m=publish",
            "#!::m=publish,r=live/secret,u=someone,t=stream",
            "#!::u=admin,r=/live/secret",
        ];
        for form in forms {
            assert_eq!(key(form.as_bytes()), Ok("secret"), "{form}");
        }
    }

    #[test]
    fn players_and_empty_ids_are_refused() {
        for form in ["#!::r=secret,m=request", "#!::m=bidirectional,r=secret"] {
            assert_eq!(key(form.as_bytes()), Err(StreamIdError::Mode), "{form}");
        }
        for form in ["", "live/", "#!::", "#!::m=publish", "#!::r=,m=publish"] {
            assert_eq!(key(form.as_bytes()), Err(StreamIdError::NoKey), "{form}");
        }
        assert_eq!(key(&[0xff, 0xfe]), Err(StreamIdError::NoKey));
    }
}
