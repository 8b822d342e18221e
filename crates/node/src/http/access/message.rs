//! The text that an owner signs: EIP-4361, "Sign-In with Ethereum". The node writes the whole of it, and later checks the
//! signature over the very text that it kept, so that nothing of a stranger's is parsed.

use std::time::{Duration, UNIX_EPOCH};

use alloy::primitives::Address;

/// What the text says.
pub(super) struct Message<'a> {
    /// The host that the page is at, with its port where it has one.
    pub(super) domain: &'a str,
    /// `http` or `https`.
    pub(super) scheme: &'a str,
    pub(super) address: Address,
    /// The node's own name and address: a page of another node cannot have this one signed in to.
    pub(super) name: &'a str,
    pub(super) node: Address,
    pub(super) chain_id: u64,
    pub(super) nonce: &'a str,
    /// Unix seconds.
    pub(super) issued_at: u64,
    pub(super) expires_at: u64,
}

impl Message<'_> {
    pub(super) fn text(&self) -> String {
        let Self { domain, scheme, address, name, node, chain_id, nonce, issued_at, expires_at } = self;
        let name: String = name.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(64).collect();
        format!(
            "{domain} wants you to sign in with your Ethereum account:\n\
             {address}\n\
             \n\
             Operate the Millrace node {name} ({node}). This costs nothing and sends no transaction.\n\
             \n\
             URI: {scheme}://{domain}/\n\
             Version: 1\n\
             Chain ID: {chain_id}\n\
             Nonce: {nonce}\n\
             Issued At: {}\n\
             Expiration Time: {}",
            rfc3339(*issued_at),
            rfc3339(*expires_at)
        )
    }
}

/// Unix seconds as RFC 3339 writes them, in UTC.
pub(super) fn rfc3339(unix: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(unix)).to_string()
}

#[cfg(test)]
mod tests {
    use alloy::primitives::address;

    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(unix), date);
        }
    }

    #[test]
    fn the_text_is_what_the_standard_says_line_by_line() {
        let message = Message {
            domain: "127.0.0.1:8080",
            scheme: "http",
            address: address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
            name: "the\nmill\u{202e}",
            node: Address::ZERO,
            chain_id: 31_337,
            nonce: "0123456789abcdef",
            issued_at: 0,
            expires_at: 300,
        };
        let text = message.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 11, "a name adds no lines: {text}");
        assert_eq!(lines[0], "127.0.0.1:8080 wants you to sign in with your Ethereum account:");
        assert_eq!(lines[1], "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", "with its checksum");
        assert!(lines[3].contains("themill (0x0000"), "{text}");
        assert_eq!(&lines[5..8], ["URI: http://127.0.0.1:8080/", "Version: 1", "Chain ID: 31337"]);
        assert_eq!(lines[10], "Expiration Time: 1970-01-01T00:05:00Z");
    }
}
