use alloy::primitives::{B256, U256};
use millrace_store::{Direction, OutboxRow, Store, StoreError, WinnerState};
use millrace_tickets::draw;
use millrace_tickets::payee::{COMMITS_AHEAD, COMMITS_KEPT};

use crate::{Ends, NOW, NOW_MS, PAYEE, TERMS, due, key, random, sure};

const DAY_MS: u64 = 24 * 3600 * 1000;

/// `n` winners, queued, in the order of their nonces.
async fn with_winners(n: u64) -> (Ends, Vec<B256>) {
    let mut ends = Ends::new().await;
    for n in 0..n {
        ends.pay(&sure(n)).await;
    }
    let digests = ends.payee_store.replay().await.unwrap().iter().map(|w| w.digest).collect();
    (ends, digests)
}

/// Transaction `n`, its only version.
fn row(n: u64) -> OutboxRow {
    OutboxRow { hash: random(n), nonce: n, what: "redeem".into(), raw: vec![2, n as u8], fee_cap: U256::from(n) }
}

async fn send(store: &Store, digests: &[B256], n: u64) -> Result<(), StoreError> {
    store.write_transaction(NOW_MS, PAYEE, &row(n), digests).await
}

#[tokio::test]
async fn a_winner_goes_from_queued_to_final_and_is_summed() {
    let (mut ends, digests) = with_winners(3).await;
    let store = ends.payee_store.clone();
    let waiting = store.winners_waiting(key().address(), PAYEE, NOW, 2).await.unwrap();
    assert_eq!(waiting.iter().map(|w| w.digest).collect::<Vec<_>>(), digests[..2]);
    assert!(waiting.iter().all(|w| draw(&w.ticket, w.payee_rand)));
    assert!(waiting.is_sorted_by_key(|w| w.ticket.nonce));
    let batch = &digests[..2];

    send(&store, batch, 1).await.unwrap();
    let face = U256::from(TERMS.face_value);
    assert_eq!(store.outstanding(key().address(), PAYEE).await.unwrap().0, face * U256::from(3));
    store.mark_mined(NOW_MS + 3, batch, Some(random(1)), 7).await.unwrap();
    assert_eq!(store.outstanding(key().address(), PAYEE).await.unwrap().0, face);
    assert_eq!(store.totals().await.unwrap().redeemed, U256::ZERO);

    ends.crash_payee().await;
    let store = ends.payee_store;
    let replay = store.replay().await.unwrap();
    let states: Vec<_> = replay.iter().map(|w| (w.state, w.tx, w.block, w.attempts)).collect();
    let mined = (WinnerState::Mined, Some(random(1)), Some(7), 1);
    assert_eq!(states, [mined, mined, (WinnerState::Queued, None, None, 0)]);
    store.mark_final(NOW_MS + 4, batch).await.unwrap();
    let totals = store.totals().await.unwrap();
    assert_eq!((totals.winners, totals.queued, totals.redeemed), (3, 1, face * U256::from(2)));
    assert_eq!(store.replay().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_transaction_and_its_winners_are_on_disk_together_or_not_at_all() {
    let (mut ends, digests) = with_winners(2).await;
    send(&ends.payee_store, &digests[..1], 7).await.unwrap();
    // A winner that is in one transaction gets into no other, and that other is not written either.
    let twice = send(&ends.payee_store, &digests, 8).await;
    assert!(matches!(twice, Err(StoreError::Winner { digest, .. }) if digest == digests[0]), "{twice:?}");
    let bumped = OutboxRow { hash: random(70), ..row(7) };
    ends.payee_store.write_transaction(NOW_MS + 1, PAYEE, &bumped, &[]).await.unwrap();
    ends.crash_payee().await;
    let store = ends.payee_store;
    let replay = store.replay().await.unwrap();
    assert_eq!((replay[0].state, replay[0].tx, replay[0].attempts), (WinnerState::Sent, Some(random(7)), 1));
    assert_eq!(replay[1].state, WinnerState::Queued);
    assert_eq!(store.transactions(PAYEE).await.unwrap(), [row(7), bumped], "the same bytes, in their order");
    assert_eq!(store.transactions(key().address()).await.unwrap(), [], "another signer's");
    store.forget_transaction(PAYEE, 7).await.unwrap();
    assert_eq!(store.transactions(PAYEE).await.unwrap(), []);
}

#[tokio::test]
async fn redeeming_passes_over_what_was_refused_and_nothing_else() {
    let (ends, digests) = with_winners(3).await;
    let store = ends.payee_store;
    let overtaken = send(&store, &digests[1..2], 1).await;
    assert!(matches!(overtaken, Err(StoreError::Overtaken(digest)) if digest == digests[0]), "{overtaken:?}");
    assert_eq!(store.transactions(PAYEE).await.unwrap(), []);
    store.refuse_winner(NOW_MS, digests[0], "LockTooSmall").await.unwrap();
    let waiting = store.winners_waiting(key().address(), PAYEE, NOW, 8).await.unwrap();
    assert_eq!((waiting.len(), waiting[0].reason.as_deref(), waiting[0].attempts), (3, Some("LockTooSmall"), 1));
    send(&store, &digests[1..2], 1).await.unwrap();
    let states: Vec<_> = store.replay().await.unwrap().iter().map(|w| w.state).collect();
    assert_eq!(states, [WinnerState::Sent, WinnerState::Queued], "the third lies above and waits");
    assert_eq!(store.totals().await.unwrap().dropped, 1);
}

#[tokio::test]
async fn a_reverted_or_bumped_transaction_forgets_no_winner() {
    let (ends, digests) = with_winners(2).await;
    let store = ends.payee_store;
    send(&store, &digests, 1).await.unwrap();
    store.mark_mined(NOW_MS, &digests, Some(random(2)), 5).await.unwrap();
    store.mark_unmined(NOW_MS, &digests).await.unwrap();
    let replay = store.replay().await.unwrap();
    assert!(replay.iter().all(|w| (w.state, w.block) == (WinnerState::Sent, None)));
    store.requeue(NOW_MS, &digests, "nonce 1 went to another transaction").await.unwrap();
    send(&store, &digests, 2).await.unwrap();
    store.requeue(NOW_MS, &digests[..1], "reverted: nonce too low").await.unwrap();
    store.mark_dropped(NOW_MS, &digests[..1], "nonce too low").await.unwrap();
    let replay = store.replay().await.unwrap();
    assert_eq!((replay.len(), replay[0].state, replay[0].attempts), (1, WinnerState::Sent, 2));
    assert_eq!(store.totals().await.unwrap().dropped, 1);
}

#[tokio::test]
async fn a_step_out_of_order_changes_nothing() {
    let (ends, digests) = with_winners(2).await;
    let store = ends.payee_store;
    send(&store, &digests[..1], 1).await.unwrap();
    // The second was never sent: the batch fails whole.
    let refused = store.mark_mined(NOW_MS, &digests, Some(random(1)), 5).await;
    assert!(matches!(refused, Err(StoreError::Winner { digest, .. }) if digest == digests[1]));
    let states: Vec<_> = store.replay().await.unwrap().iter().map(|w| w.state).collect();
    assert_eq!(states, [WinnerState::Sent, WinnerState::Queued]);
    store.mark_dropped(NOW_MS, &digests, "test").await.unwrap();
    for refused in [
        store.mark_dropped(NOW_MS, &digests, "twice").await,
        send(&store, &digests, 2).await,
        store.refuse_winner(NOW_MS, digests[0], "too late").await,
        store.mark_unmined(NOW_MS, &digests).await,
        store.mark_final(NOW_MS, &digests).await,
        store.mark_final(NOW_MS, &[random(1)]).await,
    ] {
        assert!(matches!(refused, Err(StoreError::Winner { .. })), "{refused:?}");
    }
    assert_eq!(store.totals().await.unwrap().dropped, 2);
}

#[tokio::test]
async fn an_expired_winner_at_the_head_does_not_block_the_next() {
    let (mut ends, digests) = with_winners(1).await;
    // Twelve hours later a second one wins; then the first expires.
    let later = NOW_MS + DAY_MS / 2;
    let ticket = ends.payer.issue(later, &sure(9), random(9)).await.unwrap();
    ends.payee.accept(later, &ticket, &sure(9), U256::MAX).await.unwrap();
    let after = NOW_MS + DAY_MS + 1000;
    let store = &ends.payee_store;
    let waiting = store.winners_waiting(key().address(), PAYEE, after / 1000, 8).await.unwrap();
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].ticket, ticket.body);
    let dropped = store.drop_expired(after).await.unwrap();
    assert_eq!(dropped, [(digests[0], U256::from(TERMS.face_value))]);
    assert_eq!(store.drop_expired(after).await.unwrap(), []);
}

