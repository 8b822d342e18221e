//! The API of a running network: its description holds, strangers stay out, and an owner and a program do what is theirs.

use crate::http::{block_on, client, get_json};
use crate::media::{Publisher, cuts};
use crate::network::Network;
use crate::process::wait_for;
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody at another machine, as far as the node can tell.
pub(crate) const ELSEWHERE: (&str, &str) = ("x-forwarded-for", "192.0.2.1");

/// The status, and the body where it is JSON.
pub(crate) fn send(request: RequestBuilder) -> (u16, Value) {
    let answer = block_on(async { request.send().await }).unwrap();
    let status = answer.status().as_u16();
    let body = block_on(async { answer.bytes().await }).unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

pub(crate) fn ask(method: Method, node: &str, call: &str) -> RequestBuilder {
    client().request(method, format!("{node}/api/v1/{call}"))
}

pub(crate) fn command(network: &Network, node: &str, args: &[&str]) -> Value {
    let config = network.config(node);
    let mut millrace = Command::new(env!("CARGO_BIN_EXE_millrace"));
    let made = millrace.args(args).arg("--json").arg("--config").arg(config).output().unwrap();
    assert!(made.status.success(), "{args:?}: {}", String::from_utf8_lossy(&made.stderr));
    serde_json::from_slice(&made.stdout).unwrap()
}

/// Asks for all that the description says can be read, and holds each answer against its schema.
fn assert_described(node: &str, document: &Value) -> usize {
    let mut held = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let schema = &item["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        if schema.is_null() || path.contains('{') {
            continue;
        }
        let answer = get_json(&format!("{node}/api{path}")).unwrap();
        let mut whole = schema.clone();
        whole["components"] = document["components"].clone();
        let validator = jsonschema::validator_for(&whole).unwrap();
        let faults: Vec<String> =
            validator.iter_errors(&answer).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
        assert!(faults.is_empty(), "{path} is not as described: {faults:?}\n{answer}");
        held += 1;
    }
    held
}

/// Signs in to the node at `node`, whose configuration is that of `name`, with its own key; the session's cookie and CSRF token.
pub(crate) fn sign_in(network: &Network, node: &str, name: &str) -> (String, String) {
    let key = std::fs::read_to_string(network.config(name).with_extension("").join("identity.key")).unwrap();
    let key: PrivateKeySigner = key.trim().parse().unwrap();
    let challenge = ask(Method::POST, node, "session/challenge").json(&json!({ "address": key.address() }));
    let (status, challenge) = send(challenge.header(ELSEWHERE.0, ELSEWHERE.1));
    assert_eq!(status, 200, "{challenge}");
    let signature = key.sign_message_sync(challenge["message"].as_str().unwrap().as_bytes()).unwrap();
    let answer = json!({ "nonce": challenge["nonce"], "signature": signature.to_string() });
    let told = block_on(async { ask(Method::POST, node, "session").json(&answer).send().await }).unwrap();
    assert_eq!(told.status(), 201);
    let cookie = told.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let session: Value = block_on(async { told.json().await }).unwrap();
    (cookie, session["csrf"].as_str().unwrap().to_owned())
}

