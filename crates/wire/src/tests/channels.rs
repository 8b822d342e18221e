//! Messages on channels: order, bounds, back-pressure and ends.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use tokio::net::UdpSocket;

use super::*;
use crate::{
    Channel, Closed, MAX_MESSAGE, RecvError, SendError, Timing,
    messages::{Down, Up},
};

/// A channel between two fresh nodes, the acceptor's end after its first message, and what keeps them up.
async fn channel() -> (Channel, Channel, (Endpoint, Endpoint, Peer, Peer)) {
    let ((a, _), (b, _)) = (node(), node());
    let (to_b, to_a) = connected(&a, &b).await;
    let mut ours = to_b.open().await.unwrap();
    ours.sender.send(&0u8).await.unwrap();
    let mut theirs = timeout(PATIENCE, to_a.accept()).await.unwrap().unwrap();
    assert_eq!(theirs.receiver.recv::<u8>().await.unwrap(), Some(0));
    (ours, theirs, (a, b, to_b, to_a))
}

fn part(index: u32, length: usize) -> Up {
    Up::Part { index, bytes: Bytes::from(vec![index as u8; length]) }
}

#[tokio::test]
async fn a_part_arrives_before_the_next_one_is_sent() {
    let (mut ours, mut theirs, _up) = channel().await;
    for index in 0..20 {
        ours.sender.send(&part(index, 100_000)).await.unwrap();
        let up: Up = theirs.receiver.recv_within(PATIENCE).await.unwrap().unwrap();
        assert_eq!(up, part(index, 100_000));
        let down = Down::Part { rendition: 1, index, bytes: Bytes::from_static(b"made of it") };
        theirs.sender.send_within(&down, PATIENCE).await.unwrap();
        assert_eq!(ours.receiver.recv_within::<Down>(PATIENCE).await.unwrap().unwrap(), down);
    }
    ours.sender.finish();
    assert_eq!(theirs.receiver.recv_within::<Up>(PATIENCE).await.unwrap(), None);
    assert_eq!(theirs.receiver.recv_within::<Up>(PATIENCE).await.unwrap(), None);
}

#[tokio::test]
async fn a_relay_passes_encoded_messages_on_unread() {
    let (mut ours, mut theirs, _up) = channel().await;
    ours.sender.send(&part(3, 5000)).await.unwrap();
    let encoded = theirs.receiver.recv_bytes().await.unwrap().unwrap();
    theirs.sender.send_bytes(encoded).await.unwrap();
    assert_eq!(ours.receiver.recv_within::<Up>(PATIENCE).await.unwrap().unwrap(), part(3, 5000));
}

#[tokio::test]
async fn the_longest_message_passes_and_a_longer_one_is_refused_before_it_is_sent() {
    let (mut ours, mut theirs, _up) = channel().await;
    let longest = Bytes::from(vec![9; MAX_MESSAGE]);
    let sending = async {
        ours.sender.send_bytes(longest.clone()).await.unwrap();
        let error = ours.sender.send(&part(0, MAX_MESSAGE)).await.unwrap_err();
        assert!(matches!(error, SendError::TooLong { length } if length > MAX_MESSAGE));
        ours.sender.send(&7u8).await.unwrap(); // the refusal left the channel whole
    };
    let receiving = async {
        assert_eq!(theirs.receiver.recv_bytes().await.unwrap().unwrap(), longest);
        assert_eq!(theirs.receiver.recv::<u8>().await.unwrap(), Some(7));
    };
    timeout(PATIENCE, async { tokio::join!(sending, receiving) }).await.unwrap();
}

/// Writes bytes as they are into a new channel of `to_b` and returns what the acceptor makes of them.
async fn received(to_b: &Peer, to_a: &Peer, bytes: &[u8]) -> Result<Option<Up>, RecvError> {
    let (mut send, _recv) = to_b.raw().open_bi().await.unwrap();
    send.write_all(bytes).await.unwrap();
    send.finish().unwrap();
    let mut channel = timeout(PATIENCE, to_a.accept()).await.unwrap().unwrap();
    let first = channel.receiver.recv_within::<Up>(PATIENCE).await;
    if first.is_err() {
        assert_eq!(channel.receiver.recv_within::<Up>(PATIENCE).await, first, "an error stays");
        assert_eq!(channel.receiver.held(), 0, "nothing of a bad message is kept");
    }
    first
}

