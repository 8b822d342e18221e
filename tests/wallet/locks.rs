//! Coin: sent, locked, unlocked, taken back; session keys and carriers.

use alloy::primitives::U256;
use millrace_contracts::Step;
use millrace_contracts::bindings::TicketBroker;
use serde_json::json;

use crate::{Place, address, ether, figure, key, milli, nobody};

#[test]
fn a_lock_opens_three_days_after_it_was_asked_to() {
    let place = Place::new();
    let payee = address("bob");
    let report = place.json("alice", &["wallet", "fund", &payee, "0.5eth"]);
    assert_eq!(figure(&report["after"]["locked_wei"]), milli(500), "{report}");
    assert!(figure(&report["sent"][0]["cost_wei"]) > U256::ZERO);
    let report = place.json("bob", &["wallet", "fund-for", &address("alice"), &payee, "500000000gwei"]);
    assert_eq!(figure(&report["after"]["locked_wei"]), ether(1));

    place.run("alice", &["wallet", "withdraw", &payee, "--yes"]).refused("no unlock is pending");
    place.run("alice", &["wallet", "cancel-unlock", &payee, "--yes"]).refused("no unlock is pending");
    place.run("alice", &["wallet", "unlock", &payee, "2eth", "--yes"]).refused("only 1 ETH are locked");
    place.json("alice", &["wallet", "unlock", &payee, "0.25eth"]);
    let report = place.json("alice", &["wallet", "cancel-unlock", &payee]);
    assert_eq!(report["after"]["unlocks_at"], json!(null));

    place.json("alice", &["wallet", "unlock", &payee, "all"]);
    place.advance(41);
    place.advance_half_an_hour();
    let ran = place.run("alice", &["wallet", "withdraw", &payee, "--yes"]);
    ran.refused("still locked until 20");
    ran.refused("UTC, 30 h from now");
    let balance = place.json("alice", &["wallet", "balance"]);
    assert_eq!(figure(&balance["locks"][0]["unlocking_wei"]), ether(1), "{balance}");
    assert_eq!(balance["locks"][0]["payee"], payee);
    place.advance(31);
    let report = place.json("alice", &["wallet", "withdraw", &payee]);
    assert_eq!(figure(&report["after"]["locked_wei"]), U256::ZERO);
}

#[test]
fn a_dry_run_says_what_it_would_cost_and_changes_nothing() {
    let place = Place::new();
    let (nonce, coin) = (place.nonce("alice"), place.json("alice", &["wallet", "balance"]));
    let said = place.run("alice", &["wallet", "fund", &address("bob"), "0.5eth", "--dry-run"]).done();
    for words in ["would lock with 0.5 ETH", "gas ", "about 0.0000", "nothing was sent"] {
        assert!(said.contains(words), "{words:?} is not in: {said}");
    }
    let report = place.run("alice", &["wallet", "fund", &address("bob"), "0.5eth", "--dry-run", "--json"]).json();
    assert!(report["steps"][0]["gas"].as_u64().unwrap() > 21_000 && report["sent"] == json!([]), "{report}");
    assert_eq!(place.nonce("alice"), nonce);
    assert_eq!(place.json("alice", &["wallet", "balance"]), coin);
    // A dry run refuses what the contract would.
    place.run("alice", &["wallet", "withdraw", &address("bob"), "--dry-run"]).refused("no unlock is pending");
    // Without a terminal there is nobody to ask.
    place.run("alice", &["wallet", "fund", &address("bob"), "0.5eth"]).refused("--yes");
    assert_eq!(place.nonce("alice"), nonce);
}

