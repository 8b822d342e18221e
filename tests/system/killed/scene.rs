//! The paying network of this test: a chain in this process, two proxies before it that misbehave, four roles as processes
//! of their own, each with its folder, its two endpoints and its log of all its lives.

use crate::chaos::Chaos;
use crate::process::{signal, tail, wait_for, wait_for_exit};
use alloy::primitives::{Address, U256};
use alloy::signers::local::PrivateKeySigner;
use millrace_contracts::bindings::MillraceToken;
use millrace_contracts::devnet::{Devnet, Genesis};
use millrace_contracts::{Addresses, Chain, Step, deploy};
use millrace_node::keys::create_key;
use serde_json::Value;
use std::fs::File;
use std::future::Future;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What a winner pays, wei: 100 redemptions at the chain's usual base fee.
pub(super) const FACE: u64 = 1_000_000_000_000;
/// Locked for each payee: so few winners that locks run low, are topped up, and a deposit that a reorganisation takes is missed.
const LOCK: u64 = 24 * FACE;
/// Wei per million pixels, of the orchestrator and of the transcoders: a segment of two seconds is worth half a winner or more.
const PRICES: [u64; 2] = [70_000_000_000, 60_000_000_000];
/// Blocks after which a transaction is final. No reorganisation here is as deep.
pub(super) const CONFIRMATIONS: u64 = 4;
/// The chain's usual base fee, wei per gas, and its time between blocks.
pub(super) const BASE_FEE: u64 = 200_000;
const BLOCK_TIME: Duration = Duration::from_secs(1);
/// Coin and MILL of each node at the beginning.
pub(super) const COIN: u64 = 1_000_000_000_000_000_000;
pub(super) const MILL: u64 = 2_000;
/// Own bonds by default, MILL: the orchestrator's, a transcoder's.
pub(super) const BONDS: [u64; 2] = [1_000, 100];
/// From the start of a process to its readiness, in any weather.
const START: Duration = Duration::from_secs(90);
/// From SIGTERM to the exit.
const DRAIN: Duration = Duration::from_secs(20);
/// A role that could not start (no endpoint answered) is started again after this, as by an operator's supervisor.
const RESTART: Duration = Duration::from_millis(300);
/// The stream's key.
pub(super) const KEY: &str = "key-of-the-stream";

/// One role: its process now, and what is kept over all its lives.
pub(super) struct Role {
    pub(super) name: &'static str,
    pub(super) signer: PrivateKeySigner,
    pub(super) data: PathBuf,
    pub(super) log: PathBuf,
    pub(super) kills: u32,
    /// Starts that ended by themselves.
    pub(super) failed: u32,
    config: PathBuf,
    child: Child,
    ended: Option<Instant>,
}

impl Role {
    pub(super) fn address(&self) -> Address {
        self.signer.address()
    }

    /// The subcommand: the name without its number.
    pub(super) fn kind(&self) -> &'static str {
        self.name.trim_end_matches(|c: char| c == '-' || c.is_ascii_digit())
    }

    pub(super) fn database(&self) -> PathBuf {
        self.data.join(millrace_hop::account::DATABASE)
    }

    /// What it said once it served, if it does.
    pub(super) fn ready(&self) -> Result<Value, String> {
        let text = std::fs::read(self.data.join("ready.json")).map_err(|error| format!("{}: {error}", self.name))?;
        serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", self.name))
    }

    fn spawn(kind: &str, config: &Path, log: &Path) -> Child {
        let out = File::options().create(true).append(true).open(log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
        command.arg(kind).arg("--config").arg(config);
        command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out).spawn().unwrap()
    }

    fn start(&mut self) {
        let _ = std::fs::remove_file(self.data.join("ready.json")); // of its last life
        self.child = Self::spawn(self.kind(), &self.config, &self.log);
        self.ended = None;
    }

    /// SIGKILL to this very process, and its next life at once.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.kills += 1;
        self.start();
    }

    /// Starts it again if it has ended by itself, after a pause.
    fn look_after(&mut self) {
        let ended = match self.ended {
            Some(ended) => ended,
            None if self.child.try_wait().unwrap().is_none() => return,
            None => {
                self.failed += 1;
                *self.ended.insert(Instant::now())
            }
        };
        if ended.elapsed() >= RESTART {
            self.start();
        }
    }
}

/// Everything, gone when it is dropped.
pub(super) struct Scene {
    pub(super) roles: Vec<Role>,
    pub(super) devnet: Arc<Devnet>,
    pub(super) proxies: [Chaos; 2],
    pub(super) contracts: Addresses,
    /// The deployer's client, past the proxies.
    pub(super) treasury: Chain,
    pub(super) rtmp: String,
    runtime: tokio::runtime::Runtime,
    _dir: TempDir,
}

impl Drop for Scene {
    fn drop(&mut self) {
        for role in &mut self.roles {
            let _ = role.child.kill();
            let _ = role.child.wait();
            if std::thread::panicking() {
                eprintln!("--- {}\n{}", role.log.display(), tail(&role.log, 40));
            }
        }
    }
}

/// Two ports that were free a moment ago, so that a role is found again where it was.
fn free_ports() -> (u16, u16) {
    let taken = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let ports = taken.iter().map(|tcp| tcp.local_addr().unwrap().port());
    let mut free = ports.filter(|&port| UdpSocket::bind(("127.0.0.1", port)).is_ok());
    (free.next().unwrap(), free.next().unwrap())
}

