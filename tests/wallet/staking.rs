//! Bonds, delegations, fees and sampling secrets.

use alloy::primitives::U256;
use millrace_contracts::Step;
use millrace_contracts::bindings::Registry;
use serde_json::{Value, json};

use crate::{Place, address, ether, figure, key};

const FINGERPRINT: &str = "0x1111111111111111111111111111111111111111111111111111111111111111";

impl Place {
    /// bob, registered as an orchestrator with 100 MILL of his 1000.
    fn with_orchestrator() -> Self {
        let place = Self::new();
        place.give("bob", "1000mill");
        place.json(
            "bob",
            &["stake", "register", "--role", "orchestrator", "--uri", "quic://o:4433", "--fingerprint", FINGERPRINT],
        );
        place
    }
}

#[test]
fn a_node_registers_with_one_transaction_and_leaves_in_seven_days() {
    let place = Place::new();
    let register =
        ["stake", "register", "--role", "orchestrator,checker", "--uri", "quic://o:4433", "--fingerprint", FINGERPRINT];
    place.run("bob", &[&register[..], &["--yes"]].concat()).refused("MILL are needed");
    place.give("bob", "1000mill");
    let low = ["--bond", "99mill", "--yes"];
    place
        .run("bob", &[&register[..], &low].concat())
        .refused("the bond would be 99 MILL, and the least one is 100 MILL");
    place.run("bob", &[&register[..4], &["--yes"]].concat()).refused("--config"); // whose TLS key?
    let before = place.nonce("bob");
    let report = place.json("bob", &[&register[..], &["--commission", "7.5"]].concat());
    assert_eq!((before, place.nonce("bob")), (json!("0x0"), json!("0x1")), "permit, commission and record go together");
    let after = &report["after"];
    assert_eq!(
        (&after["roles"], &after["commission"]),
        (&json!("orchestrator, checker"), &json!("7.50 %")),
        "{report}"
    );
    assert_eq!((figure(&after["bond_units"]), figure(&after["my_tokens_units"])), (ether(100), ether(900)));
    place.run("bob", &[&register[..], &["--bond", "1mill", "--yes"]].concat()).refused("this node is registered");

    let report = place.json("bob", &["stake", "update", "--uri", "quic://elsewhere:1"]);
    let after = &report["after"];
    assert_eq!((&after["uri"], &after["fingerprint"]), (&json!("quic://elsewhere:1"), &json!(FINGERPRINT)));
    let listed = place.json("carol", &["stake", "list"]);
    assert_eq!((listed["nodes"].as_array().unwrap().len(), &listed["nodes"][0]["node"]), (1, &json!(address("bob"))));

    assert_eq!(figure(&place.json("bob", &["stake", "bond", "50mill"])["after"]["bond_units"]), ether(150));
    place.run("bob", &["stake", "bond", "10000mill", "--yes"]).refused("send it MILL");
    place.run("bob", &["stake", "bond", "1eth", "--yes"]).refused("in MILL");
    place.run("bob", &["stake", "withdraw", "--yes"]).refused("nothing is on its way out");
    place.run("bob", &["stake", "unbond", "100mill", "--yes"]).refused("the least one is 100 MILL");
    place.json("bob", &["stake", "unbond", "all"]);
    assert_eq!(place.json("bob", &["stake", "show"])["roles"], "none: not registered");
    place.advance(100);
    place.advance_half_an_hour();
    place.run("bob", &["stake", "withdraw", "--yes"]).refused("67 h from now");
    place.advance(68);
    assert_eq!(figure(&place.json("bob", &["stake", "withdraw"])["after"]["my_tokens_units"]), ether(1000));
    assert_eq!(place.json("carol", &["stake", "list"])["nodes"], json!([]));
}