#[test]
fn coin_and_tokens_are_sent_and_typing_errors_are_not() {
    let place = Place::new();
    let bob = address("bob");
    let report = place.json("alice", &["wallet", "send", &bob, "0.5eth"]);
    assert_eq!(figure(&report["after"]["receiver's_coin_wei"]), milli(100_500));
    let report = place.json("alice", &["wallet", "send", &bob, "12.5mill"]);
    assert_eq!(figure(&report["after"]["receiver's_tokens_units"]), milli(12_500));

    place
        .run("bob", &["wallet", "send", &nobody().to_string(), "13mill", "--yes"])
        .refused("has 12.5 MILL, and 13 MILL are needed");
    place.run("bob", &["wallet", "send", &nobody().to_string(), "1000eth", "--yes"]).refused("send");
    place.run("alice", &["wallet", "send", &bob, "5"]).refused("needs its unit: eth, gwei or wei of coin, or mill");
    place.run("alice", &["wallet", "fund", &bob, "5mill"]).refused("chain's coin");
    let capital = bob.find(|letter: char| letter.is_ascii_lowercase() && letter != 'x').unwrap();
    let wrong = format!("{}{}{}", &bob[..capital], bob[capital..=capital].to_uppercase(), &bob[capital + 1..]);
    place.run("alice", &["wallet", "send", &wrong, "1eth"]).refused("typing error");
    place.run("alice", &["wallet", "send", "bob.eth", "1eth"]).refused("40 hex digits");
}

#[test]
fn session_keys_are_set_once_and_end_three_days_after_they_are_revoked() {
    let place = Place::new();
    let key = nobody().to_string();
    let add = ["wallet", "session-key", "add", &key, "--for", "30d", "--daily-cap", "0.1eth"];
    let report = place.json("alice", &add);
    assert_eq!(figure(&report["after"]["daily_cap_wei"]), milli(100));
    place.run("alice", &[&add[..], &["--yes"]].concat()).refused("its terms never change");
    place.run("alice", &["wallet", "session-key", "revoke", &address("bob"), "--yes"]).refused("is no session key");

    let ends = |report: &serde_json::Value| report["ends_at"].as_u64().unwrap();
    let before = ends(&report["after"]);
    let report = place.json("alice", &["wallet", "session-key", "revoke", &key]);
    assert!(ends(&report["after"]) < before - 26 * 86_400);
    let listed = place.json("alice", &["wallet", "session-key", "show"]);
    assert_eq!(listed["session_keys"][0]["key"], key, "{listed}");
    assert!(place.run("alice", &["wallet", "session-key", "show"]).done().contains("from now"));
}

#[test]
fn carriers_come_and_go_and_credit_is_claimed() {
    let place = Place::new();
    let carrier = address("bob");
    let report = place.json("alice", &["wallet", "carrier", "add", &carrier]);
    assert_eq!((&report["before"]["may_redeem"], &report["after"]["may_redeem"]), (&json!("false"), &json!("true")));
    let report = place.json("alice", &["wallet", "carrier", "remove", &carrier]);
    assert_eq!(report["after"]["may_redeem"], "false");
    place.run("alice", &["wallet", "claim", "--yes"]).refused("has no credit");
}

#[test]
fn a_stop_of_the_guardian_keeps_coin_out_and_never_in() {
    let place = Place::new();
    let payee = address("bob");
    place.json("alice", &["wallet", "fund", &payee, "1eth"]);
    let (alice, parameters) = (place.chain("alice"), place.book().addresses().unwrap().parameters);
    let stop = Step::call("stop", parameters, &millrace_contracts::bindings::Parameters::stopDepositsCall {});
    place.block_on(alice.make(&stop)).unwrap();
    place
        .run("alice", &["wallet", "fund", &payee, "1eth", "--yes"])
        .refused("the guardian has stopped new deposits until");
    place.json("alice", &["wallet", "unlock", &payee, "all"]);
    place.advance(72);
    place.json("alice", &["wallet", "withdraw", &payee]);
    let pair = TicketBroker::pairCall { payer: key("alice").address(), payee: key("bob").address() };
    let pair = place.block_on(alice.view("lock", place.book().addresses().unwrap().broker, &pair)).unwrap();
    assert!(pair.locked.is_zero());
}
