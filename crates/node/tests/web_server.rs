//! The HTTP server of a node against clients of its own kind (curl, hyper) and against those who mean it no good.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a helper that fails fails its test

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::routing::get;
use futures::StreamExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use millrace_node::http::{Limits, Server, is_local, listen};
use millrace_node::tls::{Certificate, Keys};
use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::Command;
use tokio::sync::{Barrier, Notify, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Nothing here takes longer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// A limit that a test waits for.
const SHORT: Duration = Duration::from_secs(2);
/// Requests that wait for each other.
const TOGETHER: usize = 100;
/// Longer than all buffers between a server and its client.
const LARGE: usize = 64 << 20;
const KEYS: Keys = Keys { certificate: "node.tls_certificate", key: "node.tls_key", listener: "node.https_listen" };

/// What the routes of the tests share.
#[derive(Clone)]
struct World {
    together: Arc<Barrier>,
    go: Arc<Notify>,
    /// Told when a held request has come, and when a large body is given up.
    came: mpsc::UnboundedSender<&'static str>,
}

struct Node {
    http: SocketAddr,
    https: SocketAddr,
    certificate: Arc<Certificate>,
    dir: tempfile::TempDir,
    go: Arc<Notify>,
    told: mpsc::UnboundedReceiver<&'static str>,
    shutdown: CancellationToken,
    server: JoinHandle<()>,
}

/// Tells when it is dropped.
struct Held(mpsc::UnboundedSender<&'static str>);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.send("given up"); // the test may be over
    }
}

async fn secret(
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    uri: Uri,
) -> (StatusCode, &'static str) {
    if is_local(from, &headers, &uri) { (StatusCode::OK, "secret") } else { (StatusCode::FORBIDDEN, "") }
}

fn routes(world: World) -> Router {
    let held = |State(world): State<World>| async move {
        world.came.send("came").unwrap();
        world.go.notified().await;
        "held"
    };
    let together = |State(world): State<World>| async move {
        world.together.wait().await;
        "together"
    };
    let large = |State(world): State<World>| async move {
        let (held, chunk) = (Held(world.came), Bytes::from(vec![7; 1 << 20]));
        let chunks = futures::stream::iter(0..LARGE >> 20).map(move |_| {
            let _ = &held;
            Ok::<_, Infallible>(chunk.clone())
        });
        Body::from_stream(chunks)
    };

    Router::new()
        .route("/", get(|| async { "well" }))
        .route("/held", get(held))
        .route("/together", get(together))
        .route("/large", get(large))
        .route("/secret", get(secret))
        .with_state(world)
}

fn issue(dir: &Path) -> PathBuf {
    let issued = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(dir.join("chain.pem"), issued.cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), issued.signing_key.serialize_pem()).unwrap();
    dir.join("chain.pem")
}

async fn node(limits: Limits) -> Node {
    let dir = tempfile::tempdir().unwrap();
    let chain = issue(dir.path());
    let certificate = Certificate::load(KEYS, &chain, &dir.path().join("key.pem")).unwrap();
    let [http, https] = [(); 2].map(|()| listen("127.0.0.1:0".parse().unwrap()).unwrap());
    let (came, told) = mpsc::unbounded_channel();
    let world = World { together: Arc::new(Barrier::new(TOGETHER)), go: Arc::default(), came };
    let (go, shutdown) = (world.go.clone(), CancellationToken::new());
    let [at, secure] = [http.local_addr().unwrap(), https.local_addr().unwrap()];
    let server = Server::new(http, limits).with_https(https, certificate.clone()).unwrap();
    let server = tokio::spawn(server.run(routes(world), shutdown.clone()));
    Node { http: at, https: secure, certificate, dir, go, told, shutdown, server }
}

impl Node {
    fn chain(&self) -> PathBuf {
        self.dir.path().join("chain.pem")
    }

    async fn told(&mut self) -> &'static str {
        timeout(PATIENCE, self.told.recv()).await.unwrap().unwrap()
    }

    async fn assert_serves(&self) {
        assert_eq!(curl(&["--http1.1"], &format!("http://{}/", self.http)).await, "well 1.1 200");
    }
}

/// The body, the version of HTTP and the status; or curl's exit code.
async fn curl(flags: &[&str], url: &str) -> String {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "30", "-w", " %{http_version} %{http_code}"]).args(flags).arg(url);
    let made = command.kill_on_drop(true).output().await.unwrap();
    match made.status.code() {
        Some(0) => String::from_utf8(made.stdout).unwrap(),
        code => format!("exit {code:?}"),
    }
}

/// Waits until the server has closed it.
async fn closed(mut stream: TcpStream) {
    let mut sink = vec![0; 1 << 16];
    let reading = async { while matches!(stream.read(&mut sink).await, Ok(count) if count > 0) {} };
    timeout(PATIENCE, reading).await.expect("the server keeps the connection open");
}