#[tokio::test]
async fn hostile_bytes_are_errors_and_allocate_no_more_than_came() {
    let ((a, _), (b, _)) = (node(), node());
    let (to_b, to_a) = connected(&a, &b).await;
    let good = postcard::to_stdvec(&part(1, 300)).unwrap();
    let framed = |length: usize, body: &[u8]| [&(length as u32).to_le_bytes(), body].concat();

    let oversized = received(&to_b, &to_a, &framed(MAX_MESSAGE + 1, &good)).await;
    assert_eq!(oversized, Err(RecvError::TooLong { length: MAX_MESSAGE as u32 + 1 }));
    let huge = received(&to_b, &to_a, &[0xff; 64]).await;
    assert_eq!(huge, Err(RecvError::TooLong { length: u32::MAX }));
    assert_eq!(received(&to_b, &to_a, &framed(MAX_MESSAGE, &good)).await, Err(RecvError::Truncated));
    assert_eq!(received(&to_b, &to_a, &[1, 0]).await, Err(RecvError::Truncated));
    assert_eq!(received(&to_b, &to_a, &[]).await, Ok(None));
    assert_eq!(received(&to_b, &to_a, &framed(good.len(), &good)).await, Ok(Some(part(1, 300))));
    let trailing = [&good[..], &[0]].concat();
    assert!(matches!(received(&to_b, &to_a, &framed(trailing.len(), &trailing)).await, Err(RecvError::Decode(_))));
    for cut in [0, 1, 2, 3, 4, 100, good.len() - 1] {
        let outcome = received(&to_b, &to_a, &framed(cut, &good[..cut])).await;
        assert!(matches!(outcome, Err(RecvError::Decode(_))), "{cut}: {outcome:?}");
    }
    // A byte string and a list that announce 4 GiB in a few bytes.
    for announces_much in [&[1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f][..], &[2, 0xff, 0xff, 0xff, 0xff, 0x0f]] {
        let outcome = received(&to_b, &to_a, &framed(announces_much.len(), announces_much)).await;
        assert!(matches!(outcome, Err(RecvError::Decode(_))), "{outcome:?}");
    }
    assert!(to_a.is_alive(), "a bad message costs its channel, not the connection");
}

#[tokio::test]
async fn a_peer_that_stops_reading_stops_the_sender_within_the_window() {
    let (mut ours, mut theirs, _up) = channel().await;
    let mut taken = 0;
    let stuck = loop {
        match ours.sender.send_within(&part(0, 256 << 10), Duration::from_secs(2)).await {
            Ok(()) => taken += 1,
            Err(e) => break e,
        }
        assert!(taken <= 16, "sent 4 MiB without being read");
    };
    assert!(matches!(stuck, SendError::TimedOut(_)));
    assert!(taken >= 6, "less than the window was taken: {taken}");
    // A message given up half-way ends the channel; nothing is ever put behind it.
    assert_eq!(ours.sender.send(&0u8).await, Err(SendError::Finished));
    drop(ours);
    for _ in 0..taken {
        assert_eq!(theirs.receiver.recv_within::<Up>(PATIENCE).await.unwrap(), Some(part(0, 256 << 10)));
    }
    assert!(theirs.receiver.recv_within::<Up>(PATIENCE).await.is_err());
}

#[tokio::test]
async fn one_unread_channel_does_not_hold_up_another() {
    let (mut ours, _unread, (_a, _b, to_b, to_a)) = channel().await;
    let full = timeout(Duration::from_millis(300), async {
        loop {
            ours.sender.send(&part(0, 256 << 10)).await.unwrap();
        }
    });
    assert!(full.await.is_err());
    let mut second = to_b.open().await.unwrap();
    second.sender.send_within(&part(1, 1 << 20), PATIENCE).await.unwrap();
    let mut other = timeout(PATIENCE, to_a.accept()).await.unwrap().unwrap();
    assert_eq!(other.receiver.recv_within::<Up>(PATIENCE).await.unwrap(), Some(part(1, 1 << 20)));
}

#[tokio::test]
async fn a_receive_that_is_dropped_half_way_loses_nothing() {
    let (mut ours, mut theirs, _up) = channel().await;
    let none_yet = theirs.receiver.recv_within::<Up>(Duration::from_millis(10)).await;
    assert!(matches!(none_yet, Err(RecvError::TimedOut(_))));
    let sending = async {
        for index in 0..10 {
            ours.sender.send(&part(index, 700_000)).await.unwrap();
        }
    };
    let receiving = async {
        for index in 0..10 {
            let got = loop {
                // Given up again and again in the midst of the message.
                match theirs.receiver.recv_within::<Up>(Duration::from_millis(1)).await {
                    Err(RecvError::TimedOut(_)) => {}
                    got => break got,
                }
            };
            assert_eq!(got, Ok(Some(part(index, 700_000))));
        }
    };
    timeout(PATIENCE, async { tokio::join!(sending, receiving) }).await.unwrap();
}

