//! Each role as an operator runs it: alone, from its own TOML file, on a chain that is not ours (anvil).

use crate::http::{block_on, get_json, rpc};
use crate::media::{Publisher, cuts};
use crate::network::{alone, certificate};
use crate::playlist::Watch;
use crate::process::{signal, tail, wait_for, wait_for_exit};
use alloy::primitives::U256;
use alloy::signers::local::PrivateKeySigner;
use millrace_contracts::bindings::MillraceToken;
use millrace_contracts::{Addresses, Chain, Step, deploy};
use millrace_node::keys::{create_key, read_passphrase};
use serde_json::{Value, json};
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// From the start of a process to its readiness: a bond on the chain, devices calibrated.
const START: Duration = Duration::from_secs(40);
/// From SIGTERM to the exit.
const DRAIN: Duration = Duration::from_secs(20);

/// A process of one role, or the chain; killed when it is dropped.
struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    fn start(command: &mut Command, log: PathBuf) -> Self {
        let out = File::create(&log).unwrap();
        let child = command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out).spawn().unwrap();
        Self { child, log }
    }

    /// Looks until `find` finds something, while the process runs.
    fn until<T>(&mut self, what: &str, mut find: impl FnMut() -> Result<T, String>) -> T {
        wait_for(what, START, || match self.child.try_wait().unwrap() {
            Some(status) => panic!("{what}: the process ended: {status}"),
            None => find(),
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), tail(&self.log, 40));
        }
    }
}

/// Anvil on a free port: the process and its URL.
fn anvil(dir: &Path) -> (Process, String) {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("contracts/node_modules/.bin/anvil");
    let log = dir.join("anvil.log");
    // A base fee as low as on an L2, so that the default face value is worth its redemption.
    let mut process =
        Process::start(Command::new(program).args(["--port", "0", "--block-base-fee-per-gas", "1000000"]), log.clone());
    let url = process.until("anvil listens", || {
        let text = std::fs::read_to_string(&log).unwrap();
        let address = text.lines().find_map(|line| line.strip_prefix("Listening on "));
        address.map(|address| format!("http://{}", address.trim())).ok_or(text)
    });
    (process, url)
}

/// An account with 100 ETH.
fn account(url: &str) -> PrivateKeySigner {
    let signer = PrivateKeySigner::random();
    rpc(url, "anvil_setBalance", &json!([signer.address(), "0x56bc75e2d63100000"])).unwrap();
    signer
}

