//! Contradictions proved by two signatures, and a dispute from its opening to its end.

use alloy::primitives::{B256, U256, keccak256};
use millrace_contracts::bindings::{Disputes, MillraceToken};
use millrace_contracts::{CHECKER, Step, TRANSCODER};
use millrace_tickets::{Assignment, Domain, SegmentReceipt, Signed, Ticket, Verdict};
use serde::Serialize;

use crate::{Place, address, ether, figure, key};

impl Place {
    fn domain(&self) -> Domain {
        self.chain("alice").domain()
    }

    /// Writes a signed object as the program reads it; the file's path.
    fn signed<T: alloy::sol_types::SolStruct + Serialize>(&self, name: &str, body: T, by: &str) -> String {
        let signed = Signed::sign(body, &self.domain(), &key(by)).unwrap();
        let path = self.path(name);
        std::fs::write(&path, serde_json::to_vec(&signed).unwrap()).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// `who`, with a bond of 200 MILL in these roles.
    fn bonded(&self, who: &str, roles: u8) {
        let (to, tokens) = (key(who).address(), self.book().addresses().unwrap().token);
        let alice = self.chain("alice");
        let call = MillraceToken::transferCall { to, value: ether(200) };
        self.rpc("anvil_setBalance", serde_json::json!([to, ether(1)]));
        self.block_on(async {
            alice.make(&Step::call("send", tokens, &call)).await.unwrap();
        });
        let chain = self.chain(who);
        self.block_on(chain.register(roles, "", B256::ZERO, ether(200))).unwrap();
    }
}

#[test]
fn two_receipts_of_one_assignment_cost_half_of_the_bond() {
    let place = Place::new();
    place.bonded("bob", TRANSCODER);
    let receipt = |pixels| SegmentReceipt { assignmentHash: keccak256("one"), pixels, ..Default::default() };
    let a = place.signed("a", receipt(1), "bob");
    let b = place.signed("b", receipt(2), "bob");
    let prove = |a: &str, b: &str| place.run("carol", &["stake", "dispute", "prove-receipts", a, b, "--yes", "--json"]);
    prove(&a, &a).refused("the two say the same");
    prove(&a, &place.signed("c", receipt(3), "alice")).refused("different keys");
    let other = SegmentReceipt { assignmentHash: keccak256("two"), ..receipt(2) };
    prove(&a, &place.signed("d", other, "bob")).refused("about different things");
    std::fs::write(place.path("e"), "{}").unwrap();
    prove(&a, place.path("e").to_str().unwrap()).refused("a signed object is");

    let report = prove(&a, &b).json();
    assert_eq!(figure(&report["after"]["its_bond_units"]), ether(100), "{report}");
    assert_eq!(figure(&report["after"]["my_tokens_units"]), ether(30), "the prover's 30 % of what was taken");
    prove(&a, &b).refused("was slashed for this already");
}

#[test]
fn two_assignments_of_one_try_and_a_fail_that_was_paid_are_proved() {
    let place = Place::new();
    place.bonded("bob", TRANSCODER);
    let assignment =
        |price: u64| Assignment { seq: 7, price: U256::from(price), payer: key("bob").address(), ..Default::default() };
    let (a, b) = (place.signed("a", assignment(1), "bob"), place.signed("b", assignment(2), "bob"));
    let prove = ["stake", "dispute", "prove-assignments", &a, &b];
    assert_eq!(figure(&place.json("carol", &prove)["after"]["its_bond_units"]), ether(100));

    let verdict = |pass| Verdict { receiptHash: keccak256("receipt"), pass, code: 201 };
    let ticket = Ticket { payer: key("bob").address(), workHash: keccak256("receipt"), ..Default::default() };
    let ticket = place.signed("ticket", ticket, "bob");
    let pass = place.signed("pass", verdict(true), "bob");
    place
        .run("carol", &["stake", "dispute", "prove-verdict", &pass, &ticket, "--yes"])
        .refused("the verdict is a pass");
    let fail = place.signed("fail", verdict(false), "bob");
    let report = place.json("carol", &["stake", "dispute", "prove-verdict", &fail, &ticket]);
    assert_eq!(figure(&report["after"]["its_bond_units"]), ether(50), "half of what was left: {report}");
}

#[test]
fn a_committee_finds_a_failure_and_the_worker_pays() {
    let place = Place::bare();
    place.deploy(&["--checker", &keccak256("a checker").to_string(), "--yes"]).done();
    place.bonded("bob", TRANSCODER);
    let checkers: Vec<String> = (0..8).map(|n| format!("checker {n}")).collect();
    let disputes = place.book().addresses().unwrap().disputes;
    let dispute =
        |who: &str, command: &[&str]| place.run(who, &[&["stake", "dispute"], command, &["--yes", "--json"]].concat());
    for checker in &checkers {
        place.bonded(checker, CHECKER);
        place.keep(checker);
    }
    dispute("carol", &["enlist"]).refused("is not registered as a checker");
    assert_eq!(dispute(&checkers[0], &["enlist"]).json()["after"]["enlisted"], "true");
    dispute(&checkers[0], &["enlist"]).refused("enlisted already");
    for checker in &checkers[1..] {
        let chain = place.chain(checker);
        place.block_on(chain.make(&Step::call("enlist", disputes, &Disputes::enlistCall {}))).unwrap();
    }
    assert_eq!(dispute(&checkers[7], &["resign"]).json()["after"]["checkers"], "7");
    dispute(&checkers[7], &["resign"]).refused("not enlisted");
    dispute("carol", &["evict", &address("checker 0")]).refused("only it can take itself off the list");
    place.advance(1); // who became a checker in the second of the opening is not drawn

    let assignment = Assignment { payer: key("alice").address(), worker: key("bob").address(), ..Default::default() };
    let domain = place.domain();
    let digest = Signed::sign(assignment.clone(), &domain, &key("alice")).unwrap().digest(&domain);
    let receipt = SegmentReceipt { assignmentHash: digest, ..Default::default() };
    let (a, r) = (place.signed("a", assignment, "alice"), place.signed("r", receipt, "bob"));
    let evidence = keccak256("evidence").to_string();
    let open = ["open", &a, &r, "--evidence", &evidence, "--uri", "https://evidence"];
    dispute("carol", &open).refused("who assigned the work");
    let dry = place.run("alice", &[&["stake", "dispute"], &open[..], &["--dry-run"]].concat()).done();
    assert!(dry.contains("allow the deposit (10 MILL)") && dry.contains("once the step before it is taken"), "{dry}");
    assert!(dry.contains("open the dispute and draw its committee (10 MILL)"), "{dry}");
    place.run("alice", &[&["stake", "dispute"], &open[..], &["--json"]].concat()).refused("--json asks no questions");
    let report = dispute("alice", &open).json();
    assert_eq!((&report["after"]["last_dispute"], report["sent"].as_array().unwrap().len()), (&"1".into(), 3));
    dispute("alice", &open).refused("there is dispute 1 about this receipt");
    dispute("carol", &["draw", "1"]).refused("in which state this cannot be done");
    dispute("carol", &["vote", "1", "fail"]).refused("has no seat");
    for checker in &checkers[..7] {
        dispute(checker, &["vote", "1", "fail"]).json();
    }
    dispute(&checkers[0], &["vote", "1", "pass"]).refused("has voted");
    dispute(&checkers[0], &["reveal", "1"]).refused("are revealed from");
    place.advance(12);
    for checker in &checkers[..7] {
        dispute(checker, &["reveal", "1"]).json();
    }
    dispute(&checkers[0], &["reveal", "1"]).refused("no vote in dispute 1 that waits");
    dispute("carol", &["settle", "1"]).refused("can be settled from");
    place.advance(12);
    let report = dispute("carol", &["settle", "1"]).json();
    assert_eq!(report["after"]["status"], "settled against the worker", "{report}");
    let shown = dispute("carol", &["show", "1"]).json();
    assert_eq!((shown["committee"].as_array().unwrap().len(), &shown["committee"][0]["finding"]), (7, &"fail".into()));
    assert_eq!(
        figure(&place.json("bob", &["stake", "show", &address("bob")])["bond_units"]),
        ether(190),
        "5 % of the bond"
    );
}
