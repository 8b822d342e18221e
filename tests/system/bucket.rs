//! Recordings in a bucket of a real S3 server.

use crate::http::{block_on, get};
use crate::media::{Publisher, cuts, decoded};
use crate::process::{output, wait_for};
use crate::recording::{END, PICTURES, checked, network, recordings, until, url, walk};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A real S3 server over a folder: versitygw, which `MILLRACE_S3_SERVER` or the path has.
struct Bucket {
    dir: tempfile::TempDir,
    program: std::ffi::OsString,
    port: u16,
    server: Option<Child>,
}

impl Bucket {
    /// `None` and a line that says so where there is no server.
    fn start() -> Option<Self> {
        let program = std::env::var_os("MILLRACE_S3_SERVER").unwrap_or_else(|| "versitygw".into());
        if output(Command::new(&program).arg("--version")).is_err() {
            // Straight to stderr: the test runner keeps what a passing test prints.
            let _ = writeln!(std::io::stderr(), "\nskipped: no S3 server: MILLRACE_S3_SERVER may name a versitygw");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        for folder in ["data/bucket", "side"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut bucket = Self { dir, program, port, server: None };
        bucket.run();
        Some(bucket)
    }

    fn run(&mut self) {
        let mut server = Command::new(&self.program);
        server.args([
            "--access",
            "millrace",
            "--secret",
            "millracemillrace",
            "--port",
            &format!("127.0.0.1:{}", self.port),
        ]);
        server.args(["posix".as_ref(), "--sidecar".as_ref(), self.dir.path().join("side").as_os_str()]);
        server.arg(self.dir.path().join("data")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.server = Some(server.spawn().unwrap());
    }

    fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        walk(&self.dir.path().join("data/bucket"))
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        self.stop();
    }
}

#[test]
fn a_bucket_is_recorded_into_and_played_from_and_may_be_away_for_a_while() {
    let Some(mut bucket) = Bucket::start() else { return };
    let endpoint = format!("http://127.0.0.1:{}", bucket.port);
    let network = network(
        "s3://bucket/some/where",
        &[
            ("AWS_ENDPOINT_URL", &endpoint),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "millrace"),
            ("AWS_SECRET_ACCESS_KEY", "millracemillrace"),
        ],
    );
    let key = network.rtmp(&network.live.key);
    let (status, said) = Publisher::file(cuts(), 0, &key).ended(END);
    assert!(status.success(), "{said}");
    let recording = &until(&network, 1, "ended")[0];
    let master = checked(&network, recording);
    for variant in &master.variants {
        assert_eq!(decoded(&variant.url), (PICTURES, String::new()), "{}", variant.name);
    }
    assert_eq!(decoded(&url(&network, recording, "clip.mp4?from=3&to=6")), (100, String::new()));
    let ranged = |range: &str| {
        let asked = reqwest::Client::new().get(url(&network, recording, "source/0.m4s")).header("range", range);
        block_on(async {
            let answer = asked.send().await.unwrap();
            (answer.status().as_u16(), answer.bytes().await.unwrap())
        })
    };
    assert_eq!(ranged("bytes=4-7"), (206, "moof".into()));
    assert_eq!(ranged("bytes=99999999-").0, 416);
    assert!(get(&url(&network, recording, "source/999.m4s")).unwrap_err().contains("404"));

    // The server goes and comes back while a stream is live, and so does the node.
    let publisher = Publisher::file(cuts(), -1, &key);
    let status = |state: &'static str, bytes: u64| {
        wait_for(&format!("the recording is {state}"), END, || {
            let recording = network.stream(&network.live.name)?["recording"].clone();
            let there = recording["state"] == state && recording["bytes"].as_u64() > Some(bytes);
            if there { Ok(recording["bytes"].as_u64().unwrap()) } else { Err(recording.to_string()) }
        })
    };
    let before = status("recording", 0);
    bucket.stop();
    status("failing", 0);
    bucket.run();
    status("recording", before + 200_000);
    network.kill_broadcaster();
    publisher.vanish();
    let mended = until(&network, 1, "recovered").into_iter().find(|r| r["state"] == "recovered").unwrap();
    let master = checked(&network, &mended);
    let source = master.variants.iter().find(|v| v.name == "source").unwrap();
    assert_eq!(decoded(&source.url).1, "");

    for recording in recordings(&network).unwrap() {
        let [name, id] = ["name", "id"].map(|key| recording[key].as_str().unwrap());
        let call = format!("{}/api/v1/recordings/{name}/{id}", network.ready.broadcaster_api);
        assert_eq!(block_on(reqwest::Client::new().delete(&call).send()).unwrap().status(), 204);
    }
    assert!(bucket.files().is_empty(), "{:?}", bucket.files());
}
