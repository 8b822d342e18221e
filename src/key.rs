//! `millrace key`: a broadcaster's stream keys, made, listed and revoked in its database while it runs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use alloy::primitives::B256;
use millrace_broadcaster::BroadcasterConfig;
use millrace_broadcaster::ingest::keyring;
use millrace_broadcaster::ingest::rtmp::APP;
use millrace_broadcaster::origin::check_name;
use millrace_hop::account::DATABASE;
use millrace_hop::{unix_now, unix_now_ms};
use millrace_node::sections::NodeConfig;
use millrace_store::{Store, StreamKeyRow};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Failure;
use crate::cli::act::say;
use crate::cli::sheet::{Cell, Sheet, list, table};
use crate::role;

/// Hex digits of a key's hash that people see: they tell a node's keys apart, and are no help to whoever wants to publish.
const ID_DIGITS: usize = 12;
/// So many of them name a key at least.
const LEAST_DIGITS: usize = 4;
/// What stands for a host that only the operator knows.
const HOST: &str = "YOUR-HOST";

/// The command line of `millrace key`.
#[derive(Debug, clap::Args)]
pub struct KeyArgs {
    /// The broadcaster's configuration file.
    #[arg(long, global = true, env = "MILLRACE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Prints JSON: times in unix seconds.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, clap::Subcommand)]
enum KeyCommand {
    /// Make a key and print it, this once: a running broadcaster takes it at once.
    New {
        /// Public name of the stream, part of its address; several keys may have one name.
        name: String,
    },
    /// List the keys that were made here: never the keys themselves, nor those of the configuration.
    List,
    /// Print an address to watch a stream by until some hours from now, for a broadcaster with a playback_secret.
    Sign {
        /// Public name of the stream.
        name: String,
        /// How long it lets its viewer in.
        #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..=8760))]
        hours: u64,
    },
    /// Revoke a key for good: a running broadcaster ends what is published with it within seconds.
    Revoke {
        /// Its id, as the list shows it, or the first four digits of it or more.
        id: String,
    },
}

/// Runs it.
pub fn main(args: KeyArgs) -> Result<(), Failure> {
    let path = args.config.ok_or_else(|| Failure::usage("which broadcaster? --config names its configuration file"))?;
    let (node, config) = role::broadcaster(&path).map_err(Failure::usage)?;
    let (report, text) = match args.command {
        KeyCommand::Sign { name, hours } => sign(&node, &config, &name, hours)?,
        KeyCommand::New { name } => with_store(&node, async |store| new(store, &node, &config, &name).await)?,
        KeyCommand::List => with_store(&node, async |store| keys(store).await)?,
        KeyCommand::Revoke { id } => with_store(&node, async |store| revoke(store, &id).await)?,
    };
    say(&if args.json { serde_json::to_string_pretty(&report)? + "\n" } else { text });
    Ok(())
}

/// Does something with the broadcaster's database.
fn with_store<T>(node: &NodeConfig, act: impl AsyncFnOnce(&Store) -> Result<T, Failure>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let database = Path::new(&node.data_dir).join(DATABASE);
        if !database.exists() {
            let path = database.display();
            return Err(Failure::usage(format!(
                "there is no {path}: start the broadcaster once, keys can be made while it runs"
            )));
        }
        let store = Store::open(&database.to_string_lossy()).await?;
        let done = act(&store).await;
        store.close().await;
        done
    })
}

async fn new(
    store: &Store,
    node: &NodeConfig,
    config: &BroadcasterConfig,
    name: &str,
) -> Result<(Value, String), Failure> {
    check_name(name).map_err(Failure::usage)?;
    let key = keyring::new_key();
    let hash = keyring::hash(&key);
    store.add_stream_key(hash, name, unix_now_ms()).await?;
    let id = id(hash);
    let Addresses { rtmp, rtmps, srt, web } = addresses(node, config);
    let (rtmp, whip) = (format!("rtmp://{rtmp}/{APP}"), format!("{web}/whip"));
    let watch = format!("{web}/live/{name}/master.m3u8");
    let report = json!({
        "name": name,
        "id": id,
        "key": key,
        "rtmp_url": format!("{rtmp}/{key}"),
        "rtmps_url": rtmps.as_ref().map(|rtmps| format!("rtmps://{rtmps}/{APP}/{key}")),
        "srt_url": srt.as_ref().map(|srt| format!("srt://{srt}?streamid={key}")),
        "whip_url": whip,
        "hls_url": watch,
    });
    let rtmps = rtmps.map(|rtmps| format!("RTMPS   rtmps://{rtmps}/{APP}/{key}\n  ")).unwrap_or_default();
    let srt = srt.map(|srt| format!("SRT     srt://{srt}?streamid={key}\n  ")).unwrap_or_default();
    let text = format!(
        "key       {key}\n\
         id        {id}\n\
         \n\
         The key is shown this once: only its hash is kept. Publish with it by\n\
         \n  \
         RTMP    {rtmp}/{key}\n  \
         {rtmps}{srt}WHIP    {whip}, with the key as bearer token\n\
         \n\
         and watch\n\
         \n  \
         HLS     {watch}\n"
    );
    Ok((report, text))
}

