//! What a contract's refusal says, in a sentence with its figures and the way out.

use alloy::primitives::U256;
use alloy::primitives::ruint::UintTryFrom;
use alloy::sol_types::SolInterface;

use super::Revert;
use crate::bindings::{Disputes, MillraceToken, Registry, Sampling, TicketBroker};
use crate::words::{decimal, moment, utc};

/// The reason in `data`, as a call reverted with it when the chain's clock said `now` (unix seconds).
pub(super) fn explain(data: &[u8], now: u64) -> String {
    None.or_else(|| TicketBroker::TicketBrokerErrors::abi_decode(data).ok().and_then(|error| of_broker(error, now)))
        .or_else(|| Registry::RegistryErrors::abi_decode(data).ok().and_then(|error| of_registry(error, now)))
        .or_else(|| MillraceToken::MillraceTokenErrors::abi_decode(data).ok().and_then(of_token))
        .or_else(|| Sampling::SamplingErrors::abi_decode(data).ok().and_then(|error| of_sampling(error, now)))
        .or_else(|| Disputes::DisputesErrors::abi_decode(data).ok().and_then(|error| of_disputes(error, now)))
        .unwrap_or_else(|| Revert::decode(data).to_string())
}

fn coin<T>(wei: T) -> String
where
    U256: UintTryFrom<T>,
{
    decimal(U256::from(wei)) + " ETH"
}

fn mill<T>(units: T) -> String
where
    U256: UintTryFrom<T>,
{
    decimal(U256::from(units)) + " MILL"
}

fn stopped(until: u64, now: u64) -> String {
    format!(
        "the guardian has stopped new deposits until {}; what is deposited can be taken out as ever",
        moment(until, now)
    )
}

fn of_broker(error: TicketBroker::TicketBrokerErrors, now: u64) -> Option<String> {
    use TicketBroker::TicketBrokerErrors as E;
    Some(match error {
        E::StillLocked(e) => format!("still locked until {}", moment(e.unlockAt.to(), now)),
        E::NoUnlock(_) => "no unlock is pending for this payee: announce one by `millrace wallet unlock` first".into(),
        E::NoValue(_) => "the amount is nothing".into(),
        E::LockTooSmall(e) if e.nonce == 0 => {
            format!("only {} are locked for this payee, and {} were asked for", coin(e.locked), coin(e.faceValue))
        }
        E::LockTooSmall(e) => format!(
            "the payer's lock has {} left, and the ticket of nonce {} pays {}: the payer has to lock more",
            coin(e.locked),
            e.nonce,
            coin(e.faceValue)
        ),
        E::LockTooLarge(e) => format!("the lock would be {}: more than it can count", coin(e.locked)),
        E::DepositsStopped(e) => stopped(e.until.to(), now),
        E::NothingToClaim(e) => {
            format!("{} has no credit: its winners were paid out already, or none was redeemed", e.payee)
        }
        E::TransferFailed(e) => format!("{} refuses to receive coin: it is a contract that does not take it", e.to),
        E::SessionKeyAlreadySet(e) => {
            format!("{} is a session key already, and its terms never change: take another key for other terms", e.key)
        }
        E::SessionKeyUnknown(e) => format!("{} is no session key of this account", e.key),
        E::SessionKeyInPast(e) => format!("the key would have ended at {}: name a later end", utc(e.expiry.to())),
        E::SessionKeyExpired(e) => format!(
            "the ticket of nonce {} expires at {}, after its session key {} at {}",
            e.nonce,
            utc(e.expiry.to()),
            e.key,
            utc(e.keyExpiry.to())
        ),
        E::DailyCapExceeded(e) => format!(
            "the ticket of nonce {} would bring session key {} to {} for its day, above its cap of {}",
            e.nonce,
            e.key,
            coin(e.spent),
            coin(e.dailyCap)
        ),
        E::NotCarrier(e) => {
            format!(
                "{} may not redeem for {}: the payee names it by `millrace wallet carrier add` first",
                e.sender, e.payee
            )
        }
        E::Expired(e) => format!("the ticket of nonce {} expired at {}", e.nonce, utc(e.expiry.to())),
        E::NonceNotRising(e) => format!(
            "the ticket of nonce {} is at or below nonce {}, up to which this pair was redeemed: it was paid, or a later one was",
            e.nonce, e.lastNonce
        ),
        E::NonceInFuture(e) => format!(
            "the ticket of nonce {} is issued at {}, ahead of the chain: set the payer's clock",
            e.nonce,
            utc(e.nonce >> 24)
        ),
        E::NotAWinner(e) => format!("the ticket of nonce {} did not win", e.nonce),
        E::WrongSigner(e) => format!(
            "the ticket of nonce {} is signed by {}, which is neither its payer {} nor a session key of it, for this chain and broker",
            e.nonce, e.recovered, e.payer
        ),
        _ => return None,
    })
}

