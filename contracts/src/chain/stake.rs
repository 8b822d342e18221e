//! What a node has at stake: its place in the registry, its bond in MILL, and the secrets that its key gives.

use alloy::primitives::{Address, B256, U256, aliases::U96, keccak256};
use alloy::signers::{SignerSync, local::PrivateKeySigner};
use alloy::sol;
use alloy::sol_types::{SolCall, SolStruct, eip712_domain};

use super::{Addresses, Amount, Chain, ChainError, ChainOptions, Step, StepError};
use crate::bindings::{MillraceToken, Parameters, Registry};
use crate::words::decimal;

/// Role bit of an orchestrator in the registry.
pub const ORCHESTRATOR: u8 = 1;

/// Role bit of a transcoder in the registry.
pub const TRANSCODER: u8 = 2;

/// Role bit of a checker in the registry.
pub const CHECKER: u8 = 4;

sol! {
    /// What the token's holder signs (ERC-2612).
    struct Permit { address owner; address spender; uint256 value; uint256 nonce; uint256 deadline; }
}

/// What the registry says of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRecord {
    /// Bit mask of [`ORCHESTRATOR`], [`TRANSCODER`] and [`CHECKER`].
    pub roles: u8,
    /// Own bond, in units of 10^-18 MILL.
    pub bond: U256,
    /// keccak256 of the TLS key's SubjectPublicKeyInfo.
    pub fingerprint: B256,
    /// Where the node answers.
    pub uri: String,
}

/// All addresses of a deployment by two of them: the registry knows the rest. For configurations without an address book.
pub async fn find(at: impl Into<ChainOptions>, registry: Address, broker: Address) -> Result<Addresses, StepError> {
    let none = Address::ZERO;
    let two = Addresses { registry, broker, token: none, parameters: none, sampling: none, disputes: none };
    let chain = Chain::connect(at, two, PrivateKeySigner::random()).await?; // it signs nothing
    Ok(Addresses {
        token: chain.view("the registry's token", registry, &Registry::tokenCall {}).await?,
        parameters: chain.view("the registry's parameters", registry, &Registry::parametersCall {}).await?,
        sampling: chain.view("the registry's sampling", registry, &Registry::samplingCall {}).await?,
        disputes: chain.view("the registry's disputes", registry, &Registry::disputesCall {}).await?,
        ..two
    })
}

impl Chain {
    /// The registry's record of a node; `None` for a stranger and for a node that has left.
    pub async fn node(&self, who: Address) -> Result<Option<NodeRecord>, ChainError> {
        let node = self.node_view(who).await?;
        Ok((node.roles != 0).then(|| NodeRecord {
            roles: node.roles,
            bond: node.bond.to(),
            fingerprint: node.fingerprint,
            uri: node.serviceURI,
        }))
    }

    /// All that the registry has of a node, also of one that has left.
    pub async fn node_view(&self, who: Address) -> Result<Registry::NodeView, StepError> {
        self.view("registry node", self.contracts.registry, &Registry::nodeCall { who }).await
    }

    /// A governed value, by the name that it has in Parameters.sol.
    pub async fn parameter(&self, name: &str) -> Result<U256, StepError> {
        let call = Parameters::getCall { key: keccak256(name) };
        self.view("parameter", self.contracts.parameters, &call).await
    }

    /// The least bond of a node, in units of 10^-18 MILL.
    pub async fn min_bond(&self) -> Result<U256, StepError> {
        self.parameter("MIN_BOND").await
    }

    /// Tokens of an account, in units of 10^-18.
    pub async fn tokens(&self, account: Address) -> Result<U256, StepError> {
        self.view("token balance", self.contracts.token, &MillraceToken::balanceOfCall { account }).await
    }

