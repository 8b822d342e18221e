//! The HTTP of WHIP (RFC 9725) as decisions: what a request asks for, or why it is refused. Sans-IO: who runs the session is elsewhere.

use super::offer::Fragment;
use super::problem::Problem;
use crate::ingest::keyring;
use alloy::primitives::B256;
use axum::http::{Method, header};

/// The longest body: a browser's offer with all its codecs and candidates has 8 kB.
pub(super) const MOST_BODY: usize = 64 << 10;
/// What an endpoint takes.
pub(super) const OFFER_TYPE: &str = "application/sdp";
/// What a session takes.
pub(super) const FRAGMENT_TYPE: &str = "application/trickle-ice-sdpfrag";
/// Methods of an endpoint and of a session, for `Allow` and for CORS.
pub(super) const ENDPOINT_METHODS: &str = "POST, GET, HEAD, OPTIONS";
pub(super) const SESSION_METHODS: &str = "PATCH, DELETE, GET, HEAD, OPTIONS";

/// What matters of a request's head.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) method: &'a Method,
    pub(super) content_type: Option<&'a str>,
    pub(super) authorization: Option<&'a str>,
    pub(super) if_match: Option<&'a str>,
}

/// What a request to an endpoint asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum EndpointCall<'a> {
    /// To publish under this key the offer in the body. Whether the key came in a header decides what later requests must bring.
    Publish { key: &'a str, in_header: bool },
    /// A preflight, or a look at what is accepted.
    Options,
    /// Nothing: the answer is empty.
    Nothing,
}

/// Reads a request to an endpoint, whose path may hold the key for clients that cannot send headers.
pub(super) fn endpoint<'a>(head: Head<'a>, key_in_path: Option<&'a str>) -> Result<EndpointCall<'a>, Problem> {
    match *head.method {
        Method::OPTIONS => Ok(EndpointCall::Options),
        Method::GET | Method::HEAD => Ok(EndpointCall::Nothing),
        Method::POST => {
            let in_header = head.authorization.and_then(bearer);
            let key = in_header.or(key_in_path).ok_or_else(unauthorized)?;
            content_type(head.content_type, OFFER_TYPE)?;
            Ok(EndpointCall::Publish { key, in_header: in_header.is_some() })
        }
        _ => Err(method_not_allowed(ENDPOINT_METHODS)),
    }
}

/// A session as its URL shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resource {
    /// Strong entity tag of the ICE session, with its quotes.
    pub(super) etag: String,
    /// The client's ICE user name fragment: another one asks for a restart.
    pub(super) ufrag: String,
    /// Hash of the key that came in a header, which later requests must then bring too: how long a comparison takes says nothing of the
    /// key itself. A key in the path is known to whoever knows the session's unguessable URL, and such clients send no headers.
    pub(super) key: Option<B256>,
}

/// What a request to a session asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SessionCall {
    /// To take candidates, from a body that [`Resource::patch`] reads.
    Patch,
    /// To end.
    End,
    /// A preflight.
    Options,
    /// Nothing: the answer is empty.
    Nothing,
}

/// What a patch asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Patch {
    /// To try these candidates too.
    Trickle(Vec<String>),
    /// New ICE credentials: user name fragment, password, and candidates under them.
    Restart(String, String, Vec<String>),
}

impl Resource {
    /// Reads a request's head.
    pub(super) fn call(&self, head: Head<'_>) -> Result<SessionCall, Problem> {
        if *head.method == Method::OPTIONS {
            return Ok(SessionCall::Options); // browsers send preflights without credentials
        }
        let given = || head.authorization.and_then(bearer).map(keyring::hash);
        if self.key.is_some() && given() != self.key {
            return Err(unauthorized());
        }
        match *head.method {
            Method::GET | Method::HEAD => Ok(SessionCall::Nothing),
            Method::DELETE => Ok(SessionCall::End), // an entity tag is ignored here, as the RFC has it
            Method::PATCH => {
                content_type(head.content_type, FRAGMENT_TYPE)?;
                if head.if_match.is_none() {
                    return Err(Problem::new(
                        428,
                        "If-Match is missing",
                        "a PATCH names the ICE session it is for: send If-Match with the session's ETag, or * to restart ICE",
                    ));
                }
                Ok(SessionCall::Patch)
            }
            _ => Err(method_not_allowed(SESSION_METHODS)),
        }
    }

