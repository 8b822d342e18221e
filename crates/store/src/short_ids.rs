//! What is kept by a hash, as people name it: by the first digits.

use alloy::primitives::{B256, hex};

/// Hex digits of a hash that people see: they tell a node's keys or tokens apart, and are no help to whoever wants to use one.
const SHOWN: usize = 12;
/// So many of them name one at least.
const LEAST: usize = 4;

/// Why an id names nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Too short, or no hex digits.
    #[error("{0:?} is no id: give the first {LEAST} hex digits of one or more, as the list shows them")]
    None(String),
    /// Nothing has it.
    #[error("nothing has the id {0}: the list shows which there are")]
    Unknown(String),
    /// More than one begins so.
    #[error("several ids begin with {0}: give more digits")]
    Several(String),
}

/// The id of what is kept by this hash.
pub fn short_id(hash: B256) -> String {
    hex::encode(&hash[..SHOWN / 2])
}

/// The one of `known` whose id begins with `asked`.
pub fn by_id<'a, T>(known: &'a [T], asked: &str, hash: impl Fn(&T) -> B256) -> Result<&'a T, IdError> {
    let asked = asked.trim().to_lowercase();
    if asked.len() < LEAST || !asked.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(IdError::None(asked));
    }
    let mut found = known.iter().filter(|row| short_id(hash(row)).starts_with(&asked));
    match (found.next(), found.next()) {
        (Some(row), None) => Ok(row),
        (Some(_), Some(_)) => Err(IdError::Several(asked)),
        (None, _) => Err(IdError::Unknown(asked)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_one_or_says_why_not() {
        let known = [B256::with_last_byte(1), B256::repeat_byte(0xab)];
        fn find<'a>(known: &'a [B256], asked: &str) -> Result<&'a B256, IdError> {
            by_id(known, asked, |hash| *hash)
        }
        assert_eq!(find(&known, " ABAB "), Ok(&known[1]));
        assert_eq!(find(&known, &short_id(known[1])), Ok(&known[1]));
        assert_eq!(find(&known, "aba"), Err(IdError::None("aba".into())));
        assert_eq!(find(&known, "%%%%"), Err(IdError::None("%%%%".into())));
        assert_eq!(find(&known, "cccc"), Err(IdError::Unknown("cccc".into())));
        assert_eq!(by_id(&[known[1]; 2], "abab", |hash| *hash), Err(IdError::Several("abab".into())));
    }
}
