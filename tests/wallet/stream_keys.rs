//! Stream keys: made, used and revoked beside a running broadcaster.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::{Place, Ran, key, millrace};

/// From the start of a process to what it is for.
const START: Duration = Duration::from_secs(40);
/// From a revocation to the encoder's end.
const SECONDS: Duration = Duration::from_secs(10);

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended
        let _ = self.0.wait();
    }
}

#[track_caller]
fn wait<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// A picture and a tone, until it is told to stop.
fn publish(url: &str, log: &Path) -> Process {
    let inputs = ["-re", "-f", "lavfi", "-i", "testsrc2=s=320x240:r=30", "-f", "lavfi", "-i", "sine"];
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-hide_banner", "-nostdin", "-loglevel", "warning"]).args(inputs);
    ffmpeg.args(["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "30", "-c:a", "aac"]);
    let ffmpeg = ffmpeg.args(["-f", "flv", url]).stdin(Stdio::null()).stdout(Stdio::null());
    Process(ffmpeg.stderr(File::create(log).unwrap()).spawn().unwrap())
}

/// The configuration of a broadcaster in the folder `node`, with `more` in its section.
fn configure(place: &Place, more: &str) -> String {
    let data = place.path("node");
    std::fs::create_dir(&data).unwrap();
    crate::secret(&data.join("identity.key"), &alloy::hex::encode(key("bob").to_bytes()));
    let toml = format!(
        "[node]\ndata_dir = {data:?}\nhttp_listen = \"127.0.0.1:0\"\n[chain]\nrpc_url = {:?}\naddress_book = {:?}\n\
         [broadcaster]\nrtmp_listen = \"127.0.0.1:0\"\n{more}",
        place.devnet.rpc_url(),
        place.path("book.json")
    );
    let config = place.path("node.toml");
    std::fs::write(&config, toml).unwrap();
    config.to_str().unwrap().to_owned()
}

/// Starts it; the process, and what it says once it serves.
fn broadcaster(place: &Place, config: &str) -> (Process, Value) {
    let out = File::create(place.path("node.log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.args(["broadcaster", "--config", config]).stdin(Stdio::null());
    let process = Process(command.stdout(out.try_clone().unwrap()).stderr(out).spawn().unwrap());
    let ready = wait("the broadcaster is ready", START, || {
        serde_json::from_slice(&std::fs::read(place.path("node/ready.json")).ok()?).ok()
    });
    (process, ready)
}

/// The node's one stream, once `good` holds for it.
fn stream(place: &Place, ready: &Value, good: impl Fn(&Value) -> bool) -> Value {
    let streams = format!("http://{}/api/v1/streams", ready["http"].as_str().unwrap());
    wait("the stream is live", START, || place.get(&streams).get(0).cloned().filter(&good))
}

#[test]
fn a_key_is_made_used_and_revoked_while_the_broadcaster_runs() {
    let place = Place::new();
    let config = configure(&place, "");
    let (config, data) = (config.as_str(), place.path("node"));
    let keys = |command: &[&str]| -> Ran { millrace(&[&["key"], command, &["--config", config]].concat(), "") };
    keys(&["list"]).refused("start the node once");
    millrace(&["key", "list"], "").refused("--config");

    let (_broadcaster, ready) = broadcaster(&place, config);
    let rtmp = ready["rtmp"].as_str().unwrap();

    assert!(keys(&["list"]).done().contains("none"));
    keys(&["new", "no/path"]).refused("letters, digits");
    let made = keys(&["new", "show"]).done();
    let first = made.lines().find_map(|line| line.strip_prefix("key")).unwrap().trim().to_owned();
    assert!(first.len() == 32 && made.contains(&format!("rtmp://{rtmp}/live/{first}")), "{made}");
    let second = keys(&["new", "show", "--json"]).json();
    let (url, secret) = (second["rtmp_url"].as_str().unwrap(), second["key"].as_str().unwrap());
    assert!(url.ends_with(secret) && secret != first);

    let (said, listed) = (place.path("ffmpeg.log"), || keys(&["list", "--json"]).json());
    let mut publisher = publish(url, &said);
    stream(&place, &ready, |stream| stream["name"] == "show" && stream["state"] == "live");
    let rows = listed();
    assert_eq!((rows[0]["used_at"].is_null(), rows[1]["used_at"].is_null()), (true, false), "{rows}");

    keys(&["revoke", "0"]).refused("no id");
    keys(&["revoke", "zzzz"]).refused("is no id");
    keys(&["revoke", "00000000"]).refused("nothing has the id 00000000");
    let id = second["id"].as_str().unwrap();
    assert!(keys(&["revoke", &id[..8]]).done().contains("show is revoked"));
    keys(&["revoke", id]).refused("revoked already");
    let status = wait("the encoder is cut off", SECONDS, || publisher.0.try_wait().unwrap());
    assert!(!status.success() && text(&said).contains("revoked"), "{}", text(&said));
    let mut again = publish(url, &said);
    wait("the revoked key is refused", START, || again.0.try_wait().unwrap());
    assert!(text(&said).contains("was revoked"), "{}", text(&said));
    let rows = listed();
    assert_eq!((rows[0]["revoked_at"].is_null(), rows[1]["revoked_at"].is_null()), (true, false), "{rows}");

    // What was shown once is nowhere else.
    let kept = [
        text(&place.path("node.log")),
        text(&data.join("state.sqlite")),
        text(&data.join("state.sqlite-wal")),
        rows.to_string(),
    ];
    for key in [&first, secret] {
        assert!(kept.iter().all(|text| !text.contains(key)), "a key is kept or logged");
    }
}

#[test]
fn an_auth_webhook_names_a_stream_and_sets_its_ladder() {
    let place = Place::new();
    let answer = json!({ "allow": true, "name": "given", "ladder": [{ "height": 144, "bitrate": 200_000 }] });
    let router = Router::new().route("/auth", post(move || async { Json(answer) }));
    let listener = place.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}/auth", listener.local_addr().unwrap());
    place.runtime.spawn(async { axum::serve(listener, router).await.unwrap() });
    let refused = configure(&place, &format!("auth_webhook = {url:?}\n"));
    millrace(&["broadcaster", "--config", &refused], "").refused("auth_webhook_secret has 0 characters");
    std::fs::remove_dir_all(place.path("node")).unwrap();

    let config = configure(&place, &format!("auth_webhook = {url:?}\nauth_webhook_secret = \"0123456789abcdef\"\n"));
    let (_broadcaster, ready) = broadcaster(&place, &config);
    let rtmp = format!("rtmp://{}/live/any", ready["rtmp"].as_str().unwrap());
    let _publisher = publish(&rtmp, &place.path("ffmpeg.log"));
    let found = stream(&place, &ready, |stream| stream["renditions"][0].is_object());
    assert_eq!((&found["name"], &found["renditions"][0]["name"]), (&json!("given"), &json!("144p")), "{found}");
    assert_eq!(found["renditions"].as_array().map(Vec::len), Some(1), "{found}");
}
