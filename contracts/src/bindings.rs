//! The contracts' interfaces, generated from `artifacts/`. Documented in Solidity, beside this file.
#![allow(missing_docs, reason = "generated: the Solidity sources carry the documentation")]
#![allow(clippy::too_many_arguments, reason = "generated: as many arguments as the contract has")]

use alloy::sol;

sol!(
    #[sol(rpc)]
    #[derive(Debug, PartialEq, Eq)]
    Registry,
    "artifacts/Registry.json"
);

sol!(
    #[sol(rpc)]
    #[derive(Debug, PartialEq, Eq)]
    TicketBroker,
    "artifacts/TicketBroker.json"
);

sol!(
    #[sol(rpc)]
    #[derive(Debug, PartialEq, Eq)]
    MillraceToken,
    "artifacts/MillraceToken.json"
);

sol!(
    #[sol(rpc)]
    #[derive(Debug, PartialEq, Eq)]
    TimelockController,
    "artifacts/TimelockController.json"
);

sol!(
    #[sol(rpc)]
    #[derive(Debug, PartialEq, Eq)]
    Parameters,
    "artifacts/Parameters.json"
);

sol!(
    #[sol(rpc)]
    #[derive(Debug, PartialEq, Eq)]
    Sampling,
    "artifacts/Sampling.json"
);

pub use disputes::Disputes;

/// Apart from the rest, since it brings the broker's `Ticket` once more.
pub mod disputes {
    alloy::sol!(
        #[sol(rpc)]
        #[derive(Debug, PartialEq, Eq)]
        Disputes,
        "artifacts/Disputes.json"
    );
}

impl From<millrace_tickets::Ticket> for TicketBroker::Ticket {
    fn from(t: millrace_tickets::Ticket) -> Self {
        let millrace_tickets::Ticket {
            payer,
            payee,
            faceValue,
            winProb,
            nonce,
            expiry,
            payeeCommit,
            payerRand,
            workHash,
        } = t;
        Self { payer, payee, faceValue, winProb, nonce, expiry, payeeCommit, payerRand, workHash }
    }
}
