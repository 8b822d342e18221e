//! Keys: made, taken in, named, put under a passphrase. None is ever shown: who wants it elsewhere takes the file and its passphrase.

use std::io::{IsTerminal, Read};

use alloy::primitives::Address;
use alloy::signers::local::PrivateKeySigner;
use millrace_node::keys::{create_key, encrypt_key, load_key, parse_plain};
use serde_json::json;
use zeroize::Zeroizing;

use crate::Failure;
use crate::cli::Common;
use crate::cli::act::say;

/// More than a key in hex has.
const MAX_INPUT: u64 = 256;

pub(super) fn new(common: &Common) -> Result<(), Failure> {
    create(common, &PrivateKeySigner::random())
}

pub(super) fn import(common: &Common) -> Result<(), Failure> {
    let mut text = Zeroizing::new(String::new());
    if std::io::stdin().is_terminal() {
        text = Zeroizing::new(rpassword::prompt_password("private key, 64 hex digits: ")?);
    } else {
        std::io::stdin().take(MAX_INPUT).read_to_string(&mut text)?;
    }
    let signer = parse_plain(&text)
        .ok_or_else(|| Failure::usage("standard input holds no private key: 64 hex digits, with or without 0x"))?;
    create(common, &signer)
}

fn create(common: &Common, signer: &PrivateKeySigner) -> Result<(), Failure> {
    let path = common.key_file()?;
    if path.exists() {
        let path = path.display();
        return Err(Failure::usage(format!("{path} is there already: move it away first, a key is never overwritten")));
    }
    create_key(&path, signer, Some(&common.new_passphrase()?))?;
    let path = path.display();
    tell(
        common,
        signer.address(),
        &format!(
            "{}\nIt is in {path}, under your passphrase. Back up the file; without file and passphrase its money is lost.\n",
            signer.address()
        ),
    );
    Ok(())
}

pub(super) fn address(common: &Common) -> Result<(), Failure> {
    let address = common.address()?;
    tell(common, address, &format!("{address}\n"));
    Ok(())
}

pub(super) fn encrypt(common: &Common) -> Result<(), Failure> {
    let path = common.key_file()?;
    let loaded = load_key(&path, |_| None).map_err(|error| match error {
        millrace_node::keys::KeyError::Locked { path } => {
            Failure::usage(format!("{} is encrypted already", path.display()))
        }
        error => error.into(),
    })?;
    encrypt_key(&path, &loaded.signer, &common.new_passphrase()?)?;
    let (address, path) = (loaded.signer.address(), path.display());
    tell(
        common,
        address,
        &format!(
            "{path} ({address}) is under your passphrase now. A running node needs its file: node.passphrase_file.\n\
         Backups of the plain key are as open as before, and the disk may keep its old bytes for a while.\n"
        ),
    );
    Ok(())
}

fn tell(common: &Common, address: Address, text: &str) {
    if common.json { say(&format!("{}\n", json!({ "address": address.to_string() }))) } else { say(text) }
}
