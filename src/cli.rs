//! What the commands that handle money share: their flags, the key and the chain behind them, and the way from a plan by its
//! cost to its transactions.

pub mod act;
pub mod database;
pub mod money;
pub mod sheet;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use alloy::primitives::Address;
use alloy::signers::local::PrivateKeySigner;
use millrace_contracts::{AddressBook, Chain, ChainOptions};
use millrace_node::keys::{self, IDENTITY_FILE, KeyError, PASSPHRASE_VARIABLE};
use millrace_node::keystore::Passphrase;
use millrace_node::sections::{ChainConfig, NodeConfig};

use crate::Failure;
use crate::role;

/// The flags of every command that handles money.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Chain and key")]
pub struct Common {
    /// A node's configuration file: its chain, its key, its passphrase.
    #[arg(long, global = true, env = "MILLRACE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Ethereum JSON-RPC endpoint, instead of the configuration's.
    #[arg(long, global = true, value_name = "URL")]
    pub rpc_url: Option<String>,
    /// The contracts' addresses, as `millrace deploy` wrote them, instead of the configuration's.
    #[arg(long, global = true, value_name = "FILE")]
    pub address_book: Option<PathBuf>,
    /// The key's file, instead of identity.key in the configuration's data folder.
    #[arg(long, global = true, value_name = "FILE")]
    pub keystore: Option<PathBuf>,
    /// File whose first line is the key's passphrase, readable by its owner alone; without it the terminal is asked.
    #[arg(long, global = true, env = PASSPHRASE_VARIABLE, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Simulates, says what it would do and what it would cost, and sends nothing.
    #[arg(long, global = true)]
    pub dry_run: bool,
    /// Does not ask before it sends.
    #[arg(long, global = true)]
    pub yes: bool,
    /// Prints JSON: amounts in the smallest unit, times in unix seconds.
    #[arg(long, global = true)]
    pub json: bool,
}

/// An account on a chain, and how the person wants to work with it.
pub struct Desk {
    /// The chain, as the account.
    pub chain: Chain,
    /// The account's key; a random one where a command only looks.
    pub signer: PrivateKeySigner,
    /// Nothing of this deployment happened in earlier blocks.
    pub first_block: u64,
    /// The chain's clock at the start, unix seconds.
    pub now: u64,
    /// How the chain is reached.
    pub options: ChainOptions,
    /// The flags.
    pub common: Common,
}

impl Common {
    /// The configuration that the flags name.
    fn configured(&self) -> Result<Option<(NodeConfig, ChainConfig)>, Failure> {
        self.config.as_deref().map(role::node_and_chain).transpose().map_err(Failure::usage)
    }

    /// The node's data folder.
    pub fn data_dir(&self) -> Result<PathBuf, Failure> {
        let (node, _) = self.configured()?.ok_or_else(|| {
            Failure::usage("which node? --config names its configuration file, and that its data folder")
        })?;
        Ok(node.data_dir.into())
    }

    /// The key's file.
    pub fn key_file(&self) -> Result<PathBuf, Failure> {
        match (&self.keystore, self.configured()?) {
            (Some(path), _) => Ok(path.clone()),
            (None, Some((node, _))) => Ok(Path::new(&node.data_dir).join(IDENTITY_FILE)),
            (None, None) => Err(Failure::usage("which key? --keystore names its file, --config the node that has it")),
        }
    }

    /// The passphrase in the file that flags, environment or configuration name.
    pub fn passphrase(&self) -> Result<Option<Passphrase>, Failure> {
        let configured = || {
            let (node, _) = self.configured().ok()??;
            (!node.passphrase_file.is_empty()).then(|| PathBuf::from(node.passphrase_file))
        };
        let file = self.passphrase_file.clone().or_else(configured);
        Ok(file.as_deref().map(keys::read_passphrase).transpose()?)
    }

    /// A new passphrase: the one in the file, or what the terminal says twice.
    pub fn new_passphrase(&self) -> Result<Passphrase, Failure> {
        if let Some(passphrase) = self.passphrase()? {
            return Ok(passphrase);
        }
        let none = || {
            Failure::usage(format!(
                "a new key needs a passphrase: name its file by --passphrase-file or {PASSPHRASE_VARIABLE}"
            ))
        };
        let first = ask("new passphrase: ").ok_or_else(none)?;
        let again = ask("the same again: ").ok_or_else(none)?;
        if first == again { Ok(first) } else { Err(Failure::usage("the two passphrases differ: nothing was done")) }
    }

    /// The account's key, with a word about one that lies open.
    pub fn key(&self) -> Result<PrivateKeySigner, Failure> {
        let (path, passphrase) = (self.key_file()?, self.passphrase()?);
        let loaded =
            keys::load_key(&path, |path| passphrase.or_else(|| ask(&format!("passphrase of {}: ", path.display()))));
        let loaded = loaded.map_err(|error| match error {
            KeyError::Locked { path } => Failure::usage(format!(
                "{} is encrypted: name its passphrase's file by --passphrase-file or {PASSPHRASE_VARIABLE}",
                path.display()
            )),
            error => error.into(),
        })?;
        if !loaded.encrypted {
            eprintln!("warning: {} is not encrypted: `millrace wallet encrypt` does it", path.display());
        }
        Ok(loaded.signer)
    }

    /// The account's address: from its file as it is, where that says it.
    pub fn address(&self) -> Result<Address, Failure> {
        match keys::stated_address(&self.key_file()?)? {
            Some(address) => Ok(address),
            None => Ok(self.key()?.address()),
        }
    }

    /// Connects as the account; the contracts are checked against the address book.
    pub async fn open(self) -> Result<Desk, Failure> {
        let signer = self.key()?;
        self.open_as(signer).await
    }

    /// Connects to look only: no key is needed.
    pub async fn look(self) -> Result<Desk, Failure> {
        self.open_as(PrivateKeySigner::random()).await
    }

    async fn open_as(self, signer: PrivateKeySigner) -> Result<Desk, Failure> {
        let mut chain = self.configured()?.map(|(_, chain)| chain).unwrap_or_default();
        if let Some(url) = &self.rpc_url {
            (chain.rpc_url, chain.rpc_urls) = (url.clone(), Vec::new());
        }
        if let Some(book) = &self.address_book {
            chain.address_book = book.display().to_string();
        }
        if chain.rpc_url.is_empty() {
            return Err(Failure::usage(
                "which chain? --rpc-url names its endpoint, --config a configuration that has it",
            ));
        }
        let addresses = role::contracts(&chain).await?;
        let first_block = match chain.address_book.as_str() {
            "" => 0,
            path => AddressBook::load(Path::new(path))?.first_block(),
        };
        let options = role::chain_options(&chain);
        let chain = Chain::connect(options.clone(), addresses, signer.clone()).await?;
        let now = chain.time().await?;
        Ok(Desk { chain, signer, first_block, now, options, common: self })
    }
}

impl Desk {
    /// The account.
    pub fn me(&self) -> Address {
        self.chain.address()
    }
}

/// Asks the terminal for a passphrase, without showing it. `None` where there is nobody to ask, or nothing is said.
fn ask(prompt: &str) -> Option<Passphrase> {
    if !std::io::stderr().is_terminal() {
        return None;
    }
    rpassword::prompt_password(prompt).ok().and_then(Passphrase::new)
}