fn of_registry(error: Registry::RegistryErrors, now: u64) -> Option<String> {
    use Registry::RegistryErrors as E;
    Some(match error {
        E::DepositsStopped(e) => stopped(e.until.to(), now),
        E::StillUnbonding(e) => format!("still unbonding until {}", moment(e.withdrawableAt.to(), now)),
        E::BondTooLow(e) => format!("the bond would be {}, and the least one is {}", mill(e.bond), mill(e.least)),
        E::BondTooSmall(e) => format!("the bond is {}, and {} were asked for", mill(e.bond), mill(e.amount)),
        E::AlreadyRegistered(_) => {
            "this node is registered: `millrace stake update` publishes something new, `millrace stake bond` adds to its bond".into()
        }
        E::NotRegistered(e) => format!("{} is not registered (any more), so it takes no delegation", e.node),
        E::UnknownRoles(e) => format!("{} is no set of roles: orchestrator, transcoder, checker", e.roles),
        E::CheckerTooSoon(e) => {
            format!("the node was a checker until lately, and can be one again from {}", moment(e.from.to(), now))
        }
        E::UriTooLong(e) => format!("the uri has {} bytes, at most {}", e.length, e.limit),
        E::AllowanceTooSmall(e) => format!(
            "the permit was refused, and the registry may take {} where {} are needed: approve it at the token",
            mill(e.allowance), mill(e.amount)
        ),
        E::NoAmount(_) => "the amount is nothing".into(),
        E::DelegationTooLarge(e) => format!(
            "{} would have {} delegated, and takes {} (ten times its own bond)",
            e.node, mill(e.delegated), mill(e.limit)
        ),
        E::DelegationTooSmall(e) => {
            format!("{} are delegated to {}, and {} were asked for", mill(e.delegated), e.node, mill(e.amount))
        }
        E::PoolSlashed(e) => format!(
            "the pool of {} was slashed to {}: it takes delegations again once all have left it",
            e.node, mill(e.tokens)
        ),
        E::NothingToWithdraw(_) => {
            "nothing is on its way out: `millrace stake unbond` or `undelegate` comes first".into()
        }
        E::NothingToClaim(_) => "no fees are there to be claimed".into(),
        E::CommissionTooHigh(e) => {
            format!("a commission of {} % is above the highest, {} %", percent(e.commission), percent(e.limit))
        }
        E::CommissionRiseTooLarge(e) => format!(
            "a commission of {} % is too much at once: up to {} % can be announced now",
            percent(e.commission), percent(e.limit)
        ),
        E::TransferFailed(e) => format!("{} refuses to receive coin: it is a contract that does not take it", e.to),
        _ => return None,
    })
}

fn of_token(error: MillraceToken::MillraceTokenErrors) -> Option<String> {
    use MillraceToken::MillraceTokenErrors as E;
    Some(match error {
        E::ERC20InsufficientBalance(e) => poor(e.balance, e.needed),
        E::ERC20InsufficientAllowance(e) => {
            format!("{} may take {}, and {} are needed: approve it first", e.spender, mill(e.allowance), mill(e.needed))
        }
        _ => return None,
    })
}

fn poor(balance: U256, needed: U256) -> String {
    format!("the account has {}, and {} are needed: send it MILL", mill(balance), mill(needed))
}

