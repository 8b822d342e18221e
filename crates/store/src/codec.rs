//! Between column values and Rust types. A value of the wrong length is an error, never a panic.

use alloy::primitives::{Address, B256, U256};
use alloy::sol_types::SolValue;
use millrace_tickets::{Signature65, Ticket};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::StoreError;

/// One row, read by column name.
pub(crate) struct Columns<'a>(pub(crate) &'a SqliteRow);

impl Columns<'_> {
    fn bytes(&self, name: &'static str) -> Result<&[u8], StoreError> {
        self.0.try_get(name).map_err(|_| StoreError::Corrupt(name))
    }

    pub(crate) fn b256(&self, name: &'static str) -> Result<B256, StoreError> {
        B256::try_from(self.bytes(name)?).map_err(|_| StoreError::Corrupt(name))
    }

    pub(crate) fn optional_b256(&self, name: &'static str) -> Result<Option<B256>, StoreError> {
        let bytes: Option<&[u8]> = self.0.try_get(name).map_err(|_| StoreError::Corrupt(name))?;
        bytes.map(|bytes| B256::try_from(bytes).map_err(|_| StoreError::Corrupt(name))).transpose()
    }

    pub(crate) fn address(&self, name: &'static str) -> Result<Address, StoreError> {
        Address::try_from(self.bytes(name)?).map_err(|_| StoreError::Corrupt(name))
    }

    pub(crate) fn u256(&self, name: &'static str) -> Result<U256, StoreError> {
        Ok(self.b256(name)?.into())
    }

    /// An amount that fits into a narrower number.
    pub(crate) fn narrow<T: TryFrom<U256>>(&self, name: &'static str) -> Result<T, StoreError> {
        self.u256(name)?.try_into().map_err(|_| StoreError::Corrupt(name))
    }

    pub(crate) fn u64(&self, name: &'static str) -> Result<u64, StoreError> {
        let value: i64 = self.0.try_get(name).map_err(|_| StoreError::Corrupt(name))?;
        value.try_into().map_err(|_| StoreError::Corrupt(name))
    }

    pub(crate) fn u32(&self, name: &'static str) -> Result<u32, StoreError> {
        self.u64(name)?.try_into().map_err(|_| StoreError::Corrupt(name))
    }

    pub(crate) fn optional_u64(&self, name: &'static str) -> Result<Option<u64>, StoreError> {
        let value: Option<i64> = self.0.try_get(name).map_err(|_| StoreError::Corrupt(name))?;
        value.map(|value| value.try_into().map_err(|_| StoreError::Corrupt(name))).transpose()
    }

    pub(crate) fn bool(&self, name: &'static str) -> Result<bool, StoreError> {
        self.0.try_get(name).map_err(|_| StoreError::Corrupt(name))
    }

    pub(crate) fn text(&self, name: &'static str) -> Result<String, StoreError> {
        self.0.try_get(name).map_err(|_| StoreError::Corrupt(name))
    }

    pub(crate) fn optional_text(&self, name: &'static str) -> Result<Option<String>, StoreError> {
        self.0.try_get(name).map_err(|_| StoreError::Corrupt(name))
    }

    pub(crate) fn blob(&self, name: &'static str) -> Result<Vec<u8>, StoreError> {
        Ok(self.bytes(name)?.to_vec())
    }

    pub(crate) fn ticket(&self, name: &'static str) -> Result<Ticket, StoreError> {
        Ticket::abi_decode(self.bytes(name)?).map_err(|_| StoreError::Corrupt(name))
    }

    pub(crate) fn signature(&self, name: &'static str) -> Result<Signature65, StoreError> {
        let bytes: [u8; 65] = self.bytes(name)?.try_into().map_err(|_| StoreError::Corrupt(name))?;
        Ok(Signature65(bytes.into()))
    }
}

/// A number for a BIGINT column. What exceeds it (times and nonces, in some 250 million years) saturates.
pub(crate) fn big(value: u64) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

/// An amount for a BYTEA column: 32 bytes, big endian.
pub(crate) fn word(value: U256) -> Vec<u8> {
    value.to_be_bytes_vec()
}
