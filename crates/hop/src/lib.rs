//! One hop of the network: an *assigner* (payer) gives a segment to a *worker* (payee), and both ends live here, from the
//! offer to the payment. Broadcaster → orchestrator and orchestrator → transcoder are the same hop, so a role that sits
//! between the two uses both ends.
//!
//! In the order in which a segment meets them:
//! [`source`] keeps the parts, [`assign`] is the assigner's end of one attempt, [`serve`] the worker's, [`sign`] writes
//! down what is signed before it is signed, [`purse`] pays, [`till`] is paid, [`redeem`] takes winners to the chain.
//!
//! What is absent: this crate looks at no media. Frames and pixels are told to it by its callers, bytes are opaque.

pub mod source;