#[tokio::test]
async fn resets_stops_and_closes_reach_the_other_side() {
    let (mut ours, mut theirs, (a, b, to_b, to_a)) = channel().await;
    ours.sender.reset(42);
    assert_eq!(theirs.receiver.recv_within::<Up>(PATIENCE).await, Err(RecvError::Reset(42)));
    drop(ours.receiver);
    let stopped = timeout(PATIENCE, async {
        loop {
            if let Err(e) = theirs.sender.send(&0u8).await {
                break e;
            }
        }
    });
    assert_eq!(stopped.await.unwrap(), SendError::Stopped(0));

    let mut last = to_b.open().await.unwrap();
    last.sender.send(&5u8).await.unwrap();
    let heard = async {
        let mut channel = to_a.accept().await.unwrap();
        (channel.receiver.recv::<u8>().await.unwrap(), channel.receiver.recv::<u8>().await.unwrap())
    };
    let (delivered, heard) = tokio::join!(last.sender.finish_and_wait(PATIENCE), heard);
    delivered.unwrap();
    assert_eq!(heard, (Some(5), None));

    to_b.close(3, "enough");
    let closed = timeout(PATIENCE, to_a.closed()).await.unwrap();
    assert_eq!(closed, Closed::Peer { code: 3, reason: "enough".into() });
    assert_eq!(to_b.closed().await, Closed::Here);
    assert_eq!(to_b.open().await.unwrap_err(), Closed::Here);
    a.close().await;
    b.close().await;
    assert!(b.accept().await.is_none());
}

/// Passes datagrams between one client and `server` until `cut`; then it swallows them, as a killed machine does.
async fn relay(server: SocketAddr) -> (SocketAddr, Arc<AtomicBool>) {
    let (front, back) = (UdpSocket::bind(loopback()).await.unwrap(), UdpSocket::bind(loopback()).await.unwrap());
    let (addr, cut) = (front.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
    let stopped = cut.clone();
    tokio::spawn(async move {
        let (mut up, mut down, mut client) = (vec![0; 65_536], vec![0; 65_536], None);
        loop {
            tokio::select! {
                Ok((n, from)) = front.recv_from(&mut up) => {
                    client = Some(from);
                    if !stopped.load(Ordering::Relaxed) {
                        let _ = back.send_to(&up[..n], server).await;
                    }
                }
                Ok((n, _)) = back.recv_from(&mut down) => {
                    if let Some(client) = client && !stopped.load(Ordering::Relaxed) {
                        let _ = front.send_to(&down[..n], client).await;
                    }
                }
            }
        }
    });
    (addr, cut)
}

#[tokio::test]
async fn a_killed_peer_is_noticed_after_the_idle_time_out_and_an_idle_one_is_kept() {
    let timing = Timing { idle: Duration::from_secs(4), keep_alive: Duration::from_millis(100), ..Timing::default() };
    let bind = || Endpoint::bind_with(&identity(), loopback(), None, timing).unwrap();
    let (a, b) = (bind(), bind());
    let (through, cut) = relay(b.local_addr().unwrap()).await;
    let (to_b, to_a) = connected_at(&a, &b, through).await;
    let mut channel = to_b.open().await.unwrap();
    channel.sender.send(&1u8).await.unwrap();
    let mut theirs = timeout(PATIENCE, to_a.accept()).await.unwrap().unwrap();
    assert_eq!(theirs.receiver.recv::<u8>().await.unwrap(), Some(1));

    // Nothing is said for two idle time-outs, but both live.
    assert!(timeout(timing.idle * 2, to_b.closed()).await.is_err());
    assert!(to_a.is_alive());

    cut.store(true, Ordering::Relaxed);
    let limit = Duration::from_secs(16);
    let (ours, others) = tokio::join!(timeout(limit, to_b.closed()), timeout(limit, to_a.closed()));
    assert_eq!((ours.unwrap(), others.unwrap()), (Closed::Silent, Closed::Silent));
    assert_eq!(theirs.receiver.recv::<u8>().await, Err(RecvError::Closed(Closed::Silent)));
    assert!(matches!(channel.sender.send(&2u8).await, Err(SendError::Closed(Closed::Silent))));
}
