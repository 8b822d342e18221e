//! The contracts onto a chain: one account, one after the other, so that each can name those that come after it by their
//! CREATE address. What is there is written into the address book at once, and a second run goes on after it.

use std::time::Duration;

use alloy::network::TransactionBuilder;
use alloy::primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use alloy::providers::Provider;
use alloy::rpc::types::TransactionRequest;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol_types::SolConstructor;

use super::book::{AddressBook, BookError, CONTRACTS, Deployed};
use super::made;
use super::sender::{Sender, timed};
use super::{Addresses, ChainError, ChainOptions, MINED_TIMEOUT};
use crate::bindings::{Disputes, MillraceToken, Parameters, Registry, Sampling, TicketBroker, TimelockController};

/// From a proposal to its execution: long enough for everyone to hear of it and leave, since a lock takes 72 h only from the payer's side.
pub const DEFAULT_TIMELOCK: Duration = Duration::from_secs(48 * 3600);

/// Gas of a creation that cannot be simulated before the contracts that it asks are there: transaction and creation, and what
/// a constructor stores.
const CREATION_GAS: u64 = 21_000 + 32_000 + 150_000;
/// Gas of a byte of the code that stays, and of one in the transaction.
const CODE_GAS: (u64, u64) = (200, 16);

/// What whoever deploys decides.
#[derive(Debug, Clone)]
pub struct DeployPlan {
    /// The network's name for people.
    pub name: String,
    /// Who proposes changes to the timelock.
    pub governor: Address,
    /// Who can stop new deposits for a while.
    pub guardian: Address,
    /// Who gets the treasury's share of slashes, and the supply of a new token.
    pub treasury: Address,
    /// From a proposal to its execution.
    pub timelock: Duration,
    /// keccak256 of the checker that disputes are decided by; zero while there is none.
    pub checker: B256,
    /// The token, where there is one already.
    pub token: Option<Address>,
}

impl DeployPlan {
    /// Everything in one hand: for a network of play money.
    pub fn of_one(who: Address) -> Self {
        Self {
            name: "local".into(),
            governor: who,
            guardian: who,
            treasury: who,
            timelock: DEFAULT_TIMELOCK,
            checker: B256::ZERO,
            token: None,
        }
    }
}

/// Why the contracts are not all there. What is there is in the book.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The book.
    #[error(transparent)]
    Book(#[from] BookError),
    /// The book is of another deployment.
    #[error("the address book was begun with {what} {book}, and this run has {run}: give the same, or another book")]
    Different {
        /// What differs.
        what: &'static str,
        /// In the book.
        book: String,
        /// In this run.
        run: String,
    },
    /// The addresses cannot be had any more.
    #[error(
        "{deployer} has used nonce {nonce}, which was the {name}'s, for something else: the contracts that are there name \
         an address that can never be; begin anew with another address book"
    )]
    NonceGone {
        /// Who deploys.
        deployer: Address,
        /// The nonce.
        nonce: u64,
        /// Which contract had it.
        name: &'static str,
    },
    /// What is there is not of this deployment.
    #[error(
        "what is at {address} is not the {name} of this run: {what} {there} is there, {run} would be: take the address book \
         and the flags that belong to it, or begin anew with another address book"
    )]
    Foreign {
        /// Which contract.
        name: &'static str,
        /// Where.
        address: Address,
        /// What differs.
        what: &'static str,
        /// Of what is there.
        there: String,
        /// Of this run.
        run: String,
    },
    /// The book could not be written.
    #[error("the {name} is at {address}, and the address book could not be written: {reason}")]
    Unwritten {
        /// Which contract.
        name: &'static str,
        /// Where.
        address: Address,
        /// The system's reason.
        reason: String,
    },
}

/// A contract that is to be created.
#[derive(Debug, Clone)]
pub struct Creation {
    /// By the names of [`CONTRACTS`].
    pub name: &'static str,
    /// Where it will be.
    pub address: Address,
    nonce: u64,
    pub(super) code: Bytes,
}

/// A deployment: what is there, what is to come.
pub struct Deployment {
    sender: Sender,
    book: AddressBook,
    creations: Vec<Creation>,
}

/// Deploys everything with all powers in the signer's hand and waits until it is mined. For tests and networks of play money.
pub async fn deploy(at: impl Into<ChainOptions>, signer: PrivateKeySigner) -> Result<Addresses, DeployError> {
    let plan = DeployPlan::of_one(signer.address());
    let mut deployment = Deployment::plan(at, signer, &plan, None).await?;
    deployment.run(|_| Ok(())).await?;
    Ok(deployment.book.addresses()?)
}

