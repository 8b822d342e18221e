//! The pool: the transcoders that are connected, what each has promised and is doing, its record, and the choice among
//! them. Choice is pure: a transcoder keeps its streams (its decoder and encoders are warm), else the cleanest record, the
//! lowest price and the most room decide, in this order.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256, U256};
use millrace_store::Suspension;
use millrace_tickets::Terms;
use millrace_wire::Peer;
use millrace_wire::messages::WorkerStatus;
use tokio::sync::watch;

/// A transcoder is suspended for long at this many failed samples …
pub const SUSPEND_AT: usize = 3;
/// … among its last so many (protocol.md, section 4). A sample is one rendition of one segment, so one wholly black
/// segment of three renditions is enough.
pub const RECORD: usize = 20;
/// With fewer failed samples it only rests so long: a liar is out at once, and a false alarm (some 22 a day at a rate of
/// 1e-4) costs an honest one a minute.
pub const COOL_OFF: Duration = Duration::from_secs(60);
/// A transcoder keeps a stream's place warm this long after its last segment.
const WARM: Duration = Duration::from_secs(10);

/// A connected transcoder.
pub struct Transcoder {
    /// The connection.
    pub peer: Peer,
    /// Its name.
    pub name: String,
    /// Its price.
    pub terms: Terms,
    /// What it last said of its devices.
    pub status: WorkerStatus,
    /// Unix milliseconds at which it joined.
    pub since_ms: u64,
    /// Segments that passed and failed.
    pub segments_ok: u64,
    /// Segments that failed verification or were lost.
    pub segments_failed: u64,
    /// What its tickets were worth so far, wei.
    pub earned: U256,
    /// Its bond when it joined, wei.
    pub bond: U256,
    record: VecDeque<bool>,
    streams: HashMap<B256, Held>,
}

struct Held {
    rate: u32,
    leases: u32,
    last: Instant,
}

impl Transcoder {
    fn flags(&self) -> usize {
        self.record.iter().filter(|ok| !**ok).count()
    }

    /// Megapixels a second that it can encode.
    pub fn capacity(&self) -> u32 {
        self.status.devices.iter().map(|d| d.megapixels_per_second).sum()
    }

    /// Megapixels a second of the streams it holds.
    pub fn in_use(&self) -> u32 {
        self.streams.values().filter(|h| h.leases > 0 || h.last.elapsed() < WARM).map(|h| h.rate).sum()
    }

    /// Streams that it works on.
    pub fn streams(&self) -> Vec<B256> {
        self.streams.iter().filter(|(_, h)| h.leases > 0 || h.last.elapsed() < WARM).map(|(id, _)| *id).collect()
    }
}

/// The connected transcoders.
#[derive(Default)]
pub struct Pool {
    members: Mutex<HashMap<Address, Transcoder>>,
    suspended: Mutex<HashMap<Address, Suspension>>,
    changed: watch::Sender<()>,
}

/// A transcoder that was chosen for a segment; its room is given back on drop.
pub struct Lease {
    /// Whom.
    pub address: Address,
    /// Its name.
    pub name: String,
    /// Its connection.
    pub peer: Peer,
    /// Its terms.
    pub terms: Terms,
    stream: B256,
    pool: Arc<Pool>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(held) = self.pool.members().get_mut(&self.address).and_then(|t| t.streams.get_mut(&self.stream)) {
            held.leases = held.leases.saturating_sub(1);
            held.last = Instant::now();
        }
    }
}

impl Pool {
    fn members(&self) -> MutexGuard<'_, HashMap<Address, Transcoder>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a transcoder in; one that comes back replaces its former self, and its record follows it.
    pub fn join(&self, peer: Peer, name: String, terms: Terms, status: WorkerStatus, bond: U256, since_ms: u64) {
        let mut members = self.members();
        let former = members.remove(&peer.address());
        if let Some(former) = &former {
            // What is still in work over the old connection fails now, and goes to another one.
            former.peer.close(0, "replaced by a newer connection");
        }
        let (segments_ok, segments_failed, earned, record) = former
            .map(|f| (f.segments_ok, f.segments_failed, f.earned, f.record))
            .unwrap_or((0, 0, U256::ZERO, VecDeque::new()));
        members.insert(
            peer.address(),
            Transcoder {
                peer,
                name,
                terms,
                status,
                since_ms,
                segments_ok,
                segments_failed,
                earned,
                bond,
                record,
                streams: HashMap::new(),
            },
        );
        drop(members);
        self.changed.send_replace(());
    }

