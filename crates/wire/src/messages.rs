//! What nodes say to each other, the same on both hops: broadcaster to orchestrator, and orchestrator to transcoder. The
//! *assigner* pays, the *worker* is paid.
//!
//! - The first channel that the dialler opens is the control channel: [`Control`] in both directions.
//! - Each segment and attempt has a channel of its own, opened by the assigner: [`Up`] to the worker, [`Down`] back.
//! - Tickets that were not acknowledged go again on a channel that begins with [`Up::Ticket`]: each is answered in order.
//!
//! Signed objects come from `millrace-tickets` and are not checked here. Lists are bounded when they are read, so that
//! a short message never becomes a large one in memory. Postcard numbers enum variants by position: add at the end.

use std::fmt;

use alloy::primitives::{Address, B256};
use bytes::Bytes;
use millrace_tickets::{Assignment, Profile, RenditionFacts, SegmentReceipt, Signed, Terms, Ticket, Verdict};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, SeqAccess, Visitor},
};

/// Changes with every message that an older node would misread.
pub const VERSION: u32 = 3;
/// Renditions of one segment. Real ladders have up to 8.
pub const MAX_RENDITIONS: usize = 16;
/// Devices of one transcoder: 8 GPUs are a full server.
pub const MAX_DEVICES: usize = 64;
/// Commits in one message: the payer holds 64 of a payee.
pub const MAX_COMMITS: usize = 64;

/// What a node is on this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Has the source, pays the orchestrator.
    Broadcaster,
    /// Sells transcoding, pays its transcoders.
    Orchestrator,
    /// Has the devices.
    Transcoder,
}

/// How a connection begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// [`VERSION`] of the sender.
    pub version: u32,
    /// What the sender is.
    pub role: Role,
    /// Its name for people; proves nothing.
    pub node: String,
    /// Streams that it takes on at once; 0 when it takes none.
    pub max_streams: u32,
    /// Whose money it spends, if not its own; the ticket broker must know its key as a session key of that payer.
    pub payer: Option<Address>,
}

/// On the control channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// The dialler's first message.
    Hello(Greeting),
    /// The acceptor's answer.
    Welcome(Greeting),
    /// What the worker has free, at the start and on every change.
    Worker(WorkerStatus),
    /// What the worker charges.
    Terms(Terms),
    /// Commits for the tickets to come, in order, each for one ticket.
    Commits(#[serde(deserialize_with = "at_most::<_, _, MAX_COMMITS>")] Vec<B256>),
    /// No new streams, please; what runs is finished.
    Draining,
    /// The last message.
    Bye {
        /// Why, in words.
        reason: String,
    },
}

/// A worker's devices and what they do now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// One entry per device.
    #[serde(deserialize_with = "at_most::<_, _, MAX_DEVICES>")]
    pub devices: Vec<Device>,
    /// Takes no new streams.
    pub draining: bool,
}

/// How a device encodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// NVIDIA's hardware encoder.
    Nvenc,
    /// Software.
    X264,
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nvenc => "nvenc",
            Self::X264 => "x264",
        })
    }
}

/// One device of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Unique in its worker, such as "gpu0".
    pub name: String,
    /// How it encodes.
    pub kind: DeviceKind,
    /// For people: the model, and why this kind.
    pub detail: String,
    /// Capacity: megapixels encoded per second, summed over renditions.
    pub megapixels_per_second: u32,
    /// Of which reserved now.
    pub in_use: u32,
    /// Streams that it serves now.
    pub sessions: u32,
}

/// From the assigner, on a segment's channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Up {
    /// The first message.
    Open(SegmentOpen),
    /// The source's next part, as soon as it exists.
    Part {
        /// From 0 within the segment.
        index: u32,
        /// One `moof` and `mdat`.
        bytes: Bytes,
    },
    /// The source is complete: its hash is known and the assignment is signed.
    End {
        /// What the worker signs its receipt for.
        assignment: Signed<Assignment>,
        /// How many parts there were.
        parts: u32,
    },
    /// Stop: the result is not wanted any more.
    Cancel {
        /// Why, in words.
        reason: String,
    },
    /// The pay for the receipt, which has passed.
    Ticket(Signed<Ticket>),
    /// The receipt has failed: no pay.
    Failed(Signed<Verdict>),
}

