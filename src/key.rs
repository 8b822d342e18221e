//! `millrace key`: a broadcaster's stream keys, made, listed and revoked in its database while it runs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use millrace_broadcaster::BroadcasterConfig;
use millrace_broadcaster::keys::{self, Addresses, KeyError, KeyView, NewKey};
use millrace_broadcaster::origin::check_name;
use millrace_hop::unix_now;
use millrace_node::sections::NodeConfig;
use millrace_store::Store;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Failure;
use crate::cli::act::say;
use crate::cli::database::with_store;
use crate::cli::sheet::{Cell, Sheet, list, table};
use crate::role;

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
        KeyCommand::List => with_store(&node, async |store| list_keys(store).await)?,
        KeyCommand::Revoke { id } => with_store(&node, async |store| revoke(store, &id).await)?,
    };
    say(&if args.json { serde_json::to_string_pretty(&report)? + "\n" } else { text });
    Ok(())
}

async fn new(
    store: &Store,
    node: &NodeConfig,
    config: &BroadcasterConfig,
    name: &str,
) -> Result<(Value, String), Failure> {
    let made = keys::make(store, name, &addresses(node, config)).await.map_err(failed)?;
    let NewKey { id, key, rtmp_url, rtmps_url, srt_url, whip_url, hls_url, .. } = &made;
    let rtmps = rtmps_url.as_ref().map(|url| format!("RTMPS   {url}\n  ")).unwrap_or_default();
    let srt = srt_url.as_ref().map(|url| format!("SRT     {url}\n  ")).unwrap_or_default();
    let watch = hls_url.clone().unwrap_or_else(|| format!("the address that millrace key sign {name} prints"));
    let text = format!(
        "key       {key}\n\
         id        {id}\n\
         \n\
         The key is shown this once: only its hash is kept. Publish with it by\n\
         \n  \
         RTMP    {rtmp_url}\n  \
         {rtmps}{srt}WHIP    {whip_url}, with the key as bearer token\n\
         \n\
         and watch\n\
         \n  \
         HLS     {watch}\n"
    );
    Ok((serde_json::to_value(&made)?, text))
}

fn failed(error: KeyError) -> Failure {
    match error {
        KeyError::Store(error) => error.into(),
        error => Failure::usage(error),
    }
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

async fn list_keys(store: &Store) -> Result<(Value, String), Failure> {
    let rows: Vec<Sheet> = keys::list(store).await.map_err(failed)?.iter().map(sheet).collect();
    Ok((list(&rows), table(&rows, unix_now())))
}

async fn revoke(store: &Store, asked: &str) -> Result<(Value, String), Failure> {
    let KeyView { id, name, .. } = keys::revoke(store, asked).await.map_err(failed)?;
    let text =
        format!("key {id} of {name} is revoked: a running broadcaster ends what is published with it within seconds\n");
    Ok((json!({ "id": id, "name": name }), text))
}

fn sheet(key: &KeyView) -> Sheet {
    let time = |ms: Option<u64>| Cell::Time(ms.unwrap_or(0) / 1_000);
    Sheet(vec![
        ("name", Cell::text(&key.name)),
        ("id", Cell::text(&key.id)),
        ("created", time(Some(key.created_at))),
        ("used", time(key.used_at)),
        ("revoked", time(key.revoked_at)),
    ])
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
        signed: !config.playback_secret.is_empty(),
    }
}