#[tokio::test]
async fn p5_a_ticket_below_one_handed_to_redemption_is_refused() {
    let mut ends = Ends::new().await;
    let late = ends.payer.issue(NOW_MS, &sure(1), random(1)).await.unwrap();
    let early = ends.payer.issue(NOW_MS, &sure(2), random(2)).await.unwrap();
    let lost_race = ends.payer.issue(NOW_MS, &sure(3), random(3)).await.unwrap();
    ends.payee.accept(NOW_MS, &lost_race, &sure(3), U256::MAX).await.unwrap();
    ends.payee.accept(NOW_MS, &early, &sure(2), U256::MAX).await.expect("overtaken, and nothing is redeemed yet");
    let store = ends.payee_store.clone();
    let digests: Vec<_> = store.replay().await.unwrap().iter().map(|w| w.digest).collect();
    send(&store, &digests, 1).await.unwrap();
    ends.payee.accept(NOW_MS, &late, &sure(1), U256::MAX).await.expect_err("a higher nonce is on its way to the chain");
    ends.crash_payee().await;
    ends.payee.accept(NOW_MS, &late, &sure(1), U256::MAX).await.expect_err("the same after a restart");
    assert_eq!(store.totals().await.unwrap().received, 2);
}

#[tokio::test]
async fn winners_that_wait_fill_the_lock() {
    let mut ends = Ends::new().await;
    let locked = U256::from(TERMS.face_value) * U256::from(2);
    for n in 0..2 {
        let ticket = ends.payer.issue(NOW_MS, &sure(n), random(n)).await.unwrap();
        ends.payee.accept(NOW_MS, &ticket, &sure(n), locked).await.unwrap();
    }
    let third = ends.payer.issue(NOW_MS, &due(2), random(2)).await.unwrap();
    ends.payee.accept(NOW_MS, &third, &due(2), locked).await.expect_err("the lock is full");
    let pairs = ends.payee_store.pairs_waiting(NOW).await.unwrap();
    let (payer, payee, waiting) = pairs[0];
    assert_eq!((payer, payee, waiting.count, waiting.outstanding), (key().address(), PAYEE, 2, locked));
    assert!(waiting.due(NOW, locked));
    // Redeemed, the lock is free again (here the payer has filled it up).
    let digests: Vec<_> = ends.payee_store.replay().await.unwrap().iter().map(|w| w.digest).collect();
    send(&ends.payee_store, &digests, 1).await.unwrap();
    ends.payee_store.mark_mined(NOW_MS, &digests, Some(random(1)), 1).await.unwrap();
    ends.payee.accept(NOW_MS, &third, &due(2), locked).await.unwrap();
}

