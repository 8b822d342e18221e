//! `millrace token`: by which programs call a node's API, made, listed and revoked in its database while it runs.

use std::path::PathBuf;
use std::str::FromStr;

use millrace_hop::{unix_now, unix_now_ms};
use millrace_node::http::access::{Power, new_token, token_hash};
use millrace_store::{ApiTokenRow, Store, by_id, short_id};
use serde_json::{Value, json};

use crate::Failure;
use crate::cli::act::say;
use crate::cli::database::with_store;
use crate::cli::sheet::{Cell, Sheet, list, table};
use crate::role;

/// A name is for a list, and for words in a log.
const LONGEST_NAME: usize = 64;

/// The command line of `millrace token`.
#[derive(Debug, clap::Args)]
pub struct TokenArgs {
    /// The node's configuration file.
    #[arg(long, global = true, env = "MILLRACE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Prints JSON: times in unix seconds.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, clap::Subcommand)]
enum TokenCommand {
    /// Make a token and print it, this once: a running node takes it at once.
    New {
        /// Who or what it is for.
        name: String,
        /// What it lets its holder do: read what is no secret, or operate the node as its owner does.
        #[arg(long, default_value = "read", value_parser = Power::from_str)]
        role: Power,
    },
    /// List the tokens: never the tokens themselves.
    List,
    /// Revoke a token for good: a running node refuses it at once.
    Revoke {
        /// Its id, as the list shows it, or the first four digits of it or more.
        id: String,
    },
}

/// Runs it.
pub fn main(args: TokenArgs) -> Result<(), Failure> {
    let path = args.config.ok_or_else(|| Failure::usage("which node? --config names its configuration file"))?;
    let (node, _) = role::node_and_chain(&path).map_err(Failure::usage)?;
    let (report, text) = match args.command {
        TokenCommand::New { name, role } => with_store(&node, async |store| new(store, &name, role).await)?,
        TokenCommand::List => with_store(&node, async |store| tokens(store).await)?,
        TokenCommand::Revoke { id } => with_store(&node, async |store| revoke(store, &id).await)?,
    };
    say(&if args.json { serde_json::to_string_pretty(&report)? + "\n" } else { text });
    Ok(())
}

async fn new(store: &Store, name: &str, role: Power) -> Result<(Value, String), Failure> {
    if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
        return Err(Failure::usage(format!(
            "{name:?} is no name: 1 to {LONGEST_NAME} bytes, without control characters"
        )));
    }
    let token = new_token();
    let hash = token_hash(&token);
    store.add_api_token(hash, name, role.name(), unix_now_ms()).await?;
    let (id, role) = (short_id(hash), role.name());
    let text = format!(
        "token     {token}\n\
         id        {id}\n\
         role      {role}\n\
         \n\
         The token is shown this once: only its hash is kept. Send it as\n\
         \n  \
         Authorization: Bearer {token}\n"
    );
    Ok((json!({ "name": name, "id": id, "role": role, "token": token }), text))
}

async fn tokens(store: &Store) -> Result<(Value, String), Failure> {
    let rows: Vec<Sheet> = store.api_tokens().await?.iter().map(sheet).collect();
    Ok((list(&rows), table(&rows, unix_now())))
}

async fn revoke(store: &Store, asked: &str) -> Result<(Value, String), Failure> {
    let known = store.api_tokens().await?;
    let row = by_id(&known, asked, |row| row.hash).map_err(Failure::usage)?;
    let (id, name) = (short_id(row.hash), &row.name);
    if !store.revoke_api_token(row.hash, unix_now_ms()).await? {
        return Err(Failure::usage(format!("token {id} of {name} is revoked already")));
    }
    let text = format!("token {id} of {name} is revoked: a running node refuses it from now on\n");
    Ok((json!({ "id": id, "name": name }), text))
}

fn sheet(row: &ApiTokenRow) -> Sheet {
    let time = |ms: Option<u64>| Cell::Time(ms.unwrap_or(0) / 1_000);
    Sheet(vec![
        ("name", Cell::text(&row.name)),
        ("id", Cell::text(short_id(row.hash))),
        ("role", Cell::text(&row.role)),
        ("created", time(Some(row.created_ms))),
        ("used", time(row.used_ms)),
        ("revoked", time(row.revoked_ms)),
    ])
}