impl Deployment {
    /// What is to be done by `plan`, or what is left of `book`, of which the first run was interrupted. Sends nothing.
    pub async fn plan(
        at: impl Into<ChainOptions>,
        signer: PrivateKeySigner,
        plan: &DeployPlan,
        book: Option<AddressBook>,
    ) -> Result<Self, DeployError> {
        let sender = Sender::connect(at, signer, None).await?;
        let begun = book.is_some();
        let mut book = match book {
            Some(book) => book,
            None => AddressBook {
                name: plan.name.clone(),
                chain_id: sender.chain_id,
                deployer: sender.address,
                first_nonce: sender.nonce().await?,
                governor: plan.governor,
                guardian: plan.guardian,
                treasury: plan.treasury,
                timelock_s: plan.timelock.as_secs(),
                checker: plan.checker,
                contracts: Default::default(),
            },
        };
        if let (false, Some(address)) = (begun, plan.token) {
            book.contracts.insert("token".into(), sender.deployed("token", address, 0).await?);
        }
        let same = |what, book: &dyn ToString, run: &dyn ToString| {
            let (book, run) = (book.to_string(), run.to_string());
            if book == run { Ok(()) } else { Err(DeployError::Different { what, book, run }) }
        };
        same("the chain", &book.chain_id, &sender.chain_id)?;
        same("the deployer", &book.deployer, &sender.address)?;
        same("--governor", &book.governor, &plan.governor)?;
        same("--guardian", &book.guardian, &plan.guardian)?;
        same("--treasury", &book.treasury, &plan.treasury)?;
        same("--timelock of seconds", &book.timelock_s, &plan.timelock.as_secs())?;
        same("--checker", &book.checker, &plan.checker)?;
        let foreign = book.contracts.get("token").filter(|token| token.block == 0).map(|token| token.address);
        if begun && foreign != plan.token {
            let text = |token: Option<Address>| token.map_or("none".into(), |token| token.to_string());
            return Err(DeployError::Different { what: "--token", book: text(foreign), run: text(plan.token) });
        }
        let creations = creations(&book, foreign);
        Ok(Self { sender, book, creations })
    }

    /// The book as it is.
    pub fn book(&self) -> &AddressBook {
        &self.book
    }

    /// What is not yet in the book.
    pub fn left(&self) -> impl Iterator<Item = &Creation> {
        self.creations.iter().filter(|creation| !self.book.contracts.contains_key(creation.name))
    }

