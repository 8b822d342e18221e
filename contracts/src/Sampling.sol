// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IParameters, REVEAL_WINDOW, UNREVEALED_BPS} from "./IParameters.sol";
import {Registry} from "./Registry.sol";

/// @title Sampling: the secrets by which orchestrators choose what to verify, committed before and revealed after
/// @notice Time is cut into epochs of one day. The secrets of an orchestrator's epochs form a hash chain: each is the keccak256 of the
/// next epoch's. It commits to a tip, the keccak256 of its first secret, and reveals one secret after the other once their epochs are
/// over; so none can be changed afterwards, and with each anyone can recompute which segments had to be sampled. An orchestrator that
/// withholds one is slashed. One revealed secret gives all the earlier ones, so nothing else is stored.
contract Sampling {
    /// @notice Seconds of an epoch. Epoch n is the unix time from n * EPOCH on.
    uint40 public constant EPOCH = 1 days;

    /// @notice The most epochs that one secret reveals: it bounds the hashing.
    uint40 public constant MAX_STEPS = 64;

    /// @notice One in basis points.
    uint256 public constant BPS = 10_000;

    /// @dev Storage: two slots for each orchestrator.
    struct Chain {
        // slot 0: the secret of `epoch`, or before any is revealed, what the secret of the next epoch hashes to
        bytes32 tip;
        // slot 1: the epoch of the tip, 0 without a chain, and the last one that will have a secret, 0 while it goes on
        uint40 epoch;
        uint40 lastEpoch;
    }

    /// @notice Where the reveal window and the fine are read.
    IParameters public immutable parameters;
    /// @notice Where bonds are.
    Registry public immutable registry;

    mapping(address node => Chain) private chains;

    /// @notice An orchestrator started a chain.
    /// @param node the orchestrator
    /// @param tip what its secret of epoch + 1 hashes to
    /// @param epoch the running one
    event Committed(address indexed node, bytes32 tip, uint40 epoch);
    /// @notice A secret was revealed, and with it those of the earlier epochs.
    /// @param node the orchestrator
    /// @param epoch whose secret it is
    /// @param secret by which that epoch's samples were chosen
    event Revealed(address indexed node, uint40 indexed epoch, bytes32 secret);
    /// @notice An orchestrator announced the end of its chain.
    /// @param node the orchestrator
    /// @param lastEpoch the last epoch whose secret is still owed; the chain ends when it is revealed
    event Stopping(address indexed node, uint40 lastEpoch);
    /// @notice A chain is over; a new one may be committed.
    /// @param node the orchestrator
    event Stopped(address indexed node);
    /// @notice An orchestrator was slashed for a secret withheld, and its chain is over.
    /// @param node the orchestrator
    /// @param epoch whose secret is missing
    /// @param taken tokens
    /// @param prover who asked for it
    event Punished(address indexed node, uint40 indexed epoch, uint96 taken, address prover);

    /// @notice Only a registered orchestrator commits.
    error NotOrchestrator(address node);
    /// @notice There is a chain: it goes on until it is stopped.
    error ChainRunning(address node, uint40 epoch);
    /// @notice There is no chain.
    error NoChain(address node);
    /// @notice The epoch is not over.
    error EpochNotOver(uint40 epoch, uint256 endsAt);
    /// @notice The epoch is not one that follows the tip's by 1 to MAX_STEPS, or lies after the chain's last.
    error EpochOutOfRange(uint40 epoch, uint40 first, uint40 last);
    /// @notice The secret does not hash to the tip.
    error WrongSecret(uint40 epoch, bytes32 expected, bytes32 got);
    /// @notice The chain's end is announced already.
    error AlreadyStopping(uint40 lastEpoch);
    /// @notice The orchestrator still has time to reveal, or owes nothing.
    error NotOverdue(uint40 epoch, uint256 overdueAt);

    /// @param parameters_ where the reveal window and the fine are read
    /// @param registry_ where bonds are; it must know this contract as one that may slash
    constructor(IParameters parameters_, Registry registry_) {
        (parameters, registry) = (parameters_, registry_);
    }

    /// @notice An orchestrator's chain; all zero without one.
    /// @return tip the last secret revealed, or what was committed to
    /// @return epoch its epoch
    /// @return lastEpoch the last epoch of a chain whose end is announced, else 0
    function chain(address node) external view returns (bytes32 tip, uint40 epoch, uint40 lastEpoch) {
        Chain storage c = chains[node];
        return (c.tip, c.epoch, c.lastEpoch);
    }

    /// @notice Starts a chain: `tip` is the keccak256 of the next epoch's secret, which is the keccak256 of the one's after it, and so on.
    function commit(bytes32 tip) external {
        Chain storage c = chains[msg.sender];
        if (c.epoch != 0) revert ChainRunning(msg.sender, c.epoch);
        if (registry.rolesOf(msg.sender) & registry.ORCHESTRATOR() == 0) revert NotOrchestrator(msg.sender);
        (c.tip, c.epoch) = (tip, _epoch());
        emit Committed(msg.sender, tip, c.epoch);
    }

    /// @notice Reveals the secret of an epoch that is over, and so those of all earlier ones.
    function reveal(uint40 epoch, bytes32 secret) external {
        Chain storage c = _chain(msg.sender);
        uint40 last = c.epoch + MAX_STEPS;
        if (c.lastEpoch != 0 && c.lastEpoch < last) last = c.lastEpoch;
        if (epoch <= c.epoch || epoch > last) revert EpochOutOfRange(epoch, c.epoch + 1, last);
        if (_epoch() <= epoch) revert EpochNotOver(epoch, _end(epoch));
        bytes32 hash = secret;
        for (uint256 i = c.epoch; i < epoch; ++i) {
            hash = keccak256(abi.encode(hash));
        }
        if (hash != c.tip) revert WrongSecret(epoch, c.tip, hash);
        emit Revealed(msg.sender, epoch, secret);
        if (epoch == c.lastEpoch) {
            _finish(msg.sender);
        } else {
            (c.tip, c.epoch) = (secret, epoch);
        }
    }

    /// @notice Announces the end of one's chain. The running epoch is its last: its secret and those before are still owed. With none of
    /// them owed, the chain is over at once.
    function stop() external {
        Chain storage c = _chain(msg.sender);
        if (c.lastEpoch != 0) revert AlreadyStopping(c.lastEpoch);
        uint40 lastEpoch = _epoch();
        if (c.epoch < lastEpoch) {
            c.lastEpoch = lastEpoch;
            emit Stopping(msg.sender, lastEpoch);
        } else {
            _finish(msg.sender);
        }
    }

    /// @notice Slashes an orchestrator whose secret is overdue. Anyone may call, and gets the prover's part. The fine counts tokens that
    /// are unbonding, too: leaving does not help.
    function punish(address node) external {
        Chain storage c = _chain(node);
        uint40 epoch = c.epoch + 1;
        uint256 overdueAt = _end(epoch) + parameters.get(REVEAL_WINDOW);
        if (block.timestamp < overdueAt) revert NotOverdue(epoch, overdueAt);
        delete chains[node];
        uint256 fine = registry.ownStake(node) * parameters.get(UNREVEALED_BPS) / BPS;
        uint96 taken = registry.slash(node, uint96(fine), msg.sender);
        // The registry calls nobody but the token, and the chain is deleted.
        // slither-disable-next-line reentrancy-events
        emit Punished(node, epoch, taken, msg.sender);
    }

    /// @dev The running epoch.
    function _epoch() private view returns (uint40) {
        return uint40(block.timestamp / EPOCH);
    }

    /// @dev Unix second at which an epoch is over.
    function _end(uint40 epoch) private pure returns (uint256) {
        return (uint256(epoch) + 1) * EPOCH;
    }

    function _chain(address node) private view returns (Chain storage c) {
        c = chains[node];
        if (c.epoch == 0) revert NoChain(node);
    }

    function _finish(address node) private {
        delete chains[node];
        emit Stopped(node);
    }
}