    /// Reads the body of a patch.
    pub(super) fn patch(&self, if_match: Option<&str>, body: &str) -> Result<Patch, Problem> {
        let fragment = Fragment::read(body)?;
        let tags = || if_match.unwrap_or_default().split(',').map(str::trim);
        if !tags().any(|tag| tag == "*" || tag == self.etag) {
            return Err(Problem::new(
                412,
                "Another ICE session",
                format!("If-Match does not name the session's present ETag, {}: it has restarted since", self.etag),
            ));
        }
        match fragment.credentials {
            Some((ufrag, password)) if ufrag != self.ufrag => Ok(Patch::Restart(ufrag, password, fragment.candidates)),
            _ => Ok(Patch::Trickle(fragment.candidates)),
        }
    }
}

fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, key) = authorization.split_once(' ')?;
    Some(key.trim()).filter(|key| scheme.eq_ignore_ascii_case("Bearer") && !key.is_empty())
}

fn content_type(given: Option<&str>, wanted: &'static str) -> Result<(), Problem> {
    let essence = given.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    let given = if essence.is_empty() { "no content type" } else { essence };
    Err(Problem::new(415, "Another content type", format!("the body has {given}: send {wanted}")))
}

pub(super) fn unauthorized() -> Problem {
    Problem::new(
        401,
        "No key of this server",
        "publish with a stream key of this server: send Authorization: Bearer KEY, or POST to /whip/KEY",
    )
    .with(header::WWW_AUTHENTICATE, "Bearer realm=\"whip\"")
}

