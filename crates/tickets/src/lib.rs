//! Tickets, receipts and assignments: EIP-712 and the payer's and payee's state machines, pure.
//!
//! Nothing here does I/O, reads a clock or draws randomness: `now` (unix seconds) and random bytes are arguments.
//! - [`objects`]: what nodes sign, and the domain they sign it in. [`signed`]: signatures, one encoding only.
//! - [`hashes`]: the hashes that name work: ladder, renditions, receipt, prepaid segments.
//! - [`money`]: quotes, prices, win probabilities and the draw.
//! - [`payer`] and [`payee`]: the two ends of one pair. A node keeps one object for each peer it pays or is paid by.
//! - [`credit`]: how much a payer may owe.
//!
//! The objects hold what fits in memory; `crates/store` is the last arbiter of "once": its unique keys refuse what a
//! bounded memory has forgotten.

pub mod credit;
pub mod hashes;
pub mod money;
pub mod objects;
pub mod payee;
pub mod payer;
pub mod signed;

pub use hashes::{prepay_work_hash, profiles_hash, rendition_root, work_hash};
pub use money::{Due, Terms, draw, expected_value, expected_value_x64, least_face_value, price, win_prob_for};
pub use objects::{Assignment, Domain, Profile, RenditionFacts, SegmentReceipt, Ticket, Verdict};
pub use payee::{Accepted, Backing, Payee, PayeeState, RejectReason, SessionKey, Waiting};
pub use payer::{Payer, PayerError};
pub use signed::{Signature65, SignatureError, Signed};