fn sign(node: &NodeConfig, config: &BroadcasterConfig, name: &str, hours: u64) -> Result<(Value, String), Failure> {
    check_name(name).map_err(Failure::usage)?;
    if config.playback_secret.is_empty() {
        return Err(Failure::usage("this broadcaster has no playback_secret: anybody may watch its streams"));
    }
    let access = config.access().map_err(Failure::usage)?;
    let expiry = unix_now() + hours * 3600;
    let url = format!("{}{}", addresses(node, config).web, access.path(name, expiry));
    Ok((json!({ "name": name, "expires_at": expiry, "hls_url": url }), url + "\n"))
}

async fn keys(store: &Store) -> Result<(Value, String), Failure> {
    let rows: Vec<Sheet> = store.stream_keys().await?.iter().map(sheet).collect();
    Ok((list(&rows), table(&rows, unix_now())))
}

async fn revoke(store: &Store, asked: &str) -> Result<(Value, String), Failure> {
    let asked = asked.trim().to_lowercase();
    if asked.len() < LEAST_DIGITS {
        return Err(Failure::usage(format!("{asked:?} is no id: millrace key list shows them")));
    }
    let known = store.stream_keys().await?;
    let mut found = known.iter().filter(|row| id(row.hash).starts_with(&asked));
    let row = match (found.next(), found.next()) {
        (Some(row), None) => row,
        (Some(_), Some(_)) => return Err(Failure::usage(format!("several ids begin with {asked}: give more digits"))),
        (None, _) => return Err(Failure::usage(format!("no key has the id {asked}: millrace key list shows them"))),
    };
    let asked = id(row.hash);
    if !store.revoke_stream_key(row.hash, unix_now_ms()).await? {
        return Err(Failure::usage(format!("key {asked} of {} is revoked already", row.name)));
    }
    let text = format!(
        "key {asked} of {} is revoked: a running broadcaster ends what is published with it within seconds\n",
        row.name
    );
    Ok((json!({ "id": asked, "name": row.name }), text))
}

fn id(hash: B256) -> String {
    alloy::hex::encode(hash).chars().take(ID_DIGITS).collect()
}

fn sheet(row: &StreamKeyRow) -> Sheet {
    let time = |ms: Option<u64>| Cell::Time(ms.unwrap_or(0) / 1_000);
    Sheet(vec![
        ("name", Cell::text(&row.name)),
        ("id", Cell::text(id(row.hash))),
        ("created", time(Some(row.created_ms))),
        ("used", time(row.used_ms)),
        ("revoked", time(row.revoked_ms)),
    ])
}

/// Where a node takes streams, and where it is on the web: by https where it has that.
struct Addresses {
    rtmp: String,
    rtmps: Option<String>,
    srt: Option<String>,
    web: String,
}

/// As far as this machine can tell: as the node said when it last started, which knows ports that the system picked, else as it is
/// configured.
fn addresses(node: &NodeConfig, config: &BroadcasterConfig) -> Addresses {
    #[derive(Default, Deserialize)]
    struct Ready {
        http: Option<SocketAddr>,
        https: Option<SocketAddr>,
        rtmp: Option<SocketAddr>,
        rtmps: Option<SocketAddr>,
        srt: Option<SocketAddr>,
    }
    let said = std::fs::read(Path::new(&node.data_dir).join("ready.json")).ok();
    let said: Ready = said.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    let show = |said: Option<SocketAddr>, configured: &str| match said.or_else(|| configured.parse().ok()) {
        Some(address) if address.ip().is_unspecified() => format!("{HOST}:{}", address.port()),
        Some(address) => address.to_string(),
        None => configured.to_owned(),
    };
    Addresses {
        rtmp: show(said.rtmp, &config.rtmp_listen),
        rtmps: (!config.rtmps_listen.is_empty()).then(|| show(said.rtmps, &config.rtmps_listen)),
        srt: (!config.srt_listen.is_empty()).then(|| show(said.srt, &config.srt_listen)),
        web: match node.https_listen.as_str() {
            "" => format!("http://{}", show(said.http, &node.http_listen)),
            listen => format!("https://{}", show(said.https, listen)),
        },
    }
}