fn method_not_allowed(allowed: &'static str) -> Problem {
    Problem::new(405, "Method not taken", format!("this URL takes {allowed}")).with(header::ALLOW, allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: &Method) -> Head<'_> {
        Head { method, content_type: None, authorization: None, if_match: None }
    }

    #[test]
    fn an_endpoint_takes_offers_under_a_key_and_tells_what_else_it_takes() {
        let sdp = Some("application/sdp");
        type Case<'a> = (Method, Option<&'a str>, Option<&'a str>, Option<&'a str>, Result<&'a str, u16>);
        let cases: [Case<'_>; 14] = [
            (Method::POST, sdp, Some("Bearer k"), None, Ok("k")),
            (Method::POST, sdp, Some("bearer  k "), None, Ok("k")),
            (Method::POST, Some("Application/SDP; charset=utf-8"), Some("Bearer k"), None, Ok("k")),
            (Method::POST, sdp, None, Some("p"), Ok("p")),
            (Method::POST, sdp, Some("Bearer k"), Some("p"), Ok("k")),
            (Method::POST, sdp, None, None, Err(401)),
            (Method::POST, sdp, Some("Basic k"), None, Err(401)),
            (Method::POST, sdp, Some("Bearer "), None, Err(401)),
            (Method::POST, None, Some("Bearer k"), None, Err(415)),
            (Method::POST, Some("text/plain"), Some("Bearer k"), None, Err(415)),
            (Method::PUT, sdp, Some("Bearer k"), None, Err(405)),
            (Method::PATCH, sdp, Some("Bearer k"), None, Err(405)),
            (Method::DELETE, sdp, Some("Bearer k"), None, Err(405)),
            (Method::TRACE, None, None, None, Err(405)),
        ];
        for (method, content_type, authorization, in_path, wanted) in cases {
            let asked = Head { content_type, authorization, ..head(&method) };
            let got = endpoint(asked, in_path).map_err(|problem| problem.status);
            let wanted = wanted.map(|key| EndpointCall::Publish { key, in_header: key == "k" });
            assert_eq!(got, wanted, "{asked:?} {in_path:?}");
        }
        assert_eq!(endpoint(head(&Method::OPTIONS), None), Ok(EndpointCall::Options));
        assert_eq!(endpoint(head(&Method::GET), None), Ok(EndpointCall::Nothing));
        assert_eq!(endpoint(head(&Method::HEAD), None), Ok(EndpointCall::Nothing));
    }

    fn resource(key: Option<&str>) -> Resource {
        Resource { etag: "\"one\"".into(), ufrag: "EsAw".into(), key: key.map(keyring::hash) }
    }

    #[test]
    fn a_session_takes_patches_for_its_own_ice_session_and_its_end() {
        let frag = Some("application/trickle-ice-sdpfrag");
        let tag = Some("\"one\"");
        type Case<'a> = (Method, Option<&'a str>, Option<&'a str>, Option<&'a str>, Result<SessionCall, u16>);
        let cases: [Case<'_>; 12] = [
            (Method::PATCH, frag, Some("Bearer k"), tag, Ok(SessionCall::Patch)),
            (Method::PATCH, frag, Some("Bearer k"), None, Err(428)),
            (Method::PATCH, Some("application/sdp"), Some("Bearer k"), tag, Err(415)),
            (Method::PATCH, frag, Some("Bearer x"), tag, Err(401)),
            (Method::PATCH, frag, None, tag, Err(401)),
            (Method::DELETE, None, Some("Bearer k"), Some("\"other\""), Ok(SessionCall::End)),
            (Method::DELETE, None, None, None, Err(401)),
            (Method::GET, None, Some("Bearer k"), None, Ok(SessionCall::Nothing)),
            (Method::HEAD, None, Some("Bearer k"), None, Ok(SessionCall::Nothing)),
            (Method::OPTIONS, None, None, None, Ok(SessionCall::Options)),
            (Method::POST, frag, Some("Bearer k"), tag, Err(405)),
            (Method::PUT, frag, Some("Bearer k"), tag, Err(405)),
        ];
        for (method, content_type, authorization, if_match, wanted) in cases {
            let asked = Head { method: &method, content_type, authorization, if_match };
            assert_eq!(resource(Some("k")).call(asked).map_err(|problem| problem.status), wanted, "{asked:?}");
        }
        // Whoever published with the key in the path sends no header now either.
        assert_eq!(resource(None).call(head(&Method::DELETE)), Ok(SessionCall::End));
    }

    #[test]
    fn a_patch_is_a_trickle_or_a_restart_of_the_session_that_it_names() {
        const PASSWORD: &str = "P2uYro0UCOQ4zxjKXaWCBui1";
        let candidate = "a=candidate:1 1 udp 1 192.0.2.1 61764 typ host\r\n";
        let with =
            |ufrag: &str| format!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:{PASSWORD}\r\nm=audio 9 RTP/AVP 0\r\n{candidate}");
        let trickle = || Ok(Patch::Trickle(vec!["1 1 udp 1 192.0.2.1 61764 typ host".into()]));
        let restart = |ufrag: &str| {
            Ok(Patch::Restart(ufrag.into(), PASSWORD.into(), vec!["1 1 udp 1 192.0.2.1 61764 typ host".into()]))
        };
        type Case<'a> = (&'a str, String, Result<Patch, u16>);
        let cases: [Case<'_>; 17] = [
            ("\"one\"", with("EsAw"), trickle()),
            ("\"zero\", \"one\"", with("EsAw"), trickle()),
            ("*", with("EsAw"), trickle()),
            ("\"one\"", candidate.into(), trickle()),
            ("\"one\"", "a=end-of-candidates\r\n".into(), Ok(Patch::Trickle(vec![]))),
            ("\"zero\"", with("EsAw"), Err(412)),
            ("W/\"one\"", with("EsAw"), Err(412)),
            ("", with("EsAw"), Err(412)),
            ("*", with("ysXw"), restart("ysXw")),
            ("\"one\"", with("ysXw"), restart("ysXw")),
            ("\"zero\"", with("ysXw"), Err(412)),
            ("*", String::new(), Err(400)),
            ("*", "hello".into(), Err(400)),
            ("*", "{\"candidate\": \"=\"}".into(), Err(400)),
            ("*", "a=ice-ufrag:ysXw\r\n".into(), Err(400)),
            ("*", format!("a=ice-ufrag:y\r\na=ice-pwd:{PASSWORD}\r\n"), Err(400)),
            ("*", format!("a=ice-ufrag:yy\"y\r\na=ice-pwd:{PASSWORD}\r\n"), Err(400)),
        ];
        for (if_match, body, wanted) in cases {
            let got = resource(None).patch(Some(if_match), &body).map_err(|problem| problem.status);
            assert_eq!(got, wanted, "{if_match} {body}");
        }
    }
}
