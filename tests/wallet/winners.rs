//! The winners of a stopped node, taken to the chain by hand.

use alloy::primitives::{B256, U256};
use millrace_hop::account::DATABASE;
use millrace_node::files::Lock;
use millrace_store::{PayeePair, PayerPair, Store};
use millrace_tickets::{Due, Terms};

use crate::{Place, ether, figure, key, millrace};

/// What a winner pays, wei: 0.001 ETH.
const FACE: u128 = 1_000_000_000_000_000;

#[test]
fn winners_that_wait_are_shown_and_redeemed() {
    let place = Place::new();
    let data = place.path("node");
    std::fs::create_dir(&data).unwrap();
    crate::secret(&data.join("identity.key"), &alloy::hex::encode(key("bob").to_bytes()));
    let config = place.path("node.toml");
    let text = format!(
        "[node]\ndata_dir = {data:?}\n[chain]\nrpc_url = {:?}\naddress_book = {:?}\nconfirmations = 2\n[orchestrator]\n",
        place.devnet.rpc_url(),
        place.path("book.json")
    );
    std::fs::write(&config, text).unwrap();
    let wallet =
        |command: &[&str]| millrace(&[&["wallet"], command, &["--config", config.to_str().unwrap()]].concat(), "");
    wallet(&["tickets"]).refused("has this node ever run?");

    place.json("alice", &["wallet", "fund", &key("bob").address().to_string(), "1eth"]);
    let domain = place.chain("bob").domain();
    place.block_on(async {
        let (payer, payee) = (key("alice"), key("bob").address());
        let sent = Store::open(place.path("payer.sqlite").to_str().unwrap()).await.unwrap();
        let received = Store::open(data.join(DATABASE).to_str().unwrap()).await.unwrap();
        let address = payer.address();
        let mut pays = PayerPair::open(sent, domain, payer, payee).await.unwrap();
        let mut paid = PayeePair::open(received.clone(), domain, address, payee, B256::repeat_byte(9)).await.unwrap();
        pays.offer_commits(paid.commits(3).await.unwrap());
        for n in 1..=3 {
            let terms = Terms { price_per_megapixel: 1, face_value: FACE, win_prob: u64::MAX };
            // All but one wei of the face value is due: it wins, but for one time in 10^15.
            let due = Due { work_hash: B256::repeat_byte(n), price: U256::from(FACE - 1), terms };
            let now = millrace_hop::unix_now_ms();
            let ticket = pays.issue(now, &due, B256::repeat_byte(n)).await.unwrap();
            paid.accept(now, &ticket, &due, ether(1)).await.unwrap();
        }
        received.close().await;
    });

    let tickets = wallet(&["tickets", "--json"]).json();
    assert_eq!((&tickets["winners"], &tickets["waiting"]), (&3.into(), &3.into()), "{tickets}");
    assert_eq!(figure(&tickets["waiting_worth_wei"]), U256::from(3 * FACE));
    let running = Lock::take(&data).unwrap();
    wallet(&["redeem", "--yes"]).refused("is in use by another process");
    drop(running);
    let nonce = place.nonce("bob");
    assert!(wallet(&["redeem", "--dry-run"]).done().contains("take 3 winners of 0.003 ETH"));
    assert_eq!(place.nonce("bob"), nonce);

    let report = wallet(&["redeem", "--yes", "--json"]).json();
    assert_eq!(figure(&report["after"]["credit_wei"]), U256::from(3 * FACE), "{report}");
    let tickets = wallet(&["tickets", "--json"]).json();
    assert_eq!((figure(&tickets["redeemed_wei"]), &tickets["waiting"]), (U256::from(3 * FACE), &0.into()));
    assert!(wallet(&["redeem", "--yes"]).done().contains("no winner waits"));
    let report = wallet(&["claim", "--yes", "--json"]).json();
    assert_eq!(figure(&report["after"]["credit_wei"]), U256::ZERO);
    assert!(figure(&report["after"]["coin_wei"]) > figure(&report["before"]["coin_wei"]));
    wallet(&["claim", "--yes"]).refused("has no credit");
}
