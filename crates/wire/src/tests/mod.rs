//! Two or more nodes on loopback, over real UDP. Silence is made by a relay that stops; no test waits for a clock it does
//! not own.

mod channels;
mod identities;
mod messages;

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use alloy::signers::local::PrivateKeySigner;
use tokio::time::timeout;

use crate::{Endpoint, Expect, Identity, Peer};

/// Far above what anything takes here: reached only when a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn identity() -> Identity {
    Identity::new(PrivateKeySigner::random(), None).unwrap()
}

/// An endpoint that admits everyone with a valid binding, and its identity.
fn node() -> (Endpoint, Identity) {
    let identity = identity();
    (Endpoint::bind(&identity, loopback()).unwrap(), identity)
}

/// Both ends of one connection: the dialler's peer, then the acceptor's.
async fn connected(dialler: &Endpoint, acceptor: &Endpoint) -> (Peer, Peer) {
    connected_at(dialler, acceptor, acceptor.local_addr().unwrap()).await
}

async fn connected_at(dialler: &Endpoint, acceptor: &Endpoint, addr: SocketAddr) -> (Peer, Peer) {
    let (dialled, accepted) =
        timeout(PATIENCE, async { tokio::join!(dialler.connect(addr, Expect::default()), acceptor.accept()) })
            .await
            .unwrap();
    (dialled.unwrap(), accepted.unwrap())
}
