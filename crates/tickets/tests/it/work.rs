use std::collections::HashSet;

use alloy::primitives::{Address, B256, U256};
use millrace_tickets::{
    Profile, RenditionFacts, SegmentReceipt, Terms, Ticket, expected_value_x64, least_face_value, prepay_work_hash,
    price, profiles_hash, rendition_root, win_prob_for, work_hash,
};
use proptest::prelude::*;

use crate::{DOMAIN, PAYEE, TERMS, random, signer};

#[test]
fn a_price_is_rounded_up_and_never_overflows() {
    let terms = Terms { price_per_megapixel: 3, ..TERMS };
    assert_eq!(price(&terms, 0), U256::ZERO);
    assert_eq!(price(&terms, 1), U256::from(1));
    assert_eq!(price(&terms, 1_000_000), U256::from(3));
    assert_eq!(price(&terms, 1_000_001), U256::from(4));
    assert!(price(&Terms { price_per_megapixel: u128::MAX, ..TERMS }, u64::MAX) > U256::from(u128::MAX));
}

#[test]
fn a_ticket_cannot_be_worth_its_face_value_or_more() {
    assert_eq!(win_prob_for(U256::from(10), 10), None);
    assert_eq!(win_prob_for(U256::MAX, 10), None);
    assert_eq!(win_prob_for(U256::from(1), 0), None);
    assert_eq!(win_prob_for(U256::ZERO, 10), Some(0));
    assert_eq!(win_prob_for(U256::from(1), 2), Some(1 << 63));
}

#[test]
fn a_face_value_is_fifty_times_what_redeeming_costs() {
    assert_eq!(least_face_value(U256::from(2)), U256::from(100));
}

proptest! {
    #[test]
    fn a_win_probability_is_the_least_that_pays_the_price(face in 1u128..1 << 96, part in 0u64..u64::MAX) {
        let price = (U256::from(face) * U256::from(part)) >> 64;
        let win_prob = win_prob_for(price, face).unwrap();
        let worth = |win_prob| {
            expected_value_x64(&Ticket { faceValue: face.try_into().unwrap(), winProb: win_prob, ..Ticket::default() })
        };
        prop_assert!(worth(win_prob) >= price << 64);
        prop_assert!(win_prob == 0 || worth(win_prob - 1) < price << 64);
    }
}

fn facts(n: u64) -> RenditionFacts {
    RenditionFacts { name: format!("{n}p"), bytes_hash: random(n), length: n, ..RenditionFacts::default() }
}

#[test]
fn a_rendition_root_tells_every_list_from_every_other() {
    let lists: Vec<Vec<RenditionFacts>> = vec![
        vec![],
        vec![facts(1)],
        vec![facts(1), facts(1)],
        vec![facts(1), facts(2)],
        vec![facts(2), facts(1)],
        vec![facts(1), facts(2), facts(3)],
        vec![facts(1), facts(2), facts(3), facts(3)],
        vec![RenditionFacts { first_pts: -1, ..facts(1) }],
        vec![RenditionFacts { name: String::new(), codec: "1p".to_owned(), ..facts(1) }],
    ];
    let roots: HashSet<B256> = lists.iter().map(|list| rendition_root(list)).collect();
    assert_eq!(roots.len(), lists.len());
    assert_eq!(rendition_root(&lists[3]), rendition_root(&lists[3].clone()));
}

#[test]
fn a_ladder_hash_tells_names_codecs_and_order_apart() {
    let profile = |name: &str, codec: &str| Profile {
        name: name.to_owned(),
        width: 1280,
        height: 720,
        bitrate: 3_000_000,
        codec: codec.to_owned(),
    };
    let (a, b, c) = (profile("ab", "c"), profile("a", "bc"), profile("720p", "h264"));
    let ladders: Vec<Vec<Profile>> =
        vec![vec![], vec![a.clone()], vec![b.clone()], vec![a.clone(), c.clone()], vec![c, a]];
    let hashes: HashSet<B256> = ladders.iter().map(|ladder| profiles_hash(ladder)).collect();
    assert_eq!(hashes.len(), ladders.len());
}

#[test]
fn each_prepaid_segment_is_its_own_work() {
    let (stream, payer) = (random(1), signer(1).address());
    let hashes: HashSet<B256> = [
        prepay_work_hash(stream, payer, PAYEE, 0),
        prepay_work_hash(stream, payer, PAYEE, 1),
        prepay_work_hash(random(2), payer, PAYEE, 0),
        prepay_work_hash(stream, PAYEE, payer, 0),
        prepay_work_hash(stream, Address::ZERO, PAYEE, 0),
        work_hash(&SegmentReceipt::default(), &DOMAIN),
    ]
    .into();
    assert_eq!(hashes.len(), 6);
}
