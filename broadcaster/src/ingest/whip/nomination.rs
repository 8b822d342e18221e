//! A path that is nominated before it is known to work (RFC 8445, section 7.3.1.5). Sans-IO.
//!
//! A client may nominate with its very first check. The `rtc` crate 0.21.1 then checks the path in turn, but forgets why, and waits to be
//! asked again. FFmpeg asks once where it begins DTLS itself, so that request is kept here, and given to the crate again when the path has
//! answered: it authenticates it anew, and answers.

use bytes::BytesMut;
use rtc::stun::attributes::ATTR_USE_CANDIDATE;
use rtc::stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Message, is_stun_message};
use std::net::SocketAddr;

/// The nomination that waits for its path, while there is none in use.
#[derive(Default)]
pub(super) struct Nomination {
    held: Option<(SocketAddr, BytesMut)>,
    settled: bool,
}

impl Nomination {
    /// Says whether a path is in use: then nominations are the crate's own business.
    pub(super) fn settled(&mut self, settled: bool) {
        (self.settled, self.held) = (settled, None);
    }

    /// Looks at a datagram that was taken, and gives the one from the same address that is to be taken again behind it.
    pub(super) fn after(&mut self, bytes: &[u8], from: SocketAddr) -> Option<BytesMut> {
        if self.settled || !is_stun_message(bytes) {
            return None;
        }
        let mut message = Message::new();
        message.unmarshal_binary(bytes).ok()?;
        if message.typ == BINDING_REQUEST && message.contains(ATTR_USE_CANDIDATE) {
            self.held = Some((from, bytes.into()));
        }
        let answered = message.typ == BINDING_SUCCESS;
        self.held.take_if(|(address, _)| answered && *address == from).map(|(_, request)| request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtc::stun::message::{MessageType, Setter};

    fn message(typ: MessageType, nominates: bool) -> Vec<u8> {
        let mut message = Message::new();
        let typ: Box<dyn Setter> = Box::new(typ);
        message.build(&[typ]).unwrap();
        if nominates {
            message.add(ATTR_USE_CANDIDATE, &[]);
        }
        message.raw
    }

    #[test]
    fn a_nomination_comes_again_once_when_its_own_path_has_answered() {
        let (here, there) = ("192.0.2.1:1".parse().unwrap(), "192.0.2.1:2".parse().unwrap());
        let (request, success) = (message(BINDING_REQUEST, true), message(BINDING_SUCCESS, false));
        let mut nomination = Nomination::default();
        assert_eq!(nomination.after(&message(BINDING_REQUEST, false), here), None);
        assert_eq!(nomination.after(&success, here), None, "nothing was nominated");
        assert_eq!(nomination.after(&request, here), None);
        for noise in [&success[..19], &[0x16; 40], &[]] {
            assert_eq!(nomination.after(noise, here), None);
        }
        assert_eq!(nomination.after(&success, there), None, "another path");
        assert_eq!(nomination.after(&success, here).as_deref(), Some(&request[..]));
        assert_eq!(nomination.after(&success, here), None, "once");
    }

    #[test]
    fn a_path_in_use_leaves_nothing_to_do_until_it_is_lost() {
        let from = "192.0.2.1:1".parse().unwrap();
        let (request, success) = (message(BINDING_REQUEST, true), message(BINDING_SUCCESS, false));
        let mut nomination = Nomination::default();
        nomination.after(&request, from);
        nomination.settled(true);
        assert_eq!(nomination.after(&success, from), None);
        nomination.after(&request, from);
        assert_eq!(nomination.after(&success, from), None);
        nomination.settled(false);
        nomination.after(&request, from);
        assert!(nomination.after(&success, from).is_some());
    }
}
