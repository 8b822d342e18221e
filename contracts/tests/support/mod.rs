//! Two chains to run the same cases on, the embedded one and anvil, and a hand that makes winning tickets.

pub mod chaos;

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alloy::primitives::{Address, B256, U256, aliases::U40, aliases::U96, keccak256};
use alloy::signers::local::PrivateKeySigner;
use millrace_contracts::bindings::MillraceToken;
use millrace_contracts::devnet::{Devnet, Genesis};
use millrace_contracts::{Addresses, Chain, Redemption, Step, deploy};
use millrace_tickets::{Domain, Signed, Ticket};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

pub const ETHER: u64 = 1_000_000_000_000_000_000;

/// Face value of the tests' tickets, wei.
pub const FACE: u64 = ETHER / 1000;

/// Issue time in the tests' nonces: the past, and the same on every run, so that calldata and its gas are.
pub const ISSUED: u64 = 1_700_000_000;

/// Far from now, for the same reason.
pub const EXPIRY: u64 = 4_000_000_000;

/// A running chain with three funded accounts. It ends when dropped.
pub struct Node {
    pub url: String,
    pub devnet: Option<Devnet>,
    _anvil: Option<Child>,
}

impl Node {
    pub async fn devnet() -> Self {
        let devnet = Devnet::start(([127, 0, 0, 1], 0).into(), Genesis::default()).await.unwrap();
        Self { url: devnet.rpc_url(), devnet: Some(devnet), _anvil: None }.funded().await
    }

    /// `None`, with a printed line, where anvil is not installed.
    pub async fn anvil() -> Option<Self> {
        let Some(binary) = anvil_binary() else {
            println!("skipped on anvil: it is not installed (npm --prefix contracts ci)");
            return None;
        };
        let mut child = Command::new(binary)
            .args(["--port", "0", "--accounts", "1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let listening = async {
            loop {
                let line = lines.next_line().await.unwrap().expect("anvil ended before it listened");
                if let Some(addr) = line.strip_prefix("Listening on ") {
                    return format!("http://{addr}");
                }
            }
        };
        let url = tokio::time::timeout(Duration::from_secs(30), listening).await.expect("anvil did not listen");
        // What it prints from now on must not fill the pipe; the task ends with the process.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Some(Self { url, devnet: None, _anvil: Some(child) }.funded().await)
    }

    async fn funded(self) -> Self {
        for who in [&payer(), &payee(), &stranger()] {
            self.rpc("anvil_setBalance", json!([who.address(), U256::from(100) * U256::from(ETHER)])).await;
        }
        self
    }

    /// One raw call that must succeed.
    pub async fn rpc(&self, method: &str, params: Value) -> Value {
        let mut answer = self.raw(json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })).await;
        assert_eq!(answer["error"], Value::Null, "{method}");
        answer["result"].take()
    }

    /// A raw body, single or batch.
    pub async fn raw(&self, body: Value) -> Value {
        http().post(&self.url).json(&body).send().await.unwrap().json().await.unwrap()
    }

    /// The contracts, deployed by the payer, and each party's client.
    pub async fn parties(&self) -> Parties {
        let contracts = deploy(&self.url, payer()).await.unwrap();
        let client = |signer| Chain::connect(&self.url, contracts, signer);
        Parties {
            contracts,
            payer: client(payer()).await.unwrap(),
            payee: client(payee()).await.unwrap(),
            stranger: client(stranger()).await.unwrap(),
        }
    }

    pub async fn advance(&self, seconds: u64) {
        self.rpc("evm_increaseTime", json!([seconds])).await;
        self.rpc("evm_mine", json!([])).await;
    }
}

/// One client for a test's raw requests: making one reads all of the system's certificates.
pub fn http() -> reqwest::Client {
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
        // No connection outlives its request: the runtime that drives it ends with its test.
        reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap()
    });
    CLIENT.clone()
}

/// Waits until `holds`, looking again and again.
pub async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), looking).await.expect("it never came true");
}

pub struct Parties {
    pub contracts: Addresses,
    pub payer: Chain,
    pub payee: Chain,
    pub stranger: Chain,
}

impl Parties {
    /// MILL from the deployer, who holds the supply.
    pub async fn give_tokens(&self, to: Address, value: U256) {
        let call = MillraceToken::transferCall { to, value };
        self.payer.make(&Step::call("send MILL", self.contracts.token, &call)).await.unwrap();
    }

    /// A ticket to the payee that wins; `n` orders them.
    pub fn winner(&self, n: u64) -> Redemption {
        winner(&payer(), self.payee.address(), &self.payer.domain(), n, |_| ())
    }

    /// The same, changed before it is signed.
    pub fn winner_with(&self, n: u64, change: impl FnOnce(&mut Ticket)) -> Redemption {
        winner(&payer(), self.payee.address(), &self.payer.domain(), n, change)
    }
}

pub fn winner(
    signer: &PrivateKeySigner,
    payee: Address,
    domain: &Domain,
    n: u64,
    change: impl FnOnce(&mut Ticket),
) -> Redemption {
    let payee_rand = keccak256(format!("payee {n}"));
    let mut ticket = Ticket {
        payer: payer().address(),
        payee,
        faceValue: U96::from(FACE),
        winProb: u64::MAX,
        nonce: ISSUED << 24 | n,
        expiry: U40::from(EXPIRY),
        payeeCommit: keccak256(payee_rand),
        payerRand: keccak256(format!("payer {n}")),
        workHash: keccak256(format!("work {n}")),
    };
    change(&mut ticket);
    let Signed { body, signature } = Signed::sign(ticket, domain, signer).unwrap();
    Redemption { ticket: body, payee_rand, signature }
}

pub fn payer() -> PrivateKeySigner {
    key("payer")
}

pub fn payee() -> PrivateKeySigner {
    key("payee")
}

pub fn stranger() -> PrivateKeySigner {
    key("stranger")
}

fn key(name: &str) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&keccak256(name)).unwrap()
}

/// Another key on each call.
pub fn some_key() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&some_hash()).unwrap()
}

/// Another 32 bytes on each call.
pub fn some_hash() -> B256 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    keccak256(NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes())
}

/// The binary inside the npm package, not the script beside it: the script's child would outlive it.
fn anvil_binary() -> Option<PathBuf> {
    let packages = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("node_modules/@foundry-rs");
    let os = if cfg!(target_os = "macos") { "darwin" } else { "linux" };
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let binary = packages.join(format!("anvil-{os}-{arch}/bin/anvil"));
    binary.exists().then_some(binary)
}
