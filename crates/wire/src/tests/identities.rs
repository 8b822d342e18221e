//! Who is let in, and who is refused before any message.

use std::sync::Arc;

use alloy::primitives::{B256, keccak256};
use rcgen::PublicKeyData;

use tokio::task::JoinSet;

use super::*;
use crate::{
    BindingError, DialError, Gate, Timing, WrongPeer,
    identity::{binding, tls_key},
    tls::{self, SERVER_NAME},
};

#[tokio::test]
async fn two_nodes_prove_their_identities_to_each_other() {
    let ((a, a_id), (b, b_id)) = (node(), node());
    let (to_b, to_a) = connected(&a, &b).await;
    assert_eq!((to_b.address(), to_b.fingerprint()), (b_id.address(), b_id.fingerprint()));
    assert_eq!((to_a.address(), to_a.fingerprint()), (a_id.address(), a_id.fingerprint()));
    assert_eq!(to_b.remote_addr(), b.local_addr().unwrap());
    assert!(to_b.is_alive() && to_a.is_alive());
}

#[test]
fn a_kept_tls_key_keeps_the_fingerprint_and_a_wrong_one_is_an_error() {
    let signer = PrivateKeySigner::random();
    let first = Identity::new(signer.clone(), None).unwrap();
    let again = Identity::new(signer.clone(), Some(&first.tls_key_pem())).unwrap();
    assert_eq!(first.fingerprint(), again.fingerprint());
    assert_ne!(first.fingerprint(), Identity::new(signer.clone(), None).unwrap().fingerprint());
    assert!(Identity::new(signer.clone(), Some("no key")).is_err());
    let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    assert!(Identity::new(signer, Some(&ed25519.serialize_pem())).is_err());
    assert!(!format!("{first:?}").contains("PRIVATE"));
}

/// Impostors with a valid TLS certificate whose binding is wrong in each possible way, and what is found.
fn impostors() -> Vec<(&'static str, Identity, BindingError)> {
    let victim = identity();
    let forged = BindingError::Forged { claimed: victim.address() };
    let attacker = PrivateKeySigner::random();
    let make = |bindings: Vec<Vec<u8>>, key| Identity::with_extensions(attacker.clone(), key, bindings).unwrap();
    let fresh = || {
        let key = tls_key(None).unwrap();
        let fingerprint = keccak256(key.subject_public_key_info());
        (key, fingerprint)
    };

    let (key, fingerprint) = fresh();
    let foreign = make(vec![binding(&attacker, victim.address(), fingerprint).unwrap()], key);
    let (key, _) = fresh();
    let stolen = make(vec![binding(victim.signer(), victim.address(), victim.fingerprint()).unwrap()], key);
    let (key, fingerprint) = fresh();
    let mut bytes = binding(victim.signer(), victim.address(), fingerprint).unwrap();
    bytes[40] ^= 1;
    let tampered = make(vec![bytes], key);
    let (key, _) = fresh();
    let bare = make(vec![], key);
    let (key, fingerprint) = fresh();
    let mut bytes = binding(&attacker, attacker.address(), fingerprint).unwrap();
    let twice = make(vec![bytes.clone(), bytes.clone()], key);
    bytes.push(0);
    let long = make(vec![bytes], fresh().0);
    let empty = make(vec![vec![]], fresh().0);
    let zero = make(vec![[victim.address().as_slice(), &[0; 65]].concat()], fresh().0);

    vec![
        ("signed by another key", foreign, forged.clone()),
        ("copied from the victim's certificate", stolen, forged.clone()),
        ("tampered", tampered, forged.clone()),
        ("no signature", zero, forged),
        ("absent", bare, BindingError::Missing),
        ("there twice", twice, BindingError::Missing),
        ("too long", long, BindingError::Missing),
        ("empty", empty, BindingError::Missing),
    ]
}

#[tokio::test]
async fn the_dialler_refuses_an_impostor() {
    let a = Arc::new(node().0);
    let mut cases = JoinSet::new();
    for (what, impostor, expected) in impostors() {
        let a = a.clone();
        cases.spawn(async move {
            let server = Endpoint::bind(&impostor, loopback()).unwrap();
            let addr = server.local_addr().unwrap();
            let error = timeout(PATIENCE, a.connect(addr, Expect::default())).await.unwrap().unwrap_err();
            let DialError::WrongPeer { wrong: WrongPeer::Binding(found), .. } = error else {
                panic!("{what}: {error}")
            };
            assert_eq!(found, expected, "{what}");
            // The impostor saw no peer: its side of the handshake failed too.
            server.close().await;
            assert!(server.accept().await.is_none(), "{what}");
        });
    }
    cases.join_all().await;
}