impl Scene {
    pub(super) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let dir = tempfile::Builder::new().prefix("millrace-killed-").tempdir().unwrap();
        let deployer = PrivateKeySigner::random();
        let names = ["orchestrator", "transcoder-1", "transcoder-2", "broadcaster"];
        let signers = names.map(|_| PrivateKeySigner::random());
        let accounts = signers.iter().chain([&deployer]).map(|signer| (signer.address(), U256::from(COIN)));
        let genesis = Genesis {
            accounts: accounts.collect(),
            base_fee: BASE_FEE,
            block_time: Some(BLOCK_TIME),
            ..Genesis::default()
        };
        let (devnet, proxies, contracts, treasury) = runtime.block_on(async {
            let devnet = Devnet::start(([127, 0, 0, 1], 0).into(), genesis).await.unwrap();
            let url = devnet.rpc_url();
            let contracts = deploy(&url, deployer.clone()).await.unwrap();
            let treasury = Chain::connect(&url, contracts, deployer).await.unwrap();
            for bonded in &signers[..3] {
                let call = MillraceToken::transferCall { to: bonded.address(), value: mill(MILL) };
                treasury.make(&Step::call("send MILL", contracts.token, &call)).await.unwrap();
            }
            let proxies = [Chaos::before(&url).await, Chaos::before(&url).await];
            (Arc::new(devnet), proxies, contracts, treasury)
        });

        let (quic, rtmp) = free_ports();
        let money = |price: u64| {
            format!(
                "face_value_wei = \"{FACE}\"\nprice_per_megapixel = {price}\nredeem_batch = 2\nredeem_after_s = 3\n"
            )
        };
        let orchestrator = signers[0].address();
        let section = |name: &str| match name {
            "orchestrator" => {
                let own = format!("listen = \"127.0.0.1:{quic}\"\ntranscoder_lock_wei = \"{LOCK}\"\n");
                own + "max_transcoder_price = 100000000000\n" + &money(PRICES[0])
            }
            "broadcaster" => format!(
                "rtmp_listen = \"127.0.0.1:{rtmp}\"\norchestrators = [\"{orchestrator}\"]\n\
                 keys = [{{ name = \"paid\", key = \"{KEY}\" }}]\n\
                 max_price_per_megapixel = 100000000000\norchestrator_lock_wei = \"{LOCK}\"\n"
            ),
            // What they would measure is the noise of each other's beginnings.
            _ => format!("orchestrator = \"{orchestrator}\"\nencoder = \"x264\"\ncapacity = 30\n") + &money(PRICES[1]),
        };
        let roles = names.into_iter().zip(signers).map(|(name, signer)| {
            let (data, config) = (dir.path().join(name), dir.path().join(format!("{name}.toml")));
            std::fs::create_dir(&data).unwrap();
            create_key(&data.join("identity.key"), &signer, None).unwrap();
            let kind = name.trim_end_matches(|c: char| c == '-' || c.is_ascii_digit());
            let text = format!(
                "[node]\nname = {name:?}\ndata_dir = {data:?}\nhttp_listen = \"127.0.0.1:0\"\n\n\
                 [log]\nformat = \"json\"\nfilter = \"info,millrace_store=debug\"\n\n\
                 [chain]\nrpc_url = {:?}\nrpc_urls = [{:?}]\nconfirmations = {CONFIRMATIONS}\n\
                 registry = \"{}\"\nbroker = \"{}\"\n\n[{kind}]\n{}",
                proxies[0].url,
                proxies[1].url,
                contracts.registry,
                contracts.broker,
                section(name)
            );
            std::fs::write(&config, text).unwrap();
            let log = dir.path().join(format!("{name}.log"));
            let child = Role::spawn(kind, &config, &log);
            Role { name, signer, data, log, kills: 0, failed: 0, config, child, ended: None }
        });
        let roles = roles.collect();
        let rtmp = format!("rtmp://127.0.0.1:{rtmp}/live/{KEY}");
        Self { roles, devnet, proxies, contracts, treasury, rtmp, runtime, _dir: dir }
    }

    /// Runs what is async to its end.
    pub(super) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Starts again whoever ended by itself.
    pub(super) fn look_after(&mut self) {
        self.roles.iter_mut().for_each(Role::look_after);
    }

    pub(super) fn until_all_ready(&mut self) {
        wait_for("all roles serve", START, || {
            self.look_after();
            self.roles.iter().try_for_each(|role| role.ready().map(drop))
        });
    }

    /// SIGTERM to each in the order in which a stream flows; each has to drain and to end well.
    pub(super) fn stop(&mut self) {
        for name in ["broadcaster", "transcoder-1", "transcoder-2", "orchestrator"] {
            let role = self.roles.iter_mut().find(|role| role.name == name).unwrap();
            assert!(signal("TERM", role.child.id().into()), "{name} has gone before SIGTERM");
            let status = wait_for_exit(&format!("{name} drains and exits after SIGTERM"), &mut role.child, DRAIN);
            assert_eq!(status.code(), Some(0), "{name} ends in {status}");
        }
    }
}

/// MILL in the token's units.
pub(super) fn mill(tokens: u64) -> U256 {
    U256::from(tokens) * U256::from(10).pow(U256::from(18))
}