/// Starts `role` with `node` as more lines of `[node]` and `section` as its part of the TOML file; the process and what it says once it serves.
fn role(
    dir: &Path,
    url: &str,
    contracts: &Addresses,
    role: &str,
    signer: &PrivateKeySigner,
    node: &str,
    section: &str,
) -> (Process, Value) {
    let data = dir.join(role);
    std::fs::create_dir(&data).unwrap();
    // One of them has its key under a passphrase.
    let secret = data.join("passphrase");
    let mut file = File::options().create_new(true).write(true).mode(0o600).open(&secret).unwrap();
    std::io::Write::write_all(&mut file, b"the river under the wheel\n").unwrap();
    let passphrase = (role == "transcoder").then(|| read_passphrase(&secret).unwrap());
    create_key(&data.join("identity.key"), signer, passphrase.as_ref()).unwrap();
    let passphrase_file = if passphrase.is_some() { secret } else { PathBuf::new() };
    let config = dir.join(format!("{role}.toml"));
    let text = format!(
        "[node]\nname = {role:?}\ndata_dir = {data:?}\nhttp_listen = \"127.0.0.1:0\"\npassphrase_file = {passphrase_file:?}\n{node}\n\
         [chain]\nrpc_url = {url:?}\nregistry = \"{}\"\nbroker = \"{}\"\n\n[{role}]\n{section}",
        contracts.registry, contracts.broker
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    let mut process = Process::start(
        command.args([role.as_ref(), "--config".as_ref(), config.as_os_str()]),
        dir.join(format!("{role}.log")),
    );
    let ready = process.until(&format!("the {role} is ready"), || {
        let text = std::fs::read_to_string(data.join("ready.json")).map_err(|error| error.to_string())?;
        serde_json::from_str(&text).map_err(|error| format!("{text}: {error}"))
    });
    (process, ready)
}

/// The lines of `[node]` with HTTPS on a free port.
fn https(dir: &Path) -> String {
    let [chain, key] = certificate(dir);
    format!("https_listen = \"127.0.0.1:0\"\ntls_certificate = {chain:?}\ntls_key = {key:?}\n")
}

#[test]
fn each_role_runs_alone_on_another_chain_and_is_paid_there() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let (_anvil, url) = anvil(dir.path());
    let deployer = account(&url);
    let contracts = block_on(deploy(&url, deployer.clone())).unwrap();
    let [b, o, t] = std::array::from_fn(|_| account(&url));
    let treasury = block_on(Chain::connect(&url, contracts, deployer)).unwrap();
    for bonded in [&o, &t] {
        let call = MillraceToken::transferCall {
            to: bonded.address(),
            value: U256::from(1000) * U256::from(10).pow(U256::from(18)),
        };
        block_on(treasury.make(&Step::call("send MILL", contracts.token, &call))).unwrap();
    }
    let start =
        |name, signer, node: &str, section: &str| role(dir.path(), &url, &contracts, name, signer, node, section);

    let (orchestrator, o_ready) = start("orchestrator", &o, "", "listen = \"127.0.0.1:0\"\n");
    let (transcoder, t_ready) =
        start("transcoder", &t, "", &format!("orchestrator = \"{}\"\nencoder = \"x264\"\n", o.address()));
    let keys = "keys = [{ name = \"alone\", key = \"key-of-the-stream\" }]";
    let section = format!(
        "rtmp_listen = \"127.0.0.1:0\"\nrtmps_listen = \"127.0.0.1:0\"\norchestrators = [\"{}\"]\n{keys}\n",
        o.address()
    );
    let (broadcaster, b_ready) = start("broadcaster", &b, &https(dir.path()), &section);
    let http = |ready: &Value| format!("http://{}", ready["http"].as_str().unwrap());

    let ingest = get_json(&format!("{}/api/v1/ingest", http(&b_ready))).unwrap();
    let rtmps = format!("{}/key-of-the-stream", ingest["rtmps_url"].as_str().unwrap());
    let config = dir.path().join("broadcaster.toml");
    let made = Command::new(env!("CARGO_BIN_EXE_millrace"))
        .args(["key", "new", "other", "--json", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert!(made["rtmps_url"].as_str().unwrap().starts_with(ingest["rtmps_url"].as_str().unwrap()), "{made}");
    let _publisher = Publisher::file(cuts(), -1, &rtmps);
    let mut watch = Watch::new(format!("{}/live/alone/master.m3u8", http(&b_ready)));
    wait_for("the ladder is listed", START, || {
        watch.look()?;
        watch.seen.get("360p").filter(|of| of.len() >= 2).map(drop).ok_or_else(|| format!("{:?}", watch.seen.keys()))
    });
    watch.assert_whole();
    watch.assert_same_frames();
    let secure = made["hls_url"].as_str().unwrap().replace("/other/", "/alone/");
    assert!(secure.starts_with(&format!("https://{}/", b_ready["https"].as_str().unwrap())), "{made} {b_ready}");
    let played = Command::new("curl")
        .args(["-sS", "--http2", "--compressed", "-w", "%{http_version}", "--cacert"])
        .args([dir.path().join("chain.pem").as_os_str(), secure.as_ref()])
        .output()
        .unwrap();
    let played = String::from_utf8(played.stdout).unwrap();
    assert!(played.starts_with("#EXTM3U") && played.ends_with('2'), "{played}");
    for ready in [&o_ready, &t_ready] {
        wait_for("tickets are received", START, || {
            let tickets = get_json(&format!("{}/api/v1/tickets", http(ready)))?;
            if tickets["received"]["count"].as_u64() > Some(0) { Ok(()) } else { Err(tickets.to_string()) }
        });
    }

    // In the order in which a stream flows.
    for (name, mut process) in
        [("broadcaster", broadcaster), ("transcoder", transcoder), ("orchestrator", orchestrator)]
    {
        assert!(signal("TERM", process.child.id().into()));
        let status = wait_for_exit(&format!("the {name} drains and exits after SIGTERM"), &mut process.child, DRAIN);
        assert_eq!(status.code(), Some(0), "the {name} ends in {status}");
    }
}

#[test]
fn a_wrong_certificate_is_a_fault_of_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let lines = https(dir.path());
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = dir.path().join("key.pem");
    for (wrong, said) in [
        (Some(other.signing_key.serialize_pem()), "is not the key of the certificate in node.tls_certificate"),
        (None, "cannot be read"),
    ] {
        match wrong {
            Some(text) => std::fs::write(&key, text).unwrap(),
            None => std::fs::remove_file(&key).unwrap(),
        }
        let config = dir.path().join("transcoder.toml");
        let data = dir.path().join("data");
        std::fs::write(
            &config,
            format!("[node]\ndata_dir = {data:?}\nhttp_listen = \"127.0.0.1:0\"\n{lines}[transcoder]\n"),
        )
        .unwrap();
        let ended = Command::new(env!("CARGO_BIN_EXE_millrace"))
            .args(["transcoder".as_ref(), "--config".as_ref(), config.as_os_str()])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(64), "{told}");
        assert!(told.contains("node.tls_key") && told.contains(said), "{told}");
    }
}

#[test]
fn a_network_whose_node_is_set_wrongly_does_not_come_up_and_says_what_its_node_said() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let mut up = Command::new(env!("CARGO_BIN_EXE_millrace"))
        .args(["up", "--ports", "auto", "--source", "none", "--data-dir"])
        .arg(dir.path().join("data"))
        .env("MILLRACE_BROADCASTER_HTTPS_LISTEN", "127.0.0.1:0")
        .stderr(File::create(dir.path().join("err")).unwrap())
        .spawn()
        .unwrap();
    let status = wait_for_exit("it gives up", &mut up, START);
    let told = tail(&dir.path().join("err"), 1);
    assert!(!status.success(), "{told}");
    assert!(
        told.contains("broadcaster does not start: ") && told.contains("unknown key MILLRACE_BROADCASTER_HTTPS_LISTEN"),
        "{told}"
    );
}
