//! Who may do what: the one place where that is decided.

use alloy::primitives::Address;
use axum::http::{HeaderMap, Method, StatusCode, header};

use super::super::is_loopback_host;
use super::super::problem::Problem;

/// Who asks. Handlers find it among a request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Nobody that the node knows.
    Anyone,
    /// Whoever sits at the node's own machine.
    ThisMachine,
    /// An owner who is signed in.
    Owner(Address),
    /// A program with a token.
    Machine {
        /// Its name for people.
        name: String,
        /// What it may do.
        power: Power,
    },
}

/// What a token lets a program do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// Read what is no secret.
    Read,
    /// What an owner may, but for signing in.
    Operate,
}

impl Power {
    /// Its name, as the command line and the database have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
        }
    }
}

impl std::str::FromStr for Power {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Read, Self::Operate]
            .into_iter()
            .find(|power| power.name() == text)
            .ok_or_else(|| format!("{text:?} is no role of a token: say read or operate"))
    }
}

impl Caller {
    /// Whether secrets may be told: stream keys, and addresses by which signed streams are watched.
    pub fn is_trusted(&self) -> bool {
        matches!(self, Self::ThisMachine | Self::Owner(_) | Self::Machine { power: Power::Operate, .. })
    }

    /// Whether what is not for the public may be told.
    pub fn may_read(&self) -> bool {
        *self != Self::Anyone
    }
}

/// What a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Nothing,
    Read,
    Trust,
    /// A change of state, which no page of another origin may cause.
    Change,
    /// One that this machine may make without signing in.
    ChangeHere,
}

/// Read by everybody: what a node is, how it is asked, and what the chain says anyway. Delegators need no more.
const PUBLIC: &[&str] = &["/v1/node", "/v1/chain", "/v1/openapi.json", "/v1/sampling", "/v1/session"];
/// Asked by POST, and changing nothing but themselves: the way in, and the chain's own answers.
const PUBLIC_POSTS: &[&str] = &["/v1/session", "/v1/session/challenge", "/v1/rpc"];
/// These tell stream keys.
const SECRET: &[&str] = &["/v1/ingest"];
/// Their deletion was this machine's before there was any signing in, and scripts do it.
const RECORDINGS: &str = "/v1/recordings/";

/// What a call under `/api` needs; one that is not listed needs the most that its method may.
pub(super) fn need(method: &Method, path: &str) -> Need {
    let is_in = |list: &[&str]| list.contains(&path);
    match *method {
        Method::OPTIONS => Need::Nothing,
        Method::GET | Method::HEAD if is_in(PUBLIC) => Need::Nothing,
        Method::GET | Method::HEAD if is_in(SECRET) => Need::Trust,
        Method::GET | Method::HEAD => Need::Read,
        Method::POST if is_in(PUBLIC_POSTS) => Need::Nothing,
        // Signing out of a session that is over is no fault; the cookie's own session asks for its CSRF token.
        Method::DELETE if path == "/v1/session" => Need::Nothing,
        Method::DELETE if path.starts_with(RECORDINGS) => Need::ChangeHere,
        _ => Need::Change,
    }
}

/// What a call needs, for its description: nothing, where everybody may make it.
pub(crate) fn needs(method: &str, path: &str) -> Option<&'static str> {
    let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).ok()?;
    Some(match need(&method, path) {
        Need::Nothing => "",
        Need::Read => "For this machine, owners, and tokens of either role.",
        Need::Trust => "For this machine, owners, and tokens of the role operate.",
        Need::Change => "For owners, and tokens of the role operate.",
        Need::ChangeHere => "For this machine, owners, and tokens of the role operate; not for pages of other origins.",
    })
}

/// What else a request brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    /// It came from a page of another origin.
    pub(super) foreign: bool,
    /// Its CSRF token is that of its session.
    pub(super) csrf: bool,
}

/// Whether a call may be made.
pub(super) fn decide(need: Need, caller: &Caller, asked: Asked) -> Result<(), Problem> {
    let changes = matches!(need, Need::Change | Need::ChangeHere);
    if changes && asked.foreign {
        return Err(forbidden(
            "a page of another origin asks for a change: open the console at the node's own address",
        ));
    }
    match (need, caller) {
        (Need::Nothing, _) | (Need::Read, Caller::ThisMachine | Caller::Owner(_) | Caller::Machine { .. }) => Ok(()),
        (Need::Trust, caller) if caller.is_trusted() => Ok(()),
        (Need::Change | Need::ChangeHere, Caller::Owner(_)) if !asked.csrf => {
            Err(forbidden("the header X-CSRF-Token is not that of the session: GET /api/v1/session tells it"))
        }
        (Need::Change | Need::ChangeHere, Caller::Owner(_) | Caller::Machine { power: Power::Operate, .. })
        | (Need::ChangeHere, Caller::ThisMachine) => Ok(()),
        (_, Caller::Machine { name, power: Power::Read }) => {
            Err(forbidden(format!("the token {name:?} may only read: millrace token new --role operate makes another")))
        }
        (_, Caller::ThisMachine) => Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "from this machine everything can be read, and what changes the node needs its owner: sign in with the owner's wallet in \
             the console, or send a token of millrace token new --role operate as Authorization: Bearer",
        )),
        (_, _) => Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "this call is not for everybody: sign in with the owner's wallet in the console, send a token of millrace token new as \
             Authorization: Bearer, or ask from the node's own machine by its loopback address",
        )),
    }
}

fn forbidden(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, detail)
}