fn of_sampling(error: Sampling::SamplingErrors, now: u64) -> Option<String> {
    use Sampling::SamplingErrors as E;
    Some(match error {
        E::NotOrchestrator(e) => format!("{} is not registered as an orchestrator", e.node),
        E::ChainRunning(e) => format!("{} has a chain of secrets already, at epoch {}: it goes on", e.node, e.epoch),
        E::NoChain(e) => format!("{} has no chain of secrets: `millrace stake sampling commit` begins one", e.node),
        E::EpochNotOver(e) => format!("epoch {} ends at {}", e.epoch, moment(e.endsAt.saturating_to(), now)),
        E::EpochOutOfRange(e) => format!("epoch {} is not one of {} to {}", e.epoch, e.first, e.last),
        E::WrongSecret(e) => {
            format!("the secret of epoch {} is not what was committed: it was committed with another key", e.epoch)
        }
        E::AlreadyStopping(e) => format!("the chain's end is announced: epoch {} is its last", e.lastEpoch),
        E::NotOverdue(e) => {
            format!(
                "the secret of epoch {} is not overdue before {}",
                e.epoch,
                moment(e.overdueAt.saturating_to(), now)
            )
        }
    })
}

fn of_disputes(error: Disputes::DisputesErrors, now: u64) -> Option<String> {
    use Disputes::DisputesErrors as E;
    Some(match error {
        E::DifferentSubject(e) => format!("the two are about different things ({} and {}): no contradiction", e.a, e.b),
        E::SameContent(_) => "the two say the same: one statement, signed once or twice, is no contradiction".into(),
        E::DifferentSigner(e) => format!("the two are signed by different keys, {} and {}", e.a, e.b),
        E::NotAFail(_) => "the verdict is a pass, which no ticket contradicts".into(),
        E::AlreadyProven(e) => format!("{} was slashed for this already", e.signer),
        E::NothingToSlash(e) => {
            format!("{} is not registered and has less than the least bond: the proof stays good for later", e.signer)
        }
        E::WrongSigner(e) => {
            format!("it is signed by {}, and {} had to sign it, for this chain and broker", e.recovered, e.expected)
        }
        E::NotAssigner(e) => format!("only {}, who assigned the work, can open a dispute about it", e.assigner),
        E::NotChecker(e) => {
            format!("{} is not registered as a checker: `millrace stake register --role checker`", e.who)
        }
        E::AlreadyEnlisted(_) => "the checker is enlisted already".into(),
        E::NotEnlisted(_) => "the checker is not enlisted".into(),
        E::StillChecker(e) => format!("{} is a checker, and only it can take itself off the list", e.who),
        E::ListFrozen(e) => format!(
            "{} has resigned, and leaves the list once no dispute waits for its draw; now {} do",
            e.who, e.undrawn
        ),
        E::NoChecker(_) => "no program is named by which disputes are decided: the governor has to name one".into(),
        E::TooFewCheckers(e) => format!("{} checkers are enlisted, and a committee has {} seats", e.enlisted, e.seats),
        E::AlreadyDisputed(e) => format!("there is dispute {} about this receipt", e.id),
        E::WrongStatus(e) => {
            format!("dispute {} is {}, in which state this cannot be done", e.id, status_name(e.status))
        }
        E::TooEarlyToDraw(e) => {
            format!("the committee of dispute {} is drawn in a later block than {}", e.id, e.drawBlock)
        }
        E::NotSeated(e) => format!("{} has no seat on the committee of dispute {}", e.who, e.id),
        E::AlreadyVoted(e) => format!("{} has voted in dispute {}", e.who, e.id),
        E::VotingOver(e) => format!("votes in dispute {} were due at {}", e.id, moment(e.commitUntil.to(), now)),
        E::NotRevealTime(e) => format!(
            "findings of dispute {} are revealed from {} to {}",
            e.id,
            moment(e.from.to(), now),
            utc(e.until.to())
        ),
        E::WrongReveal(e) => format!("{} did not commit to this finding in dispute {}", e.who, e.id),
        E::TooEarlyToSettle(e) => {
            format!("dispute {} can be settled from {}", e.id, moment(e.revealUntil.to(), now))
        }
        _ => return None,
    })
}

/// A dispute's state in a word.
pub fn status_name(status: u8) -> &'static str {
    match status {
        1 => "open: its committee waits to be drawn",
        2 => "before its committee",
        3 => "settled against the worker",
        4 => "dismissed",
        5 => "cancelled",
        _ => "not there",
    }
}

/// Basis points as a percentage.
fn percent(bps: u16) -> String {
    format!("{}.{:02}", bps / 100, bps % 100).trim_end_matches('0').trim_end_matches('.').to_owned()
}