    /// Takes what a transcoder says of its devices.
    pub fn update(&self, address: Address, status: WorkerStatus) {
        if let Some(member) = self.members().get_mut(&address) {
            member.status = status;
        }
        self.changed.send_replace(());
    }

    /// Tells when the pool has changed.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Chooses a transcoder with room for `rate` megapixels a second of `stream`, but none of `excluded`.
    pub fn lease(self: &Arc<Self>, stream: B256, rate: u32, excluded: &[Address], max_price: u128) -> Option<Lease> {
        let mut members = self.members();
        let address = members
            .iter()
            .filter(|(address, t)| {
                let holds = t.streams.contains_key(&stream);
                !excluded.contains(address)
                    && t.peer.is_alive()
                    && !t.status.draining
                    && t.terms.price_per_megapixel <= max_price
                    && (holds || t.in_use().saturating_add(rate) <= t.capacity())
            })
            .min_by_key(|(address, t)| {
                let warm = t.streams.get(&stream).is_some_and(|h| h.leases > 0 || h.last.elapsed() < WARM);
                let load = u64::from(t.in_use()) * 1_000 / u64::from(t.capacity().max(1));
                (t.flags(), !warm, t.terms.price_per_megapixel, load, **address)
            })
            .map(|(address, _)| *address)?;
        let member = members.get_mut(&address)?;
        member.streams.retain(|_, h| h.leases > 0 || h.last.elapsed() < WARM);
        let held = member.streams.entry(stream).or_insert_with(|| Held { rate, leases: 0, last: Instant::now() });
        held.leases += 1;
        held.rate = rate;
        Some(Lease {
            address,
            name: member.name.clone(),
            peer: member.peer.clone(),
            terms: member.terms,
            stream,
            pool: self.clone(),
        })
    }

    /// Notes what verification found in a segment's renditions; for how long the transcoder has to be suspended, if one
    /// failed: `long` when it has failed too often, else [`COOL_OFF`].
    pub fn note_samples(
        &self,
        address: Address,
        samples: impl Iterator<Item = bool>,
        long: Duration,
    ) -> Option<Duration> {
        let mut members = self.members();
        let member = members.get_mut(&address)?;
        let mut failed = false;
        for ok in samples {
            failed |= !ok;
            member.record.push_back(ok);
            if member.record.len() > RECORD {
                member.record.pop_front();
            }
        }
        failed.then(|| if member.flags() >= SUSPEND_AT { long } else { COOL_OFF })
    }

    /// Notes a segment that passed and what it was paid.
    pub fn note_paid(&self, address: Address, price: U256) {
        if let Some(member) = self.members().get_mut(&address) {
            member.segments_ok += 1;
            member.earned += price;
        }
    }

    /// Notes a segment that failed or was lost.
    pub fn note_failed(&self, address: Address) {
        if let Some(member) = self.members().get_mut(&address) {
            member.segments_failed += 1;
        }
    }

    /// Looks at every member.
    pub fn map<T>(&self, f: impl FnMut((&Address, &Transcoder)) -> T) -> Vec<T> {
        self.members().iter().map(f).collect()
    }

    /// Suspends a transcoder and closes its connection.
    pub fn suspend(&self, address: Address, suspension: Suspension) {
        if let Some(member) = self.members().get(&address) {
            member.peer.close(millrace_hop::CLOSE_SUSPENDED, &suspension.reason);
        }
        self.suspended.lock().unwrap_or_else(PoisonError::into_inner).insert(address, suspension);
    }

    /// The suspensions in force at `now_ms`, as far as this process knows.
    pub fn suspensions(&self, now_ms: u64) -> HashMap<Address, Suspension> {
        let mut suspended = self.suspended.lock().unwrap_or_else(PoisonError::into_inner);
        suspended.retain(|_, suspension| suspension.until_ms > now_ms);
        suspended.clone()
    }
}