/// What a worker must know to begin a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentOpen {
    /// The stream's id.
    pub stream: B256,
    /// The segment's number in its stream, from 0.
    pub seq: u64,
    /// The try, from 0.
    pub attempt: u32,
    /// The timeline or the encoding changed before this segment.
    pub discontinuity: bool,
    /// What to make of it; a rendition's number below is its place here.
    #[serde(deserialize_with = "at_most::<_, _, MAX_RENDITIONS>")]
    pub profiles: Vec<Profile>,
    /// The source's `ftyp` and `moov`.
    pub source_init: Bytes,
    /// Megapixels per second that this stream takes, summed over renditions: what to reserve.
    pub megapixel_rate: u32,
    /// Nothing of the result is shown before it has passed.
    pub verify_before_publish: bool,
    /// Milliseconds from now until the result is worthless.
    pub deadline_ms: u32,
}

/// From the worker, on a segment's channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Down {
    /// Capacity is reserved.
    Accepted,
    /// Nothing will come; nothing is owed.
    Refused(Refusal),
    /// A rendition's `ftyp` and `moov`, before its first part.
    Init {
        /// Its place in the profiles.
        rendition: u8,
        /// `ftyp` and `moov`.
        bytes: Bytes,
    },
    /// A rendition's next part.
    Part {
        /// Its place in the profiles.
        rendition: u8,
        /// From 0 within the segment.
        index: u32,
        /// One `moof` and `mdat`.
        bytes: Bytes,
    },
    /// Discard what came for this segment: a new try follows.
    Restart,
    /// All of it is made.
    Receipt {
        /// Signed by the worker.
        receipt: Signed<SegmentReceipt>,
        /// The leaves of the receipt's `renditionRoot`, in the order of the profiles.
        #[serde(deserialize_with = "at_most::<_, _, MAX_RENDITIONS>")]
        facts: Vec<RenditionFacts>,
    },
    /// The ticket is good and stored. Says not whether it wins.
    TicketAck {
        /// More commits, to replace what was used.
        #[serde(deserialize_with = "at_most::<_, _, MAX_COMMITS>")]
        commits: Vec<B256>,
    },
    /// The ticket is not taken, and never will be.
    TicketRejected {
        /// Why, in words.
        reason: String,
    },
    /// The ticket cannot be judged or is not good now, and may be later: send the same one again.
    TicketLater {
        /// Why, in words.
        reason: String,
    },
}

/// Why a worker does not take a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// For programs.
    pub code: RefusalCode,
    /// For people.
    pub message: String,
}

/// What the assigner can do about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RefusalCode {
    /// No capacity now: another worker, or later.
    Busy,
    /// Shutting down: another worker.
    Draining,
    /// This source or ladder cannot be done here: another worker may.
    Unsupported,
    /// The offer breaks the protocol: do not repeat it.
    Malformed,
    /// The terms or the funds do not suffice: pay, lock more, or go elsewhere.
    Payment,
    /// The worker failed inside: try again, or another.
    Internal,
}

/// Reads a list and stops at the first entry too many.
fn at_most<'de, D: Deserializer<'de>, T: Deserialize<'de>, const N: usize>(from: D) -> Result<Vec<T>, D::Error> {
    struct List<T, const N: usize>(std::marker::PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for List<T, N> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {N}")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::with_capacity(entries.size_hint().unwrap_or(0).min(N));
            while let Some(entry) = entries.next_element()? {
                if list.len() == N {
                    return Err(A::Error::invalid_length(N + 1, &self));
                }
                list.push(entry);
            }
            Ok(list)
        }
    }

    from.deserialize_seq(List::<T, N>(std::marker::PhantomData))
}