    /// Sees to it that the registry has this record, with at least this bond of MILL, and waits for it. Sends nothing when it has.
    pub async fn register(&self, roles: u8, uri: &str, fingerprint: B256, bond: U256) -> Result<(), ChainError> {
        let node = self.node_view(self.address()).await?;
        let missing = bond.saturating_sub(node.bond.to());
        let same = (node.roles, node.serviceURI.as_str(), node.fingerprint) == (roles, uri, fingerprint);
        let uri_now = uri.to_owned();
        let update = Registry::updateCall { roles, serviceURI: uri_now.clone(), fingerprint };
        if missing.is_zero() {
            if !same {
                self.make(&Step::call("update the registry", self.contracts.registry, &update)).await?;
            }
            return Ok(());
        }
        let held = self.tokens(self.address()).await?;
        if held < missing {
            let (needs, has) = (decimal(missing), decimal(held));
            return Err(ChainError::Input(format!(
                "register: the bond takes {needs} MILL, and {} has {has}: send it MILL",
                self.address()
            )));
        }
        let amount = narrow(missing)?;
        let step = if node.roles == 0 {
            let call = Registry::registerCall { roles, serviceURI: uri_now, fingerprint, bond: amount };
            self.bonding_step("register", missing, &[call.abi_encode()]).await?
        } else {
            let mut calls = vec![Registry::addBondCall { amount }.abi_encode()];
            calls.extend((!same).then(|| update.abi_encode()));
            self.bonding_step("add to the bond", missing, &calls).await?
        };
        self.make(&step).await?;
        Ok(())
    }

    /// One transaction that allows the registry `amount` tokens, by a permit where it may not take so many yet, and makes these
    /// calls of it.
    pub async fn bonding_step(&self, what: &'static str, amount: U256, calls: &[Vec<u8>]) -> Result<Step, StepError> {
        let (token, registry, owner) = (self.contracts.token, self.contracts.registry, self.address());
        let allowance = MillraceToken::allowanceCall { owner, spender: registry };
        let mut data: Vec<_> = calls.iter().map(|call| call.clone().into()).collect();
        if self.view("allowance", token, &allowance).await? < amount {
            let nonce = self.view("permit nonce", token, &MillraceToken::noncesCall { owner }).await?;
            let deadline = U256::MAX; // it is good for this nonce alone, and the same again is the same transaction
            let domain = eip712_domain! {
                name: "Millrace", version: "1", chain_id: self.chain_id(), verifying_contract: token,
            };
            let permit = Permit { owner, spender: registry, value: amount, nonce, deadline };
            let digest = permit.eip712_signing_hash(&domain);
            let signature =
                self.signer.sign_hash_sync(&digest).map_err(|error| ChainError::Signer(error.to_string()))?;
            let call = Registry::permitBondCall {
                amount,
                deadline,
                v: 27 + u8::from(signature.v()),
                r: signature.r().into(),
                s: signature.s().into(),
            };
            data.insert(0, call.abi_encode().into());
        }
        Ok(Step::call(what, registry, &Registry::multicallCall { data }).of(Amount::Mill(amount)))
    }

    /// The salt of the signer's vote in a dispute, from its key.
    pub fn vote_salt(&self, dispute: u64) -> Result<B256, ChainError> {
        self.derived("vote salt", self.contracts.disputes, dispute)
    }

    /// 32 bytes that only the signer's key gives: the hash of a signature (deterministic, RFC 6979) over what no protocol signs.
    pub(super) fn derived(&self, purpose: &str, contract: Address, number: u64) -> Result<B256, ChainError> {
        let label = format!("millrace {purpose} of chain {} contract {contract} number {number}", self.chain_id());
        let signature = self.signer.sign_hash_sync(&keccak256(label)).map_err(|e| ChainError::Signer(e.to_string()))?;
        Ok(keccak256(signature.as_bytes()))
    }
}

pub(super) fn narrow(amount: U256) -> Result<U96, ChainError> {
    U96::checked_from_limbs_slice(amount.as_limbs())
        .ok_or_else(|| ChainError::Input(format!("{amount} does not fit 96 bits")))
}