#[tokio::test]
async fn curl_is_served_by_both_versions_on_both_listeners() {
    let node = node(Limits::default()).await;
    let (http, https, chain) = (format!("http://{}/", node.http), format!("https://{}/", node.https), node.chain());
    let chain = chain.to_str().unwrap();
    assert_eq!(curl(&["--http1.1"], &http).await, "well 1.1 200");
    assert_eq!(curl(&["--http2-prior-knowledge"], &http).await, "well 2 200");
    assert_eq!(curl(&["--http1.1", "--cacert", chain], &https).await, "well 1.1 200");
    assert_eq!(curl(&["--http2", "--cacert", chain], &https).await, "well 2 200");
    assert_eq!(curl(&[], &https).await, "exit Some(60)", "a certificate that nobody has issued");
    // The name that HTTP/2 gives is looked at like a Host.
    let secret = format!("http://{}/secret", node.http);
    assert_eq!(curl(&["--http2-prior-knowledge"], &secret).await, "secret 2 200");
    let resolve = format!("evil.example:{}:127.0.0.1", node.http.port());
    let rebound = format!("http://evil.example:{}/secret", node.http.port());
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let told = curl(&[version, "--resolve", &resolve], &rebound).await;
        assert!(told.ends_with(" 403"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_send_a_byte_a_moment_or_nothing_are_dropped_and_others_are_served() {
    let node = node(Limits { idle: SHORT, ..Limits::default() }).await;
    let mut slow = JoinSet::new();
    for n in 0..500 {
        let at = node.http;
        slow.spawn(async move {
            let stream = TcpStream::connect(at).await.unwrap(); // all at once: none is lost on its way in
            let (mut read, mut write) = stream.into_split();
            // Heads without an end, the beginning of HTTP/2, and silence.
            let begun: &[u8] = match n % 3 {
                0 => b"GET / HTTP/1.1\r\nhost: localhost\r\nx: ",
                1 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
                _ => b"",
            };
            write.write_all(begun).await.unwrap();
            let drip = async {
                while n % 3 == 0 && write.write_all(b"x").await.is_ok() {
                    sleep(Duration::from_millis(200)).await;
                }
                std::future::pending::<()>().await;
            };
            let until_closed = async {
                let mut sink = [0; 1 << 10];
                while matches!(read.read(&mut sink).await, Ok(count) if count > 0) {}
            };
            tokio::select! {
                () = drip => {}
                closed = timeout(PATIENCE, until_closed) => closed.unwrap_or_else(|_| panic!("connection {n} is kept")),
            }
        });
    }
    node.assert_serves().await;
    while let Some(dropped) = slow.join_next().await {
        dropped.unwrap();
    }
    node.assert_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_has_its_share_and_others_are_served() {
    let limits = Limits { connections_per_address: 16, spare_loopback: false, ..Limits::default() };
    let node = node(limits).await;
    let (mut kept, mut refused) = (Vec::new(), 0);
    for _ in 0..2_000 {
        let mut stream = TcpStream::connect(node.http).await.unwrap();
        // One that is let in is not answered before it asks.
        if kept.len() < 16 {
            kept.push(stream);
            continue;
        }
        let mut answer = Vec::new();
        let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: "), "{read:?} {answer}");
        refused += 1;
    }
    assert_eq!(refused, 2_000 - 16);
    let told = curl(&["--http1.1"], &format!("http://{}/", node.http)).await;
    assert!(told.ends_with(" 503") || told.starts_with("exit"), "{told}");
    let other = TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = other.connect(node.http).await.unwrap();
    other.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, other.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    drop(kept);
    let served = async {
        while curl(&["--http1.1"], &format!("http://{}/", node.http)).await != "well 1.1 200" {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, served).await.expect("places of connections that were closed are free again");
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_ended() {
    let node = node(Limits { handshake: SHORT, ..Limits::default() }).await;
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(node.https).await.unwrap();
        stream.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]).await.unwrap(); // a ClientHello's first bytes
        slow.push(stream);
    }
    let chain = node.chain();
    let served = curl(&["--http2", "--cacert", chain.to_str().unwrap()], &format!("https://{}/", node.https)).await;
    assert_eq!(served, "well 2 200");
    for stream in slow {
        closed(stream).await;
    }
}

#[tokio::test]
async fn who_stops_reading_is_cut_off_and_who_reads_slowly_is_not() {
    let mut node = node(Limits { stall: SHORT, ..Limits::default() }).await;
    for slow in [true, false] {
        let mut stream = TcpStream::connect(node.http).await.unwrap();
        stream.write_all(b"GET /large HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
        let (mut buffer, mut read) = (vec![0; 1 << 20], 0);
        if slow {
            let reading = async {
                loop {
                    match stream.read(&mut buffer).await.unwrap() {
                        0 => return,
                        count => read += count,
                    }
                    sleep(Duration::from_millis(5)).await;
                }
            };
            timeout(PATIENCE, reading).await.unwrap();
            assert!(read > LARGE, "{read}");
            assert_eq!(node.told().await, "given up", "its body is over");
        } else {
            stream.read_exact(&mut buffer[..1 << 10]).await.unwrap();
            assert_eq!(node.told().await, "given up");
            closed(stream).await;
        }
    }
}

/// A connection of HTTP/2 by prior knowledge whose streams may be sent `window` bytes.
async fn http2(at: SocketAddr, window: u32) -> hyper::client::conn::http2::SendRequest<String> {
    let stream = TcpStream::connect(at).await.unwrap();
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(window);
    let (client, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    client
}

fn request(at: SocketAddr, path: &str) -> hyper::Request<String> {
    hyper::Request::get(format!("http://{at}{path}")).body(String::new()).unwrap()
}

#[tokio::test]
async fn a_stream_whose_client_takes_nothing_is_reset_and_its_neighbours_live() {
    let mut node = node(Limits { stall: SHORT, ..Limits::default() }).await;
    let mut client = http2(node.http, 1_000).await;
    let stuck = client.send_request(request(node.http, "/large")).await.unwrap();
    assert_eq!(stuck.status(), 200);
    assert_eq!(node.told().await, "given up");
    assert_eq!(client.send_request(request(node.http, "/")).await.unwrap().status(), 200);
    drop(stuck);
}

#[tokio::test]
async fn a_hundred_streams_of_one_connection_are_served_at_once() {
    let node = node(Limits::default()).await;
    let mut client = http2(node.http, 1 << 16).await;
    let answers = (0..TOGETHER).map(|_| client.send_request(request(node.http, "/together"))).collect::<Vec<_>>();
    for answer in timeout(PATIENCE, futures::future::join_all(answers)).await.unwrap() {
        assert_eq!(answer.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn the_end_waits_for_answers_that_run_and_cuts_off_those_that_do_not_end() {
    for ends in [true, false] {
        let mut node = node(Limits { drain: if ends { PATIENCE } else { SHORT }, ..Limits::default() }).await;
        let asked: Vec<JoinHandle<String>> = ["--http1.1", "--http2-prior-knowledge"]
            .map(|version| {
                let url = format!("http://{}/held", node.http);
                tokio::spawn(async move { curl(&[version], &url).await })
            })
            .into();
        for _ in &asked {
            assert_eq!(node.told().await, "came");
        }
        node.shutdown.cancel();
        if ends {
            tokio::task::yield_now().await;
            node.go.notify_waiters();
        }
        timeout(PATIENCE, node.server).await.unwrap().unwrap();
        for (asked, version) in asked.into_iter().zip(["1.1", "2"]) {
            let told = timeout(PATIENCE, asked).await.unwrap().unwrap();
            assert_eq!(told == format!("held {version} 200"), ends, "{told}");
        }
        assert!(TcpStream::connect(node.http).await.is_err());
    }
}

#[tokio::test]
async fn a_renewed_certificate_greets_the_next_client() {
    let node = node(Limits::default()).await;
    let url = format!("https://{}/", node.https);
    let old = node.dir.path().join("old.pem");
    std::fs::copy(node.chain(), &old).unwrap();
    assert_eq!(curl(&["--cacert", old.to_str().unwrap()], &url).await, "well 2 200");
    let chain = issue(node.dir.path());
    node.certificate.refresh().unwrap(); // unless it was looked at just now
    assert_eq!(curl(&["--cacert", chain.to_str().unwrap()], &url).await, "well 2 200");
    assert_eq!(curl(&["--cacert", old.to_str().unwrap()], &url).await, "exit Some(60)");
}

const CHILD: &str = "WEB_SERVER_TEST_CHILD";

/// Not a test of its own: the process below, which has few descriptors.
#[test]
fn child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let node = node(Limits::default()).await;
        println!("\nserves {}", node.http);
        let _: Result<(), _> = node.server.await; // killed
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_descriptors_serves_again_when_it_has_some() {
    let mut child = std::process::Command::new("sh")
        .args(["-c", "ulimit -n 64; exec \"$0\" --exact child --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let at: SocketAddr =
        lines.map_while(Result::ok).find_map(|line| line.strip_prefix("serves ")?.parse().ok()).unwrap();
    let mut crowd = Vec::new();
    for _ in 0..120 {
        crowd.push(TcpStream::connect(at).await.unwrap()); // the kernel takes those that the node cannot
    }
    let flags = ["--http1.1", "--max-time", "2"];
    assert!(curl(&flags, &format!("http://{at}/")).await.starts_with("exit"), "it has descriptors left");
    drop(crowd);
    let served = async {
        while curl(&flags, &format!("http://{at}/")).await != "well 1.1 200" {
            sleep(Duration::from_millis(50)).await;
        }
    };
    let served = timeout(PATIENCE, served).await;
    child.kill().unwrap();
    child.wait().unwrap();
    served.expect("it serves again");
}
