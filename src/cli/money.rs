//! Amounts, spans of time and addresses as people write them: `0.5eth`, `20gwei`, `100mill`, `30d`. How they are read to
//! people is in `millrace_contracts::words`.

use alloy::primitives::{Address, U256};
use millrace_contracts::words::{DECIMALS, scaled};

/// The units of coin and how many digits their point is moved by.
const COIN_UNITS: [(&str, usize); 3] = [("gwei", 9), ("wei", 0), ("eth", DECIMALS)];
const MILL_UNIT: [(&str, usize); 1] = [("mill", DECIMALS)];

/// An amount of one of the two kinds of money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Money {
    /// Of the chain's own coin, wei.
    Coin(U256),
    /// Of the token, in units of 10^-18.
    Mill(U256),
}

/// A part of something, or all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// So much.
    Of(U256),
    /// All.
    All,
}

impl Part {
    /// So much of `whole`.
    pub fn of(self, whole: U256) -> U256 {
        match self {
            Self::Of(amount) => amount,
            Self::All => whole,
        }
    }
}

/// An amount of coin, wei.
pub fn coin(text: &str) -> Result<U256, String> {
    match money(text)? {
        Money::Coin(wei) => Ok(wei),
        Money::Mill(_) => Err("this is paid in the chain's coin: say such as 0.5eth, 20gwei or 12wei".into()),
    }
}

/// An amount of MILL, in units of 10^-18.
pub fn mill(text: &str) -> Result<U256, String> {
    match money(text)? {
        Money::Mill(units) => Ok(units),
        Money::Coin(_) => Err("bonds, delegations and deposits are in MILL: say such as 100mill".into()),
    }
}

/// An amount of coin, or `all`.
pub fn coin_or_all(text: &str) -> Result<Part, String> {
    if text == "all" { Ok(Part::All) } else { coin(text).map(Part::Of) }
}

/// An amount of MILL, or `all`.
pub fn mill_or_all(text: &str) -> Result<Part, String> {
    if text == "all" { Ok(Part::All) } else { mill(text).map(Part::Of) }
}

/// An amount of either.
pub fn money(text: &str) -> Result<Money, String> {
    let text = text.trim().to_ascii_lowercase();
    let of = |units: &[(&str, usize)]| {
        units.iter().find_map(|(unit, decimals)| Some((text.strip_suffix(unit)?.trim().to_owned(), *decimals)))
    };
    if let Some((number, decimals)) = of(&MILL_UNIT) {
        return scaled(&number, decimals).map(Money::Mill);
    }
    let Some((number, decimals)) = of(&COIN_UNITS) else {
        return Err("an amount needs its unit: eth, gwei or wei of coin, or mill, such as 0.5eth or 100mill".into());
    };
    scaled(&number, decimals).map(Money::Coin)
}

/// An address: `0x` and 40 hex digits. In mixed case its checksum (EIP-55) must be right.
pub fn address(text: &str) -> Result<Address, String> {
    let digits = text.strip_prefix("0x").filter(|digits| digits.len() == 40);
    let address = digits.and_then(|digits| digits.parse::<Address>().ok());
    let (Some(digits), Some(address)) = (digits, address) else {
        return Err("an address is 0x and 40 hex digits".into());
    };
    let mixed = digits.bytes().any(|b| b.is_ascii_uppercase()) && digits.bytes().any(|b| b.is_ascii_lowercase());
    if mixed && address.to_checksum(None) != text {
        return Err("the address's capital letters do not fit its digits: there is a typing error in it".into());
    }
    if address.is_zero() {
        return Err("nobody has the zero address: what goes there is lost".into());
    }
    Ok(address)
}

/// A span of time, seconds: `90s`, `30min`, `48h`, `30d`.
pub fn span(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 4] = [("min", 60), ("s", 1), ("h", 3600), ("d", 86_400)];
    let found = UNITS.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)));
    let number = found.and_then(|(number, seconds)| number.trim().parse::<u64>().ok()?.checked_mul(*seconds));
    number.ok_or_else(|| format!("{text:?} is no span of time: say such as 90s, 30min, 48h or 30d"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_and_have_units() {
        let wei = |text| coin(text).unwrap().to_string();
        assert_eq!(wei("0.5eth"), "500000000000000000");
        assert_eq!(wei("20 gwei"), "20000000000");
        assert_eq!((wei("12wei"), wei("1.000000000000000001ETH")), ("12".into(), "1000000000000000001".into()));
        assert_eq!(mill("100mill").unwrap().to_string(), "100000000000000000000");
        assert_eq!(mill_or_all("all"), Ok(Part::All));
        for (text, says) in [
            ("5", "needs its unit"),
            ("", "needs its unit"),
            ("1.5wei", "digits after the point"),
            ("-1eth", "no number"),
            (".5eth", "no number"),
            ("0eth", "nothing"),
            ("1e3eth", "no number"),
            ("999999999999eth", "more than"),
            ("5mill", "coin"),
        ] {
            let error = coin(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        assert!(mill("5eth").unwrap_err().contains("in MILL"));
    }

    #[test]
    fn an_address_with_a_typing_error_is_refused() {
        let right = "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359";
        assert!(address(right).is_ok() && address(&right.to_lowercase()).is_ok());
        assert!(address(&right.replace('1', "2")).unwrap_err().contains("typing error"));
        for text in ["", "0x", "fB6916095ca1df60bB79Ce92cE3Ea74c37c5d359", "0x00", "vitalik.eth", &format!("{right}00")]
        {
            assert!(address(text).unwrap_err().contains("40 hex digits"), "{text}");
        }
        assert!(address("0x0000000000000000000000000000000000000000").is_err());
    }

    #[test]
    fn spans_have_units() {
        assert_eq!((span("48h"), span("30d"), span("90 s")), (Ok(172_800), Ok(2_592_000), Ok(90)));
        assert!(span("48").is_err() && span("h").is_err() && span("99999999999999999999d").is_err());
    }
}
