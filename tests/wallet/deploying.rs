//! `millrace deploy`: whole, interrupted, resumed, on two chains; and what its address book is good for.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use alloy::primitives::{B256, U256};
use millrace_contracts::{AddressBook, CONTRACTS};
use serde_json::json;

use crate::{Place, address, ether, key, millrace, nobody};

impl Place {
    fn fund_alice(&self, wei: U256) {
        self.rpc("anvil_setBalance", json!([key("alice").address(), wei]));
    }

    fn write_book(&self, book: &AddressBook) {
        std::fs::write(self.path("book.json"), serde_json::to_vec(book).unwrap()).unwrap();
    }
}

#[test]
fn everything_is_deployed_once_with_the_powers_where_they_belong() {
    let place = Place::bare();
    let governor = nobody().to_string();
    let flags = ["--governor", &governor, "--treasury", &address("bob"), "--timelock", "24h"];
    let dry = place.deploy(&[&flags[..], &["--dry-run", "--json"]].concat()).json();
    assert_eq!(dry["contracts"].as_array().unwrap().len(), CONTRACTS.len());
    assert!(dry["gas"].as_u64().unwrap() > 5_000_000, "{dry}");
    assert_eq!(place.nonce("alice"), "0x0", "a dry run sends nothing");
    assert!(!place.path("book.json").exists());
    place.deploy(&flags).refused("--yes");
    assert_eq!(place.nonce("alice"), "0x0", "without a yes nothing is sent");

    let said = place.deploy(&[&flags[..], &["--yes"]].concat()).done();
    assert!(said.contains("address_book"), "{said}");
    let book = place.book();
    for (contract, planned) in CONTRACTS.iter().zip(dry["contracts"].as_array().unwrap()) {
        assert_eq!(book.contracts[*contract].address.to_string(), planned["address"].as_str().unwrap());
    }
    assert_eq!((book.governor, book.timelock_s), (nobody(), 86_400));

    use millrace_contracts::bindings::{Disputes, MillraceToken, Parameters, Registry, TicketBroker};
    let (chain, at) = (place.chain("alice"), book.addresses().unwrap());
    place.block_on(async {
        let timelock = book.contracts["timelock"].address;
        assert_eq!(chain.view("", at.parameters, &Parameters::governorCall {}).await.unwrap(), timelock);
        assert_eq!(chain.view("", at.parameters, &Parameters::guardianCall {}).await.unwrap(), key("alice").address());
        let supply = chain.view("", at.token, &MillraceToken::balanceOfCall { account: key("bob").address() }).await;
        assert_eq!(supply.unwrap(), ether(100_000_000));
        assert_eq!(chain.view("", at.registry, &Registry::samplingCall {}).await.unwrap(), at.sampling);
        assert_eq!(chain.view("", at.registry, &Registry::disputesCall {}).await.unwrap(), at.disputes);
        assert_eq!(chain.view("", at.broker, &TicketBroker::registryCall {}).await.unwrap(), at.registry);
        assert_eq!(chain.view("", at.disputes, &Disputes::brokerCall {}).await.unwrap(), at.broker);
    });

    let sent = place.nonce("alice");
    place.deploy(&[&flags[..], &["--yes"]].concat()).done();
    assert_eq!((place.nonce("alice"), place.book()), (sent, book), "a second run finds nothing to do");
    place.deploy(&["--yes"]).refused("--governor");
}

#[test]
fn an_interrupted_deployment_goes_on_where_it_stopped() {
    let place = Place::bare();
    // Enough for some of it: the block's price of the embedded chain is 1,000,000 wei.
    place.fund_alice(U256::from(1_000_000u64) * U256::from(8_000_000u64));
    place.deploy(&["--yes"]).refused("wei");
    let begun = place.book();
    let there = begun.contracts.len();
    assert!((1..CONTRACTS.len()).contains(&there), "{there} are there");

    // It came one further than it could write down.
    let mut behind = begun.clone();
    let last = CONTRACTS[there - 1];
    behind.contracts.remove(last);
    place.write_book(&behind);
    place.fund_alice(ether(1));
    place.deploy(&["--yes"]).done();
    let whole = place.book();
    assert_eq!(whole.contracts.len(), CONTRACTS.len());
    assert_eq!(whole.contracts[last].code_hash, begun.contracts[last].code_hash);
    assert_eq!(place.nonce("alice"), format!("{:#x}", CONTRACTS.len()), "none was created twice");
    place.run("alice", &["stake", "list"]).done();
}

#[test]
fn a_deployment_whose_addresses_are_gone_says_so() {
    let place = Place::bare();
    place.fund_alice(U256::from(1_000_000u64) * U256::from(8_000_000u64));
    place.deploy(&["--yes"]).refused("wei");
    place.fund_alice(ether(1));
    // The account sends something else: its next nonce is not the next contract's any more.
    let url = place.devnet.rpc_url();
    place.block_on(async {
        use alloy::network::{EthereumWallet, TransactionBuilder};
        use alloy::providers::{Provider, ProviderBuilder};
        let provider =
            ProviderBuilder::new().wallet(EthereumWallet::from(key("alice"))).connect_http(url.parse().unwrap());
        let transfer = alloy::rpc::types::TransactionRequest::default().with_to(nobody()).with_value(U256::from(1));
        provider.send_transaction(transfer).await.unwrap().get_receipt().await.unwrap();
    });
    place.deploy(&["--yes"]).refused("begin anew");
}