#[tokio::test]
async fn the_acceptor_refuses_an_impostor_even_one_that_speaks_at_once() {
    let (b, _) = node();
    let addr = b.local_addr().unwrap();
    for (what, impostor, _) in impostors() {
        let client = Endpoint::bind(&impostor, loopback()).unwrap();
        let error = timeout(PATIENCE, client.connect(addr, Expect::default())).await.unwrap().unwrap_err();
        assert!(matches!(error, DialError::Failed { .. }), "{what}: {error}");

        // A client of its own that does not wait for the acceptor's yes but sends data with its handshake.
        let crypto = tls::dialler(&impostor, Expect::default(), Arc::default()).unwrap();
        let mut raw = quinn::Endpoint::client(loopback()).unwrap();
        raw.set_default_client_config(quinn::ClientConfig::new(Arc::new(crypto)));
        if let Ok(connection) = raw.connect(addr, SERVER_NAME).unwrap().await {
            if let Ok((mut send, _recv)) = connection.open_bi().await {
                let _ = send.write_all(b"\x01\x00\x00\x00\x00").await;
            }
            timeout(PATIENCE, connection.closed()).await.unwrap();
        }
    }
    // Nobody but an honest node is ever handed out.
    let (a, a_id) = node();
    let (_to_b, first) = connected(&a, &b).await;
    assert_eq!(first.address(), a_id.address());
}

#[tokio::test]
async fn a_client_without_a_certificate_or_with_another_protocol_is_refused() {
    let (b, _) = node();
    let addr = b.local_addr().unwrap();
    for alpn in [&b"millrace/1"[..], b"millrace/0", b"h3"] {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(identity().tls_material().0.remove(0)).ok();
        let mut config =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(config).unwrap();
        let raw = quinn::Endpoint::client(loopback()).unwrap();
        let client = quinn::ClientConfig::new(Arc::new(crypto));
        let outcome = raw.connect_with(client, addr, SERVER_NAME).unwrap().await;
        assert!(outcome.is_err());
    }
    let (a, a_id) = node();
    let (_to_b, first) = connected(&a, &b).await;
    assert_eq!(first.address(), a_id.address());
}

#[tokio::test]
async fn the_gate_refuses_a_stranger_and_the_stranger_learns_why() {
    let (friend, stranger, server) = (identity(), identity(), identity());
    let (address, fingerprint) = (friend.address(), friend.fingerprint());
    let gate: Gate = Arc::new(move |a, f| (a, f) == (address, fingerprint));
    let b = Endpoint::bind_gated(&server, loopback(), gate).unwrap();

    let outsider = Endpoint::bind(&stranger, loopback()).unwrap();
    let error = outsider.connect(b.local_addr().unwrap(), Expect::default()).await.unwrap_err();
    assert!(matches!(error, DialError::NotAdmitted { us, .. } if us == stranger.address()), "{error}");

    let insider = Endpoint::bind(&friend, loopback()).unwrap();
    let (_to_b, first) = connected(&insider, &b).await;
    assert_eq!(first.address(), friend.address());
}

#[tokio::test]
async fn the_dialler_refuses_another_node_than_the_expected_one() {
    let ((a, _), (b, b_id)) = (node(), node());
    let addr = b.local_addr().unwrap();
    let someone = identity();
    let wrong = Expect { address: Some(someone.address()), fingerprint: None };
    let error = a.connect(addr, wrong).await.unwrap_err();
    let expected = WrongPeer::Address { expected: someone.address(), found: b_id.address() };
    assert!(matches!(&error, DialError::WrongPeer { wrong, .. } if *wrong == expected), "{error}");

    let old_key = Expect { address: Some(b_id.address()), fingerprint: Some(B256::repeat_byte(7)) };
    let error = a.connect(addr, old_key).await.unwrap_err();
    assert!(matches!(&error, DialError::WrongPeer { wrong: WrongPeer::Fingerprint { .. }, .. }), "{error}");

    let right = Expect { address: Some(b_id.address()), fingerprint: Some(b_id.fingerprint()) };
    let (dialled, accepted) = tokio::join!(a.connect(addr, right), b.accept());
    assert_eq!(dialled.unwrap().address(), b_id.address());
    assert!(accepted.unwrap().is_alive());
}

#[tokio::test]
async fn dialling_where_nobody_answers_ends_in_time_and_says_so() {
    let mute = tokio::net::UdpSocket::bind(loopback()).await.unwrap();
    let timing = Timing { handshake: Duration::from_millis(200), ..Timing::default() };
    let a = Endpoint::bind_with(&identity(), loopback(), None, timing).unwrap();
    let error = timeout(PATIENCE, a.connect(mute.local_addr().unwrap(), Expect::default())).await.unwrap();
    assert!(matches!(error.unwrap_err(), DialError::TimedOut { .. }));
}

#[tokio::test]
async fn a_flood_of_garbage_and_of_half_open_handshakes_keeps_nobody_out() {
    let (b, _) = node();
    let addr = b.local_addr().unwrap();
    let flood = tokio::net::UdpSocket::bind(loopback()).await.unwrap();
    let mut state = 1u32;
    for round in 0..2_000usize {
        // An LCG fills the datagrams; every other one looks like a QUIC initial packet of version 1.
        let mut datagram: Vec<u8> = (0..(round * 7) % 1400 + 1)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        if round % 2 == 0 && datagram.len() > 5 {
            datagram[..5].copy_from_slice(&[0xc3, 0, 0, 0, 1]);
        }
        let _ = flood.send_to(&datagram, addr).await;
    }
    let (a, a_id) = node();
    let (_to_b, first) = connected(&a, &b).await;
    assert_eq!(first.address(), a_id.address());
}

#[test]
fn by_default_a_killed_peer_is_noticed_within_six_seconds() {
    let timing = Timing::default();
    assert!(timing.idle <= Duration::from_secs(5) && timing.keep_alive * 3 < timing.idle);
}