/// Whether a browser says that the page is of another origin than the node's at `host`. Programs say nothing.
pub(super) fn is_foreign(headers: &HeaderMap, host: &str, tls: bool) -> bool {
    // What is not same-origin, nor typed in by a person.
    let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
    if site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return true;
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let origin = origin.to_str().unwrap_or_default();
    let own = match origin.split_once("://") {
        Some(("https", authority)) => authority,
        Some(("http", authority)) if !tls => authority,
        _ => return true,
    };
    !own.eq_ignore_ascii_case(host)
}

/// Whether a node may be signed in to by this name: an IP address or `localhost`, which no stranger can make resolve to it, or one
/// that the operator has named.
pub(super) fn is_own_host(authority: &str, named: &[String]) -> bool {
    let host = authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).map_or(authority, |(host, _)| host);
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let plain = authority.bytes().all(|c| c.is_ascii_alphanumeric() || b".-:[]".contains(&c));
    plain
        && (is_loopback_host(authority)
            || bare.parse::<std::net::IpAddr>().is_ok()
            || named.iter().any(|name| name.eq_ignore_ascii_case(authority) || name.eq_ignore_ascii_case(host)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Asked = Asked { foreign: false, csrf: true };

    fn machine(power: Power) -> Caller {
        Caller::Machine { name: "it".into(), power }
    }

    fn status(need: Need, caller: &Caller, asked: Asked) -> u16 {
        use axum::response::IntoResponse;
        decide(need, caller, asked).err().map_or(200, |problem| problem.into_response().status().as_u16())
    }

    #[test]
    fn each_caller_has_what_is_its_own_and_no_more() {
        let callers = [
            Caller::Anyone,
            Caller::ThisMachine,
            machine(Power::Read),
            machine(Power::Operate),
            Caller::Owner(Address::ZERO),
        ];
        for (need, expected) in [
            (Need::Nothing, [200, 200, 200, 200, 200]),
            (Need::Read, [401, 200, 200, 200, 200]),
            (Need::Trust, [401, 200, 403, 200, 200]),
            (Need::Change, [401, 401, 403, 200, 200]),
            (Need::ChangeHere, [401, 200, 403, 200, 200]),
        ] {
            for (caller, expected) in callers.iter().zip(expected) {
                assert_eq!(status(need, caller, OWN), expected, "{need:?} {caller:?}");
            }
        }
    }

    #[test]
    fn no_page_of_another_origin_changes_anything_and_a_session_needs_its_csrf_token() {
        let owner = Caller::Owner(Address::ZERO);
        for need in [Need::Change, Need::ChangeHere] {
            for caller in [&owner, &Caller::ThisMachine, &machine(Power::Operate)] {
                assert_eq!(status(need, caller, Asked { foreign: true, ..OWN }), 403, "{need:?} {caller:?}");
            }
            assert_eq!(status(need, &owner, Asked { csrf: false, ..OWN }), 403);
            assert_eq!(status(need, &machine(Power::Operate), Asked { csrf: false, ..OWN }), 200, "it has no cookie");
        }
        assert_eq!(
            status(Need::Read, &owner, Asked { foreign: true, csrf: false }),
            200,
            "cors is what guards reading"
        );
    }

    #[test]
    fn what_is_not_listed_needs_the_most() {
        for (method, path, expected) in [
            ("GET", "/v1/node", Need::Nothing),
            ("HEAD", "/v1/node", Need::Nothing),
            ("GET", "/v1/node/", Need::Read),
            ("GET", "/v1/config", Need::Read),
            ("GET", "/v1/ingest", Need::Trust),
            ("POST", "/v1/node", Need::Change),
            ("POST", "/v1/rpc", Need::Nothing),
            ("POST", "/v1/drain", Need::Change),
            ("PUT", "/v1/session", Need::Change),
            ("DELETE", "/v1/keys/ab", Need::Change),
            ("DELETE", "/v1/recordings/a/b", Need::ChangeHere),
            ("OPTIONS", "/v1/drain", Need::Nothing),
        ] {
            assert_eq!(need(&method.parse().unwrap(), path), expected, "{method} {path}");
        }
    }

    #[test]
    fn an_origin_is_held_against_the_host_that_was_asked() {
        let headers =
            |name: &'static str, value: &str| HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
        let origin = |origin: &str, host: &str, tls| is_foreign(&headers("origin", origin), host, tls);
        assert!(!is_foreign(&HeaderMap::new(), "node:80", false), "a program");
        assert!(!origin("http://127.0.0.1:8080", "127.0.0.1:8080", false));
        assert!(!origin("https://node.example", "node.example", true));
        assert!(!origin("https://node.example", "node.example", false), "a proxy may have ended the tls");
        for (other, host, tls) in [
            ("http://127.0.0.1:3000", "127.0.0.1:8080", false),
            ("http://localhost:8080", "127.0.0.1:8080", false),
            ("http://node.example", "node.example", true),
            ("https://node.example.evil", "node.example", true),
            ("null", "node.example", false),
            ("file://", "", false),
        ] {
            assert!(origin(other, host, tls), "{other}");
        }
        assert!(is_foreign(&headers("sec-fetch-site", "same-site"), "node", false));
        assert!(!is_foreign(&headers("sec-fetch-site", "same-origin"), "node", false));
    }

    #[test]
    fn a_name_that_a_stranger_can_point_here_is_not_signed_in_to() {
        let named = ["node.example".to_owned()];
        for own in [
            "127.0.0.1:8080",
            "localhost",
            "192.0.2.1",
            "[2001:db8::1]:80",
            "[::1]",
            "node.example",
            "NODE.example:8443",
        ] {
            assert!(is_own_host(own, &named), "{own}");
        }
        for other in
            ["", "evil.example", "node.example.evil", "127.0.0.1.evil.example:80", "a@127.0.0.1", "localhost\r\nx"]
        {
            assert!(!is_own_host(other, &named), "{other}");
        }
    }
}