#[test]
fn contracts_of_another_book_are_not_taken_for_the_deployments_own() {
    let place = Place::bare();
    place.deploy(&["--checker", &B256::repeat_byte(7).to_string(), "--yes"]).done();
    let whole = place.book();
    let behind = |without: &[&str], change: &dyn Fn(&mut AddressBook)| {
        let mut book = whole.clone();
        book.contracts.retain(|name, _| !without.contains(&name.as_str()));
        change(&mut book);
        place.write_book(&book);
    };
    // All at addresses of its own, and the code right, but for who governs and what decides.
    let nobody = nobody().to_string();
    behind(&["timelock"], &|book| book.governor = crate::nobody());
    place
        .deploy(&["--governor", &nobody, "--checker", &whole.checker.to_string(), "--yes"])
        .refused("--governor another");
    behind(&["parameters"], &|book| book.guardian = crate::nobody());
    place.deploy(&["--guardian", &nobody, "--checker", &whole.checker.to_string(), "--yes"]).refused("is there");
    behind(&["disputes"], &|book| book.checker = B256::ZERO);
    place.deploy(&["--yes"]).refused("is not the disputes of this run: --checker 0x0707");
    // The addresses are the next ones: where the token would be is the timelock.
    behind(&CONTRACTS, &|book| book.first_nonce += 1);
    place
        .deploy(&["--checker", &whole.checker.to_string(), "--yes"])
        .refused("is not the token of this run: code of hash");
    // Its own are.
    behind(&CONTRACTS, &|_| ());
    place.deploy(&["--checker", &whole.checker.to_string(), "--yes"]).done();
    assert_eq!(place.book().addresses().unwrap(), whole.addresses().unwrap());
}

#[test]
fn a_book_of_another_chain_or_of_other_code_is_refused() {
    let place = Place::new();
    let right = place.book();
    let refused = |book: &AddressBook, words| {
        place.write_book(book);
        place.run("alice", &["stake", "list"]).refused(words);
    };
    refused(&AddressBook { chain_id: 1, ..right.clone() }, "the rpc endpoint is on chain 31337");
    let mut book = right.clone();
    book.contracts.get_mut("broker").unwrap().code_hash = B256::repeat_byte(1);
    refused(&book, "this is not what was deployed");
    let mut book = right.clone();
    book.contracts.get_mut("broker").unwrap().address = nobody();
    refused(&book, "no contract code for the broker");
    let mut book = right.clone();
    book.contracts.remove("disputes");
    refused(&book, "goes on with it");
    std::fs::write(place.path("book.json"), "{").unwrap();
    place.run("alice", &["stake", "list"]).refused("address book");
    place.write_book(&right);
    place.run("alice", &["stake", "list"]).done();
}

#[test]
fn a_token_that_is_there_is_used() {
    let place = Place::new();
    let token = place.book().contracts["token"].address;
    let second = place.path("second.json");
    let (url, alice) = (place.devnet.rpc_url(), place.path("alice"));
    let deploy = |token: &str| {
        millrace(
            &[
                "deploy",
                "--rpc-url",
                &url,
                "--keystore",
                alice.to_str().unwrap(),
                "--out",
                second.to_str().unwrap(),
                "--token",
                token,
                "--yes",
            ],
            "",
        )
    };
    deploy(&nobody().to_string()).refused("no contract code for the token");
    deploy(&token.to_string()).done();
    let book = AddressBook::load(&second).unwrap();
    assert_eq!((book.contracts["token"].address, book.contracts["token"].block), (token, 0));
    assert_ne!(book.contracts["registry"], place.book().contracts["registry"]);
}

struct Anvil(Child);

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn another_chain_takes_the_same_contracts() {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("contracts/node_modules/@foundry-rs");
    let program = packages.join("anvil-linux-amd64/bin/anvil");
    if !program.exists() {
        println!("skipped: anvil is not installed (npm --prefix contracts ci)");
        return;
    }
    let mut command = Command::new(program);
    let mut anvil = Anvil(command.args(["--port", "0"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut lines = BufReader::new(anvil.0.stdout.take().unwrap()).lines();
    let url = lines.find_map(|line| Some(format!("http://{}", line.unwrap().strip_prefix("Listening on ")?))).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    // Anvil's first account, which everybody knows.
    crate::secret(&dir.path().join("key"), "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");
    let common = ["--rpc-url", &url, "--keystore", &path("key")];
    millrace(&[&["deploy", "--out", &path("book.json"), "--yes"], &common[..]].concat(), "").done();
    let registered =
        ["stake", "register", "--role", "checker", "--fingerprint", &B256::ZERO.to_string(), "--yes", "--json"];
    let report = millrace(&[&registered[..], &["--address-book", &path("book.json")], &common[..]].concat(), "").json();
    assert_eq!(report["after"]["roles"], "checker", "{report}");
}
