//! The audit at the end: databases against databases, databases against the chain, the chain against itself. Each assertion
//! says whose money is not where it should be.

use super::books::{Books, Mark, digest_of, wins};
use super::chain::Ledger;
use super::scene::{BONDS, COIN, MILL, Scene, mill};
use alloy::primitives::{Address, B256, I256, U256, keccak256};
use millrace_tickets::Signed;
use std::collections::{BTreeSet, HashMap, HashSet};

/// What the audit has seen, for the figures.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) tickets: usize,
    pub(super) winners: usize,
    pub(super) wei: U256,
    /// Prepayments of streams that never began, written down by payers and refused by payees: and how many would have won.
    pub(super) unarrived: (usize, usize),
    pub(super) signatures: usize,
}

pub(super) struct Audit<'a> {
    pub(super) scene: &'a Scene,
    pub(super) books: Vec<Books>,
    pub(super) ledger: Ledger,
}

impl Audit<'_> {
    pub(super) fn run(&self) -> Seen {
        let mut seen = Seen::default();
        for books in &self.books {
            self.winners_are_whole(books, &mut seen);
            self.winners_are_paid(books);
        }
        self.tickets_are_on_both_sides(&mut seen);
        self.nothing_is_paid_twice_or_to_nobody();
        self.nobody_contradicts_itself(&mut seen);
        self.every_wei_is_accounted_for();
        self.bonds_are_untouched();
        seen
    }

    fn of(&self, address: Address) -> &Books {
        let name = || panic!("{address} is no node of this test");
        self.books.iter().find(|books| books.address == address).unwrap_or_else(name)
    }

    /// Each accepted ticket is drawn again; those that win are winners, and no others.
    fn winners_are_whole(&self, books: &Books, seen: &mut Seen) {
        let (name, domain) = (books.name, self.scene.treasury.domain());
        let winners: HashMap<B256, _> = books.winners.iter().map(|winner| (winner.digest, winner)).collect();
        let mut winning = 0;
        for received in &books.received {
            let (ticket, digest) = (&received.ticket, received.digest);
            assert_eq!(digest_of(ticket, &domain), digest, "{name}: a ticket is filed under another's digest");
            assert_eq!(received.signature.recover(&digest), Ok(ticket.payer), "{name}: {digest} is not its payer's");
            let rand = books.payee_rand(&domain, ticket.payer, received.index);
            assert_eq!(
                keccak256(rand),
                ticket.payeeCommit,
                "{name}: {digest} is not drawn on the commit that it names"
            );
            let won = wins(ticket, rand);
            winning += usize::from(won);
            assert_eq!(received.winner, won, "{name}: {digest} is filed as a winner or a loser, and is not");
            assert_eq!(
                winners.contains_key(&digest),
                won,
                "{name}: {digest} wins: {won}, and is it a winner? the reverse"
            );
            if let Some(winner) = winners.get(&digest) {
                assert_eq!(winner.payee_rand, rand, "{name}: winner {digest} is kept with the wrong bytes");
                assert_eq!(
                    winner.face_value,
                    U256::from(ticket.faceValue),
                    "{name}: winner {digest} is worth another sum"
                );
            }
        }
        assert_eq!(winning, books.winners.len(), "{name}: it has winners without tickets");
        let counted =
            (books.received.len() as u64, winning as u64, 0, books.winners.iter().map(|w| w.face_value).sum());
        assert_eq!(books.counted, counted, "{name}: its own sums (tickets, winners, dropped, redeemed) are others");
        seen.tickets += books.received.len();
        seen.winners += winning;
        seen.wei += counted.3;
    }

    /// Every winner is final, and in exactly one redemption of the chain.
    fn winners_are_paid(&self, books: &Books) {
        let name = books.name;
        assert_eq!(books.outbox, 0, "{name}: transactions are on their way still");
        for winner in &books.winners {
            assert_eq!(winner.state, "final", "{name}: a winner is lost: {winner:?}");
            let times = self.ledger.redeemed.iter().filter(|(digest, _)| *digest == winner.digest).count();
            assert_eq!(times, 1, "{name}: the chain has redeemed winner {} {times} times", winner.digest);
        }
        let taken = self.ledger.taken.iter().filter(|((_, payee), _)| *payee == books.address);
        let taken: U256 = taken.map(|(_, wei)| *wei).sum();
        let worth: U256 = books.winners.iter().map(|winner| winner.face_value).sum();
        assert_eq!(taken, worth, "{name}: the broker credited another sum than its final winners are worth");
        let credit = self.scene.block_on(self.scene.treasury.credit(books.address)).unwrap();
        let claimed = self.ledger.claimed.get(&books.address).copied().unwrap_or_default();
        assert_eq!(credit + claimed, worth, "{name}: credit and claims are not what was redeemed");
    }

    /// What the chain redeemed is in the database of its payee, once.
    fn nothing_is_paid_twice_or_to_nobody(&self) {
        let mut paid = HashSet::new();
        for (digest, ticket) in &self.ledger.redeemed {
            assert!(paid.insert(digest), "{digest} was redeemed twice");
            let payee = self.of(ticket.payee);
            let known = payee.winners.iter().any(|winner| winner.digest == *digest);
            assert!(known, "{}: {digest} was redeemed, and is no winner in its database", payee.name);
        }
        let worth: U256 = self.ledger.redeemed.iter().map(|(_, ticket)| U256::from(ticket.faceValue)).sum();
        let taken: U256 = self.ledger.taken.values().sum();
        assert_eq!(taken, worth, "the broker's events and the winners in its transactions differ");
    }

    /// What a payee accepted its payer has written, to the byte; and what a payer has written its payee has, if it ever knew of
    /// the work.
    fn tickets_are_on_both_sides(&self, seen: &mut Seen) {
        let domain = self.scene.treasury.domain();
        for payee in &self.books {
            for received in &payee.received {
                let (digest, payer) = (received.digest, self.of(received.ticket.payer));
                let sent = payer.sent.iter().any(|sent| sent.ticket == received.ticket);
                assert!(sent, "{}: {digest}, which {} accepted, was never written down", payer.name, payee.name);
                let signer = self.scene.roles.iter().find(|role| role.address() == payer.address).unwrap();
                let again = Signed::sign(received.ticket.clone(), &domain, &signer.signer).unwrap();
                assert_eq!(again.signature, received.signature, "{}: {digest} has a second signature", payer.name);
            }
        }
        for payer in &self.books {
            for sent in &payer.sent {
                let (payee, digest) = (self.of(sent.ticket.payee), digest_of(&sent.ticket, &domain));
                let arrived = payee.received.iter().any(|received| received.digest == digest);
                assert!(arrived || !sent.acked, "{} acknowledged {digest} and has lost it", payee.name);
                if !arrived {
                    let (work, refused) = (sent.ticket.workHash, &sent.refused);
                    let known = payee.unpaid.contains(&work) || payee.written(&domain).contains(&work.to_string());
                    assert!(
                        !known,
                        "{}: the ticket for {work} is lost to {}, which waits for it: {refused:?}",
                        payer.name, payee.name
                    );
                    assert!(refused.is_some(), "{}: {digest} has no answer of {}", payer.name, payee.name);
                    seen.unarrived.0 += 1;
                    seen.unarrived.1 += usize::from(payee.would_win(&domain, &sent.ticket));
                }
            }
        }
    }

    /// Over all lives of a node: one signed body for each scope, each written down; one ticket for each work, commit and nonce;
    /// no receipt that is paid and refused.
    fn nobody_contradicts_itself(&self, seen: &mut Seen) {
        let domain = self.scene.treasury.domain();
        for books in &self.books {
            let name = books.name;
            let written: HashSet<String> = books.written(&domain).into_iter().collect();
            let mut once: HashMap<(&str, &str, String), String> = HashMap::new();
            let mut only = |kind, of, scope: String, mark: &Mark| {
                let first = once.entry((kind, of, scope.clone())).or_insert_with(|| mark.digest.clone());
                assert_eq!(
                    *first, mark.digest,
                    "{name}: it signed a second {kind} for one {of}, {scope}: equivocation"
                );
            };
            for mark in &books.marks {
                assert!(written.contains(&mark.digest), "{name}: it signed what it had not written down: {mark:?}");
                match (mark.kind.as_str(), &mark.ticket) {
                    ("ticket", Some((payee, commit, nonce))) => {
                        only("ticket", "work", format!("{payee} {}", mark.scope), mark);
                        only("ticket", "commit", format!("{payee} {commit}"), mark);
                        only("ticket", "nonce", format!("{payee} {nonce}"), mark);
                    }
                    ("assignment", None) => only("assignment", "segment and attempt", mark.scope.clone(), mark),
                    ("receipt", None) => only("receipt", "assignment", mark.scope.clone(), mark),
                    ("verdict", None) => only("verdict", "receipt", mark.scope.clone(), mark),
                    _ => panic!("{name}: a signature of a kind that this test does not know: {mark:?}"),
                }
            }
            let of = |kind: &'static str| books.marks.iter().filter(move |mark| mark.kind == kind);
            // A verdict's scope ends with the hash of the receipt that it is about.
            let refused = of("verdict").map(|mark| &mark.scope[mark.scope.len() - 64..]).collect::<BTreeSet<_>>();
            for paid in of("ticket").map(|mark| mark.scope.trim_start_matches("0x")) {
                assert!(!refused.contains(paid), "{name}: it paid and refused receipt {paid}: equivocation");
            }
            let signed = books.marks.iter().collect::<HashSet<_>>().len();
            // A transcoder may have had no work.
            let idle = signed == 0 && books.received.is_empty() && books.sent.is_empty();
            assert!(signed > 0 || idle, "{name}: its log names nothing that it signed, so nothing was compared");
            seen.signatures += signed;
        }
    }

    /// Coin: what each account has is what the blocks say; what the broker has is what it owes.
    fn every_wei_is_accounted_for(&self) {
        let (scene, ledger) = (self.scene, &self.ledger);
        let (chain, broker) = (&scene.treasury, scene.contracts.broker);
        let balance = |of: Address| scene.block_on(chain.balance(of)).unwrap();
        let mut total = U256::ZERO;
        let funded: Vec<Address> = self.books.iter().map(|books| books.address).chain([chain.address()]).collect();
        let accounts: BTreeSet<Address> = ledger.gained.keys().copied().chain(funded.iter().copied()).collect();
        for account in accounts {
            let start = if funded.contains(&account) { U256::from(COIN) } else { U256::ZERO };
            let gained = ledger.gained.get(&account).copied().unwrap_or_default();
            let due = I256::try_from(start).unwrap() + gained;
            let has = balance(account);
            let name = self.books.iter().find(|books| books.address == account).map_or("another account", |b| b.name);
            assert_eq!(
                I256::try_from(has).unwrap(),
                due,
                "{name} {account}: its balance is not what the blocks give it"
            );
            total += has;
        }
        let burned: U256 = U256::from(COIN) * U256::from(funded.len()) - total;
        let tips = balance(Address::ZERO);
        assert_eq!(burned + tips, ledger.fees, "coin has left the accounts otherwise than by fees");

        let mut owed = U256::ZERO;
        for ((payer, payee), funded) in &ledger.locked {
            let taken = ledger.taken.get(&(*payer, *payee)).copied().unwrap_or_default();
            let pair = scene.block_on(chain.pair(*payer, *payee)).unwrap();
            assert_eq!(
                pair.locked,
                *funded - taken,
                "the lock of {payer} for {payee} is not its deposits less redemptions"
            );
            owed += pair.locked;
        }
        for books in &self.books {
            owed += scene.block_on(chain.credit(books.address)).unwrap();
        }
        assert_eq!(balance(broker), owed, "the broker holds another sum than its locks and credits");
    }

    /// MILL: all of each node's is in its hands or in its bond.
    fn bonds_are_untouched(&self) {
        assert_eq!(self.ledger.slashes, 0, "a bond was slashed");
        for role in &self.scene.roles {
            let (given, bond) = match role.kind() {
                "orchestrator" => (mill(MILL), mill(BONDS[0])),
                "transcoder" => (mill(MILL), mill(BONDS[1])),
                _ => (U256::ZERO, U256::ZERO),
            };
            let chain = &self.scene.treasury;
            let has = self.scene.block_on(chain.node(role.address())).unwrap().map_or(U256::ZERO, |node| node.bond);
            assert_eq!(has, bond, "{}: its bond is not what it was told to bond", role.name);
            let tokens = self.scene.block_on(chain.tokens(role.address())).unwrap();
            assert_eq!(tokens + has, given, "{}: MILL have come or gone", role.name);
        }
    }
}
