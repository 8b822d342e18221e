//! Every call that a node describes, made by somebody who may not: a call that is new is here by itself, since the list is the description's.

use crate::api::{ELSEWHERE, ask, command, send, sign_in};
use crate::http::get_json;
use crate::network::Network;
use reqwest::Method;
use serde_json::Value;
use std::collections::BTreeSet;

/// What everybody may call. A call that is added here is open to the world.
const PUBLIC: [&str; 9] = [
    "GET chain",
    "GET node",
    "GET openapi.json",
    "GET sampling",
    "GET session",
    "POST session",
    "DELETE session",
    "POST session/challenge",
    "POST rpc",
];

/// A call of the description: what its parameters stand for is never reached.
struct Call {
    method: Method,
    path: String,
    is_public: bool,
}

impl Call {
    fn changes(&self) -> bool {
        !matches!(self.method, Method::GET | Method::HEAD)
    }

    /// This machine may make it without signing in.
    fn is_for_this_machine(&self) -> bool {
        !self.changes() || (self.method == Method::DELETE && self.path.starts_with("recordings/"))
    }
}

fn calls(node: &str) -> Vec<Call> {
    let document = get_json(&format!("{node}/api/v1/openapi.json")).unwrap();
    let mut calls = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, call) in item.as_object().unwrap() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let is_public = call["security"].as_array().unwrap().is_empty();
            let name = path.strip_prefix("/v1/").unwrap();
            let path = name.split('/').map(|part| if part.starts_with('{') { "none" } else { part });
            calls.push(Call { method, path: path.collect::<Vec<_>>().join("/"), is_public });
        }
    }
    calls
}

#[test]
fn no_call_of_the_description_is_open_to_who_may_not_make_it() {
    let recorded = tempfile::tempdir().unwrap();
    let recording = ("MILLRACE_BROADCASTER_RECORDING", recorded.path().to_str().unwrap());
    let network = Network::start_with(&["--source", "none"], &[recording]);
    let ready = &network.ready;
    let nodes = [
        ("broadcaster", &ready.broadcaster_api),
        ("orchestrator", &ready.orchestrator_api),
        ("transcoder-1", &ready.transcoder_apis[0]),
    ];
    for (name, node) in nodes {
        let (over, csrf) = sign_in(&network, node, name);
        let left = ask(Method::DELETE, node, "session").header("cookie", &over).header("x-csrf-token", &csrf);
        assert_eq!(send(left).0, 204, "{name}");
        let (cookie, _) = sign_in(&network, node, name);
        let told = command(&network, name, &["token", "new", "reader"]);
        let reader = told["token"].as_str().unwrap();

        let all = calls(node);
        let open: BTreeSet<String> =
            all.iter().filter(|call| call.is_public).map(|call| format!("{} {}", call.method, call.path)).collect();
        let unknown: Vec<_> = open.iter().filter(|call| !PUBLIC.contains(&call.as_str())).collect();
        assert!(unknown.is_empty(), "{name} opens {unknown:?} to everybody");

        let closed: Vec<&Call> = all.iter().filter(|call| !call.is_public).collect();
        assert!(closed.len() >= 6, "{name} describes {} calls that are not for everybody", closed.len());
        for call in closed {
            let asked = || ask(call.method.clone(), node, &call.path);
            let elsewhere = || asked().header(ELSEWHERE.0, ELSEWHERE.1);
            let refused = |who: &str, request, expected: u16| {
                let (status, told) = send(request);
                let said = format!("{name}: {} {} by {who}: {status} {told}", call.method, call.path);
                assert_eq!((status, &told["status"]), (expected, &Value::from(expected)), "{said}");
                assert!(told["detail"].as_str().is_some_and(|words| words.len() > 20), "{said}");
            };
            refused("a stranger", elsewhere(), 401);
            refused("a wrong token", elsewhere().bearer_auth("mr_0000000000000000000000000000000000000000"), 401);
            refused("a session that is over", elsewhere().header("cookie", &over), 401);
            refused("a made-up session", elsewhere().header("cookie", made_up(&cookie)), 401);
            if call.changes() {
                let signed = || elsewhere().header("cookie", &cookie);
                refused("an owner without a CSRF token", signed(), 403);
                refused("an owner with a wrong CSRF token", signed().header("x-csrf-token", &csrf), 403);
                refused("a token that reads", elsewhere().bearer_auth(reader), 403);
                let foreign = asked().header("origin", "https://evil.example");
                refused("a page of another origin", foreign.header("cookie", &cookie), 403);
            }
            if !call.is_for_this_machine() {
                refused("this machine without a session", asked(), 401);
            }
        }
    }
    network.assert_well();
}

/// A cookie of the same name and length that the node has never given.
fn made_up(cookie: &str) -> String {
    let (name, value) = cookie.split_once('=').unwrap();
    format!("{name}={}", "0".repeat(value.len()))
}