#[tokio::test]
async fn lists_and_sums_tell_both_directions() {
    let (ends, digests) = with_winners(2).await;
    send(&ends.payee_store, &digests[..1], 1).await.unwrap();
    let received = ends.payee_store.recent_tickets(50).await.unwrap();
    assert_eq!(received.len(), 2);
    assert!(received.iter().all(|row| row.direction == Direction::In && row.peer == key().address()));
    assert_eq!((received[1].state, received[1].tx), (Some(WinnerState::Sent), Some(random(1))));
    assert_eq!((received[0].state, received[0].winner), (Some(WinnerState::Queued), Some(true)));
    let sent = ends.payer_store.recent_tickets(1).await.unwrap();
    assert_eq!((sent.len(), sent[0].direction, sent[0].peer, sent[0].winner), (1, Direction::Out, PAYEE, None));
    let total = U256::from(TERMS.face_value - 1) * U256::from(2);
    assert_eq!(ends.payer_store.totals().await.unwrap().sent_expected, total);
    assert_eq!(ends.payer_store.sent_to(key().address(), PAYEE).await.unwrap(), total);
    assert_eq!(ends.payee_store.received_from(key().address(), PAYEE).await.unwrap(), total);
    assert_eq!(ends.payee_store.received_from(PAYEE, PAYEE).await.unwrap(), U256::ZERO);
}

#[tokio::test]
async fn pruning_keeps_sums_and_winners_that_wait() {
    let (mut ends, digests) = with_winners(2).await;
    let mut losers = 0;
    for n in 10..30 {
        ends.pay(&due(n)).await;
        losers += 1;
    }
    let store = &ends.payee_store;
    send(store, &digests[..1], 1).await.unwrap();
    store.mark_mined(NOW_MS, &digests[..1], None, 1).await.unwrap();
    store.mark_final(NOW_MS, &digests[..1]).await.unwrap();
    let (before, waiting) = (store.totals().await.unwrap(), store.replay().await.unwrap());
    assert_eq!(before.received, losers + 2);
    // A commit that its redemption has revealed is known as used for as long as it could serve.
    store.prune(NOW_MS + 40 * DAY_MS).await.unwrap();
    assert_eq!(store.recent_tickets(50).await.unwrap().len(), waiting.len() + 1);
    for _ in 0..=COMMITS_KEPT / COMMITS_AHEAD {
        ends.payee.commits(COMMITS_AHEAD).await.unwrap();
    }
    store.prune(NOW_MS + 40 * DAY_MS).await.unwrap();
    ends.payer_store.prune(NOW_MS + 40 * DAY_MS).await.unwrap();
    assert_eq!(store.totals().await.unwrap(), before);
    assert_eq!(store.replay().await.unwrap(), waiting);
    assert_eq!(store.recent_tickets(50).await.unwrap().len(), waiting.len());
    assert_eq!(ends.payer_store.recent_tickets(50).await.unwrap(), vec![]);
}