#[test]
fn a_delegator_earns_fees_and_gets_its_tokens_back() {
    let place = Place::with_orchestrator();
    let bob = address("bob");
    place.give("carol", "500mill");
    place.run("carol", &["stake", "delegate", &address("alice"), "1mill", "--yes"]).refused("is not registered");
    let report = place.json("carol", &["stake", "delegate", &bob, "300mill"]);
    assert_eq!(figure(&report["after"]["my_delegation_units"]), ether(300), "{report}");
    place.give("carol", "5000mill");
    place
        .run("carol", &["stake", "delegate", &bob, "701mill", "--yes"])
        .refused("takes 1000 MILL (ten times its own bond)");

    let (alice, registry) = (place.chain("alice"), place.book().addresses().unwrap().registry);
    let call = Registry::payFeesCall { node: key("bob").address() };
    place.block_on(alice.make(&Step::call("pay fees", registry, &call).paying(ether(4)))).unwrap();
    assert_eq!(figure(&place.json("carol", &["stake", "fees", "show", &bob])["my_fees_wei"]), ether(3), "by 100 : 300");
    let report = place.json("carol", &["stake", "fees", "claim", &bob]);
    assert_eq!(figure(&report["after"]["my_fees_wei"]), U256::ZERO);
    place.run("carol", &["stake", "fees", "claim", &bob, "--yes"]).refused("no fees are there");
    assert_eq!(figure(&place.json("bob", &["stake", "fees", "show"])["my_fees_wei"]), ether(1));

    place.run("carol", &["stake", "undelegate", &bob, "301mill", "--yes"]).refused("300 MILL are delegated");
    place.run("carol", &["stake", "withdraw-delegation", &bob, "--yes"]).refused("nothing is on its way out");
    place.json("carol", &["stake", "undelegate", &bob, "100mill"]);
    place.json("carol", &["stake", "undelegate", &bob, "all"]);
    place.run("carol", &["stake", "withdraw-delegation", &bob, "--yes"]).refused("still unbonding until");
    place.advance(7 * 24);
    let report = place.json("carol", &["stake", "withdraw-delegation", &bob]);
    assert_eq!(figure(&report["after"]["my_tokens_units"]), ether(5500));
}

#[test]
fn a_commission_rises_slowly_and_falls_at_once() {
    let place = Place::with_orchestrator();
    let set = |percent: &str| place.run("bob", &["stake", "commission", percent, "--yes", "--json"]);
    set("51").refused("above the highest, 50 %");
    set("5.01").refused("up to 5 % can be announced now");
    set("5.001").refused("two digits");
    let report: Value = set("5").json();
    assert_eq!(
        (&report["after"]["commission"], &report["after"]["next_commission"]),
        (&json!("0.00 %"), &json!("5.00 %"))
    );
    place.advance(7 * 24);
    assert_eq!(place.json("bob", &["stake", "show"])["commission"], "5.00 %");
    assert_eq!(set("2").json()["after"]["commission"], "2.00 %");
}

#[test]
fn sampling_secrets_come_from_the_key_and_withholding_them_costs() {
    let place = Place::with_orchestrator();
    let sampling =
        |who: &str, command: &[&str]| place.run(who, &[&["stake", "sampling"], command, &["--yes", "--json"]].concat());
    sampling("carol", &["commit"]).refused("is not registered as an orchestrator");
    sampling("bob", &["reveal"]).refused("has no chain of secrets");
    assert_eq!(sampling("bob", &["commit"]).json()["after"]["committed"], "yes");
    sampling("bob", &["commit"]).refused("has a chain of secrets already");
    place.advance(3 * 24);
    let report = sampling("bob", &["reveal"]).json();
    let epoch = |sheet: &Value| sheet["revealed_up_to"].as_u64().unwrap();
    assert_eq!(epoch(&report["after"]), epoch(&report["before"]) + 2, "both days that are over");
    let bob = address("bob");
    sampling("alice", &["punish", &bob]).refused("is not overdue before");
    sampling("bob", &["stop"]).json();
    sampling("bob", &["stop"]).refused("the chain's end is announced");

    // Three days and two epochs: the secret of the running day is owed by then.
    place.advance(6 * 24);
    let report = sampling("alice", &["punish", &bob]).json();
    assert_eq!(figure(&report["after"]["bond_units"]), ether(99), "1 % of the bond");
    assert_eq!(sampling("alice", &["show", &bob]).json()["committed"], "no");
}

#[test]
fn who_comes_back_first_reveals_what_is_overdue() {
    let place = Place::with_orchestrator();
    place.json("bob", &["stake", "sampling", "commit"]);
    place.json("bob", &["stake", "unbond", "all"]);
    place.advance(8 * 24);
    place.json("bob", &["stake", "withdraw"]);
    let back = ["stake", "register", "--role", "orchestrator", "--fingerprint", FINGERPRINT, "--yes"];
    place.run("bob", &back).refused("first `millrace stake sampling reveal`");
    place.json("bob", &["stake", "sampling", "reveal"]);
    let said = place.run("bob", &back).done();
    assert!(said.contains("would register (100 MILL) at"), "the amount is said: {said}");
}
