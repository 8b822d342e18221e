//! What an encoder may do wrong, with a real ffmpeg, against the whole network.

use crate::media::{Publisher, cuts};
use crate::network::Network;
use crate::playlist::Watch;
use crate::process::wait_for;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A refusal comes at once; ffmpeg needs a moment to start.
const REFUSED: Duration = Duration::from_secs(10);
const START: Duration = Duration::from_secs(30);

/// What the log must say of a refusal that the encoder has seen.
fn assert_logged(network: &Network, what: &str) {
    wait_for(&format!("a log line about {what}"), REFUSED, || {
        let logs = network.logs();
        let refusal = logs.lines().find(|line| line.contains("refused") && line.contains(what));
        refusal.map(drop).ok_or_else(|| "no such line".to_owned())
    });
}

#[test]
fn wrong_publishers_are_refused_and_the_right_one_goes_on() {
    let network = Network::start(&["--source", "none"]);
    let mut good = Publisher::file(cuts(), -1, &network.rtmp(&network.live.key));
    let mut watch = Watch::new(network.master(&network.live.name));
    watch.until_more(1, START);

    let (status, said) = Publisher::file(cuts(), -1, &network.rtmp("no-such-key")).ended(REFUSED);
    assert!(!status.success(), "a wrong key was taken: {said}");
    assert_logged(&network, "key");

    let (status, said) = Publisher::file(cuts(), -1, &network.rtmp(&network.live.key)).ended(REFUSED);
    assert!(!status.success(), "a second publisher was taken: {said}");
    assert_logged(&network, "already");

    let flash =
        ["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25", "-c:v", "flv1", "-t", "30"].map(std::ffi::OsStr::new);
    let (status, said) = Publisher::start(&flash, &network.rtmp(&network.side.key)).ended(REFUSED);
    assert!(!status.success(), "Sorenson video was taken: {said}");
    assert_logged(&network, "codec");

    let address = network.ready.rtmp_url.strip_prefix("rtmp://").and_then(|rest| rest.split('/').next()).unwrap();
    let mut garbage = TcpStream::connect(address).unwrap();
    garbage.set_read_timeout(Some(REFUSED)).unwrap();
    let _ = garbage.write_all(&[b"GET / HTTP/1.1\r\n".as_slice(), &[0xA5; 65_536]].concat()); // the server may hang up while it is written
    let mut answer = Vec::new();
    match garbage.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) => assert_eq!(
            error.kind(),
            std::io::ErrorKind::ConnectionReset,
            "the server keeps a connection that speaks no RTMP"
        ),
    }

    watch.until_more(2, START);
    watch.assert_whole();
    assert!(good.is_running());
    network.assert_well();
}

#[test]
fn a_publisher_that_vanishes_ends_its_stream_and_may_come_back() {
    let network = Network::start(&["--source", "none"]);
    let publisher = Publisher::file(cuts(), -1, &network.rtmp(&network.live.key));
    let mut watch = Watch::new(network.master(&network.live.name));
    watch.until_more(1, START);
    publisher.vanish();
    network.until_stream_is(&network.live.name, "ended");

    let _again = Publisher::file(cuts(), -1, &network.rtmp(&network.live.key));
    network.until_stream_is(&network.live.name, "live");
    let mut watch = Watch::new(network.master(&network.live.name));
    watch.until_more(2, START);
    assert!(
        watch.last.unwrap().variants.iter().all(|v| !v.media.ended),
        "the stream that came back says that it has ended"
    );
    network.assert_well();
}
