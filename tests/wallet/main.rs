//! `millrace wallet`, `stake`, `key` and `deploy` as a person runs them: the built program, on an embedded chain whose clock the test owns.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod deploying;
mod disputes;
mod keys;
mod locks;
mod staking;
mod stream_keys;
mod winners;

use std::fs::{File, Permissions};
use std::future::Future;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use alloy::primitives::{Address, U256, keccak256};
use alloy::signers::local::PrivateKeySigner;
use millrace_contracts::devnet::{Devnet, Genesis};
use millrace_contracts::{AddressBook, Chain};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// What a run of the program came to.
struct Ran {
    ok: bool,
    out: String,
    err: String,
}

impl Ran {
    /// It failed, and says why in these words.
    #[track_caller]
    fn refused(&self, words: &str) {
        assert!(!self.ok, "it succeeded: {}", self.out);
        assert!(self.err.contains(words), "it does not say {words:?}: {}", self.err);
    }

    /// It succeeded; what it printed.
    #[track_caller]
    fn done(self) -> String {
        assert!(self.ok, "{}{}", self.out, self.err);
        self.out
    }

    /// The same as JSON.
    #[track_caller]
    fn json(self) -> Value {
        let out = self.done();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }
}

/// Runs the program, with nobody at a terminal and nothing of ours in its environment.
fn millrace(arguments: &[&str], stdin: &str) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MILLRACE_")) {
        command.env_remove(name);
    }
    let pipes = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes()); // it may have ended without reading
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { ok: output.status.success(), out: text(output.stdout), err: text(output.stderr) }
}

/// A secret file: readable by its owner alone.
fn secret(path: &Path, text: &str) {
    File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// A key that a name stands for.
fn key(name: &str) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&keccak256(name)).unwrap()
}

fn ether(n: u64) -> U256 {
    U256::from(n) * U256::from(10).pow(U256::from(18))
}

/// So many thousandths of one.
fn milli(n: u64) -> U256 {
    U256::from(n) * U256::from(10).pow(U256::from(15))
}

/// An embedded chain and a folder of keys. `alice` deploys and holds the supply.
struct Place {
    dir: TempDir,
    devnet: Devnet,
    runtime: Runtime,
}

impl Place {
    /// A chain without contracts.
    fn bare() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let accounts = ["alice", "bob", "carol"].map(|name| (key(name).address(), ether(100))).to_vec();
        // Blocks without transactions count confirmations up.
        let genesis = Genesis { accounts, block_time: Some(Duration::from_millis(200)), ..Genesis::default() };
        let devnet = runtime.block_on(Devnet::start(([127, 0, 0, 1], 0).into(), genesis)).unwrap();
        let place = Self { dir: tempfile::tempdir().unwrap(), devnet, runtime };
        for name in ["alice", "bob", "carol"] {
            place.keep(name);
        }
        place
    }

    /// A chain with all contracts, deployed by alice.
    fn new() -> Self {
        let place = Self::bare();
        place.deploy(&["--yes"]).done();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts a name's key into its file, plain.
    fn keep(&self, name: &str) {
        secret(&self.path(name), &alloy::hex::encode(key(name).to_bytes()));
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    fn book(&self) -> AddressBook {
        AddressBook::load(&self.path("book.json")).unwrap()
    }

    /// `millrace deploy` as alice.
    fn deploy(&self, flags: &[&str]) -> Ran {
        let (url, key, out) = (self.devnet.rpc_url(), self.path("alice"), self.path("book.json"));
        let (key, out) = (key.to_str().unwrap(), out.to_str().unwrap());
        millrace(&[&["deploy", "--rpc-url", &url, "--keystore", key, "--out", out], flags].concat(), "")
    }

    /// A command as `who`, on this chain.
    fn run(&self, who: &str, arguments: &[&str]) -> Ran {
        let (url, key, book) = (self.devnet.rpc_url(), self.path(who), self.path("book.json"));
        let (key, book) = (key.to_str().unwrap(), book.to_str().unwrap());
        millrace(&[arguments, &["--rpc-url", &url, "--address-book", book, "--keystore", key]].concat(), "")
    }

    /// The same without a question, as JSON.
    #[track_caller]
    fn json(&self, who: &str, arguments: &[&str]) -> Value {
        self.run(who, &[arguments, &["--yes", "--json"]].concat()).json()
    }

    /// A client of its own, beside the program.
    fn chain(&self, who: &str) -> Chain {
        let contracts = self.book().addresses().unwrap();
        self.block_on(Chain::connect(&self.devnet.rpc_url(), contracts, key(who))).unwrap()
    }

    /// Tokens from alice.
    fn give(&self, to: &str, amount: &str) {
        self.json("alice", &["wallet", "send", &address(to), amount]);
    }

    fn advance(&self, hours: u64) {
        self.devnet.advance(Duration::from_secs(hours * 3600));
    }

    /// Half an hour: what is so many hours away is then the same number of them away for the rest of the test.
    fn advance_half_an_hour(&self) {
        self.devnet.advance(Duration::from_secs(1800));
    }

    /// How many transactions an account has sent.
    fn nonce(&self, who: &str) -> Value {
        self.rpc("eth_getTransactionCount", serde_json::json!([key(who).address(), "latest"]))
    }

    fn rpc(&self, method: &str, params: Value) -> Value {
        let call = serde_json::json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        self.ask(|client| client.post(self.devnet.rpc_url()).json(&call))["result"].take()
    }

    /// What a node's API says.
    fn get(&self, url: &str) -> Value {
        self.ask(|client| client.get(url))
    }

    fn ask(&self, request: impl FnOnce(reqwest::Client) -> reqwest::RequestBuilder) -> Value {
        self.block_on(async {
            let _ = rustls::crypto::ring::default_provider().install_default(); // whoever was first stays
            let answer = request(reqwest::Client::new()).send().await.unwrap();
            answer.json().await.unwrap()
        })
    }
}

/// A name's address, as text.
fn address(name: &str) -> String {
    key(name).address().to_string()
}

/// A figure of a JSON report, in the smallest unit.
#[track_caller]
fn figure(value: &Value) -> U256 {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no figure: {value}"))
}

/// Not an account that any test has.
fn nobody() -> Address {
    Address::repeat_byte(0x77)
}