#[test]
fn the_description_holds_and_everybody_gets_what_is_theirs() {
    // With everything that a node can do.
    let recorded = tempfile::tempdir().unwrap();
    let recording = ("MILLRACE_BROADCASTER_RECORDING", recorded.path().to_str().unwrap());
    let network = Network::start_with(&["--source", "none"], &[recording]);
    let node = network.ready.broadcaster_api.as_str();
    let _publisher = Publisher::file(cuts(), -1, &network.rtmp(&network.live.key));
    let live = network.until_stream_is(&network.live.name, "live");
    wait_for("segments are paid", PATIENCE, || {
        let tickets = get_json(&format!("{node}/api/v1/tickets"))?;
        if tickets["sent"]["count"].as_u64() > Some(0) { Ok(()) } else { Err(tickets.to_string()) }
    });

    wait_for("a device says how busy it is", PATIENCE, || {
        let devices = get_json(&format!("{}/api/v1/devices", network.ready.transcoder_apis[0]))?;
        let load = &devices["devices"][0]["load"];
        let told = load["utilisation"].is_u64() && load["memory_bytes"].as_u64() > Some(1 << 20);
        if told { Ok(()) } else { Err(devices.to_string()) }
    });

    // The description of each role, as it is committed, and as its calls answer.
    let documents = tempfile::tempdir().unwrap();
    let made = Command::new(env!("CARGO_BIN_EXE_millrace")).arg("docs").arg(documents.path()).status().unwrap();
    assert!(made.success());
    let roles = [node, &network.ready.orchestrator_api, &network.ready.transcoder_apis[0]];
    for (role, api) in ["broadcaster", "orchestrator", "transcoder"].into_iter().zip(roles) {
        let document = get_json(&format!("{api}/api/v1/openapi.json")).unwrap();
        let written = std::fs::read(documents.path().join(format!("{role}.openapi.json"))).unwrap();
        assert_eq!(document, serde_json::from_slice::<Value>(&written).unwrap(), "{role}");
        assert!(assert_described(api, &document) >= 8, "{role}: {document}");
    }

    // Strangers: what a node is, and how to get in.
    for (call, expected) in
        [("node", 200), ("openapi.json", 200), ("streams", 401), ("ingest", 401), ("log", 401), ("config", 401)]
    {
        let (status, told) = send(ask(Method::GET, node, call).header(ELSEWHERE.0, ELSEWHERE.1));
        assert_eq!(status, expected, "{call}: {told}");
        assert_eq!(status == 401, told["detail"].as_str().is_some_and(|words| words.contains("sign in")), "{told}");
    }

    // A program with a token, until it is revoked.
    let token = command(&network, "broadcaster", &["token", "new", "grafana"]);
    let bearer = token["token"].as_str().unwrap();
    let with_token = |method, call| send(ask(method, node, call).bearer_auth(bearer).header(ELSEWHERE.0, ELSEWHERE.1));
    assert_eq!(with_token(Method::GET, "streams").1[0]["name"], live["name"]);
    assert_eq!(with_token(Method::GET, "ingest").0, 403);
    assert_eq!(with_token(Method::POST, "drain").0, 403);
    command(&network, "broadcaster", &["token", "revoke", token["id"].as_str().unwrap()]);
    assert_eq!(with_token(Method::GET, "streams").0, 401);
    assert!(command(&network, "broadcaster", &["token", "list"])[0]["revoked_at"].is_u64());

    // The owner makes a stream key and takes it back.
    let (cookie, csrf) = sign_in(&network, node, "broadcaster");
    let by_owner = |method, call: &str| ask(method, node, call).header("cookie", &cookie).header("x-csrf-token", &csrf);
    let (status, made) = send(by_owner(Method::POST, "keys").json(&json!({ "name": "theirs" })));
    assert_eq!(status, 201, "{made}");
    let theirs = Publisher::file(cuts(), -1, made["rtmp_url"].as_str().unwrap());
    network.until_stream_is("theirs", "live");
    let (_, listed) = send(by_owner(Method::GET, "keys"));
    assert!(listed[0]["id"] == made["id"] && !listed.to_string().contains(made["key"].as_str().unwrap()), "{listed}");
    let revoke = format!("keys/{}", made["id"].as_str().unwrap());
    assert_eq!(send(by_owner(Method::DELETE, &revoke).header("origin", "https://evil.example")).0, 403);
    assert_eq!(send(by_owner(Method::DELETE, &revoke)).0, 200);
    assert_eq!(send(by_owner(Method::DELETE, &revoke)).0, 409);
    network.until_stream_is("theirs", "ended");
    drop(theirs);
    assert_eq!(send(by_owner(Method::POST, "keys").json(&json!({ "name": "a/b" }))).0, 422);

    // What it was configured with and what it says, without its secrets.
    let config = get_json(&format!("{node}/api/v1/config")).unwrap();
    let setting = |key: &str| config.as_array().unwrap().iter().find(|of| of["key"] == key).unwrap().clone();
    assert_eq!(setting("broadcaster.keys")["value"], "set");
    assert_eq!(setting("node.name")["origin"]["file"], json!(network.config("broadcaster")));
    let log = get_json(&format!("{node}/api/v1/log?level=info&limit=2000")).unwrap();
    assert!(log.as_array().unwrap().iter().any(|line| line["message"] == "serving"), "{log}");
    for secret in [&network.live.key, made["key"].as_str().unwrap(), bearer, &csrf] {
        assert!(!config.to_string().contains(secret) && !log.to_string().contains(secret));
    }
    assert_eq!(send(ask(Method::GET, node, "log?level=loud")).0, 422);

    // A transcoder drains: its process ends by itself, and whoever started it starts it again.
    let worker = &network.ready.transcoder_apis[0];
    let operate = command(&network, "transcoder-1", &["token", "new", "ops", "--role", "operate"]);
    assert_eq!(send(ask(Method::POST, worker, "drain")).0, 401, "this machine alone does not do");
    let (status, told) = send(ask(Method::POST, worker, "drain").bearer_auth(operate["token"].as_str().unwrap()));
    assert_eq!((status, &told["draining"]), (202, &json!(true)));
    wait_for("the transcoder has drained", PATIENCE, || {
        let said = network.logs();
        if said.contains(" drained") { Ok(()) } else { Err(said) }
    });
}