    /// Gas of what is left, each, and what a unit costs now, wei. Some constructors ask contracts that are not there yet: their gas
    /// is reckoned from their size.
    pub async fn quote(&self) -> Result<(Vec<(&'static str, Address, u64)>, U256), ChainError> {
        let mut quoted = Vec::new();
        for creation in self.left() {
            let size = creation.code.len() as u64;
            let request =
                TransactionRequest::default().with_from(self.sender.address).with_deploy_code(creation.code.clone());
            let gas = timed("estimate", self.sender.provider.estimate_gas(request)).await;
            let gas = gas.unwrap_or(CREATION_GAS + size * (CODE_GAS.0 + CODE_GAS.1));
            quoted.push((creation.name, creation.address, gas));
        }
        Ok((quoted, U256::from(self.sender.fees().await?.expected)))
    }

    /// Creates what is left, one by one; `save` is given the book as it grows.
    pub async fn run(&mut self, mut save: impl FnMut(&AddressBook) -> std::io::Result<()>) -> Result<(), DeployError> {
        self.settle().await?;
        for creation in self.creations.clone() {
            if self.book.contracts.contains_key(creation.name) {
                continue;
            }
            let Creation { name, address, nonce, code: ref creation_code } = creation;
            let used = self.sender.nonce().await?;
            let block = if used == nonce {
                let tx = self.sender.send("deploy", TxKind::Create, creation_code.clone(), U256::ZERO).await?;
                let mined = self.sender.wait(tx, MINED_TIMEOUT).await?;
                if !mined.success || mined.contract != Some(address) {
                    let reason = format!("creation of the {name} failed in block {}", mined.block);
                    return Err(ChainError::Rpc { what: "deploy", reason }.into());
                }
                mined.block
            } else {
                // An earlier run came so far, and no further than before it could write it down.
                timed("block number", self.sender.provider.get_block_number()).await?
            };
            let deployed = match self.sender.deployed(name, address, block).await {
                Err(ChainError::NoContract { .. }) if used != nonce => {
                    return Err(DeployError::NonceGone { deployer: self.sender.address, nonce, name });
                }
                deployed => deployed?,
            };
            if used != nonce {
                made::check(&self.sender, &creation, &self.book).await?;
            }
            self.book.contracts.insert(name.into(), deployed);
            save(&self.book).map_err(|e| DeployError::Unwritten { name, address, reason: e.to_string() })?;
        }
        Ok(())
    }

    /// Waits for what an earlier run sent and did not see mined.
    async fn settle(&self) -> Result<(), ChainError> {
        let waiting = async {
            loop {
                let mined = timed("nonce", self.sender.provider.get_transaction_count(self.sender.address)).await?;
                if mined >= self.sender.nonce().await? {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let late =
            ChainError::Timeout { what: "an earlier transaction of the deployer", seconds: MINED_TIMEOUT.as_secs() };
        tokio::time::timeout(MINED_TIMEOUT, waiting).await.unwrap_or(Err(late))
    }
}

impl Sender {
    /// The nonce of the next transaction.
    async fn nonce(&self) -> Result<u64, ChainError> {
        timed("nonce", self.provider.get_transaction_count(self.address).pending()).await
    }

    /// What is at an address.
    async fn deployed(&self, name: &'static str, address: Address, block: u64) -> Result<Deployed, ChainError> {
        let code = timed("code", self.provider.get_code_at(address)).await?;
        if code.is_empty() {
            return Err(ChainError::NoContract { name, address });
        }
        Ok(Deployed { address, block, code_hash: keccak256(&code) })
    }
}

/// All creations of a deployment, those that were made among them.
fn creations(book: &AddressBook, token: Option<Address>) -> Vec<Creation> {
    // A token that is there takes no nonce.
    let skipped = u64::from(token.is_some());
    let nonce = |name: &str| {
        let position = CONTRACTS.iter().position(|contract| *contract == name).unwrap_or_default() as u64;
        book.first_nonce + position.saturating_sub(skipped)
    };
    let at = |name: &str| book.deployer.create(nonce(name));
    let token_at = token.unwrap_or(at("token"));
    let code = |name| -> Bytes {
        let (bytecode, arguments) = match name {
            "token" => {
                let arguments = MillraceToken::constructorCall { holder: book.treasury }.abi_encode();
                (&MillraceToken::BYTECODE, arguments)
            }
            "timelock" => {
                // Nobody administers it but itself, and whoever likes executes what has waited its time.
                let arguments = TimelockController::constructorCall {
                    minDelay: U256::from(book.timelock_s),
                    proposers: vec![book.governor],
                    executors: vec![Address::ZERO],
                    admin: Address::ZERO,
                };
                (&TimelockController::BYTECODE, arguments.abi_encode())
            }
            "parameters" => {
                let arguments = Parameters::constructorCall {
                    governor_: at("timelock"),
                    guardian_: book.guardian,
                    treasury_: book.treasury,
                };
                (&Parameters::BYTECODE, arguments.abi_encode())
            }
            "registry" => {
                let arguments = Registry::constructorCall {
                    token_: token_at,
                    parameters_: at("parameters"),
                    sampling_: at("sampling"),
                    disputes_: at("disputes"),
                };
                (&Registry::BYTECODE, arguments.abi_encode())
            }
            "broker" => {
                let arguments =
                    TicketBroker::constructorCall { parameters_: at("parameters"), registry_: at("registry") };
                (&TicketBroker::BYTECODE, arguments.abi_encode())
            }
            "sampling" => {
                let arguments = Sampling::constructorCall { parameters_: at("parameters"), registry_: at("registry") };
                (&Sampling::BYTECODE, arguments.abi_encode())
            }
            _ => {
                let arguments = Disputes::constructorCall {
                    parameters_: at("parameters"),
                    registry_: at("registry"),
                    broker_: at("broker"),
                    checker_: book.checker,
                };
                (&Disputes::BYTECODE, arguments.abi_encode())
            }
        };
        [bytecode.as_ref(), &arguments].concat().into()
    };
    let of = |name: &'static str| Creation { name, address: at(name), nonce: nonce(name), code: code(name) };
    CONTRACTS.into_iter().filter(|name| *name != "token" || token.is_none()).map(of).collect()
}