/// An open stream of events.
struct Listening {
    answer: reqwest::Response,
    read: String,
}

impl Listening {
    fn to(node: &str, topics: &str, last: Option<&str>) -> Self {
        let mut asked = reqwest::Client::new().get(format!("{node}/api/v1/events?topics={topics}"));
        if let Some(last) = last {
            asked = asked.header("last-event-id", last);
        }
        let answer = block_on(async { asked.send().await }).unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { answer, read: String::new() }
    }

    /// The next event: its name, id and data.
    fn next(&mut self) -> (String, String, Value) {
        loop {
            if let Some((event, rest)) = self.read.clone().split_once("\n\n") {
                self.read = rest.to_owned();
                let field = |name| event.lines().find_map(|line| line.strip_prefix(name));
                if let (Some(name), Some(id), Some(data)) = (field("event: "), field("id: "), field("data: ")) {
                    return (name.into(), id.into(), serde_json::from_str(data).unwrap());
                }
                continue;
            }
            let chunk = block_on(async { tokio::time::timeout(PATIENCE, self.answer.chunk()).await });
            self.read.push_str(std::str::from_utf8(&chunk.unwrap().unwrap().unwrap()).unwrap());
        }
    }
}

#[test]
fn events_tell_what_changes_and_go_on_where_a_listener_was() {
    let network = Network::start(&["--source", "none"]);
    let node = network.ready.broadcaster_api.as_str();
    let mut all = Listening::to(node, "streams,log", None);
    assert_eq!(all.next().2, json!([]), "the state comes first");
    let _publisher = Publisher::file(cuts(), -1, &network.rtmp(&network.live.key));
    let (mut before, mut last) = (String::new(), String::new());
    let mut topics = std::collections::BTreeSet::new();
    while topics.len() < 2 || before.is_empty() {
        let (topic, id, data) = all.next();
        if topic == "streams" && data[0]["name"] == network.live.name.as_str() {
            before = std::mem::replace(&mut last, id);
        }
        topics.insert(topic);
    }
    let described = get_json(&format!("{node}/api/v1/openapi.json")).unwrap();
    assert!(described["paths"]["/v1/events"]["get"]["parameters"].is_array());

    let mut resumed = Listening::to(node, "streams", Some(&before));
    let (topic, id, _) = resumed.next();
    assert_eq!((topic.as_str(), id), ("streams", last), "the very next of that topic");
    let mut other_life = Listening::to(node, "streams", Some("00000000-1"));
    assert_eq!(other_life.next().0, "reset");
    assert_eq!(other_life.next().0, "streams", "then the state");
    let (status, told) = send(ask(Method::GET, node, "events?topics=weather"));
    assert!(status == 422 && told["detail"].as_str().unwrap().contains("streams"), "{told}");

    let mut kept = Vec::new();
    let full = loop {
        let asked =
            block_on(async { reqwest::Client::new().get(format!("{node}/api/v1/events")).send().await }).unwrap();
        if asked.status() != 200 {
            break asked;
        }
        kept.push(asked);
        assert!(kept.len() < 100, "listeners are bounded");
    };
    assert!(full.status() == 503 && full.headers().contains_key("retry-after"));
}

#[test]
fn no_call_is_served_without_its_description() {
    fn look(folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                look(&path, found);
            } else if path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("http/tests.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.extend(
                    text.lines()
                        .filter(|line| line.contains(".route(\"/v1/"))
                        .map(|line| format!("{}: {line}", path.display())),
                );
            }
        }
    }
    let mut found = Vec::new();
    for folder in ["src", "broadcaster/src", "orchestrator/src", "transcoder/src", "crates/hop/src", "crates/node/src"]
    {
        look(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut found);
    }
    assert!(found.is_empty(), "give these a #[utoipa::path] and OpenApiRouter::routes(routes!(…)) instead: {found:#?}");
}
