// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {
    CHECKER_FINE,
    COMMITTEE_SIZE,
    DISPUTE_DEPOSIT,
    EQUIVOCATION_BPS,
    IParameters,
    MIN_BOND,
    PERCEPTUAL_BPS,
    REVEAL_WINDOW,
    UNREVEALED_BPS,
    VOTE_WINDOW
} from "./IParameters.sol";

/// @title Parameters: everything that governance can change, and how far
/// @notice The governor, a timelock, moves each parameter within bounds that are fixed at deployment. The guardian can stop new deposits
/// for a while, so that no more money walks into a flaw that was just found. Neither has any power over what is already deposited:
/// no exit reads this contract. What is not here: a way to add a parameter, to move a bound, or to replace the governor.
/// @dev Storage: slot 0 guardian (160), depositsStoppedUntil (40), nextStopAt (40); slot 1 treasury; slot 2 the parameters, one
/// slot each.
contract Parameters is IParameters {
    /// @notice Seconds that a stop lasts: enough to publish a warning and to pass a change through the 48 h timelock.
    uint40 public constant STOP_DURATION = 14 days;

    /// @notice Seconds from one stop to the next that is possible: a guardian can hold deposits back half of the time at most.
    uint40 public constant STOP_INTERVAL = 28 days;

    /// @param value in force; all bounds fit 80 bits
    /// @param min the least value that can be set
    /// @param max the greatest; 0 when there is no such parameter
    struct Parameter {
        uint80 value;
        uint80 min;
        uint80 max;
    }

    event ParameterSet(bytes32 indexed key, uint256 value);
    event TreasurySet(address indexed treasury);
    event GuardianSet(address indexed guardian);
    event StoppedDeposits(uint40 until);
    event ResumedDeposits();

    error UnknownParameter(bytes32 key);
    error ParameterOutOfBounds(bytes32 key, uint256 value, uint256 min, uint256 max);
    error NotGovernor(address sender);
    error NotGuardian(address sender);
    error StopTooSoon(uint40 nextStopAt);
    error NotStopped();
    error ZeroAddress();

    /// @inheritdoc IParameters
    address public immutable governor;

    /// @notice Who can stop new deposits; the zero address when nobody can.
    address public guardian;

    /// @inheritdoc IParameters
    uint40 public depositsStoppedUntil;

    /// @notice Unix second from which the guardian can stop deposits again.
    uint40 public nextStopAt;

    /// @inheritdoc IParameters
    address public treasury;

    mapping(bytes32 key => Parameter) private parameters;

    modifier onlyGovernor() {
        if (msg.sender != governor) revert NotGovernor(msg.sender);
        _;
    }

    /// @param governor_ the timelock, for good
    constructor(address governor_, address guardian_, address treasury_) {
        if (governor_ == address(0)) revert ZeroAddress();
        governor = governor_;
        _setGuardian(guardian_);
        _setTreasury(treasury_);
        // Own bond of a registered node, in tokens: a thousand sham nodes cost something, one GPU can afford it.
        _add(MIN_BOND, 100e18, 1e18, 100_000e18);
        // Share of own and unbonding bond that a proved contradiction costs, in 1/10,000; never so little that lying pays.
        _add(EQUIVOCATION_BPS, 5000, 1000, 10_000);
        // Share of own bond that a withheld sampling secret costs, in 1/10,000: it may be an outage.
        _add(UNREVEALED_BPS, 100, 10, 1000);
        // Share of own bond that a lost perceptual dispute costs, in 1/10,000.
        _add(PERCEPTUAL_BPS, 500, 50, 2000);
        // Seconds after an epoch in which its secret must be revealed: a long weekend.
        _add(REVEAL_WINDOW, 3 days, 1 days, 14 days);
        // Tokens that opening a perceptual dispute puts at stake: what the committee's work is worth.
        _add(DISPUTE_DEPOSIT, 10e18, 1e18, 1000e18);
        // Checkers drawn for a dispute; settling costs gas for each, hence the bound.
        _add(COMMITTEE_SIZE, 7, 5, 21);
        // Seconds to commit a vote, then as many to reveal it.
        _add(VOTE_WINDOW, 12 hours, 1 hours, 3 days);
        // Tokens that a drawn checker loses who does not vote, or votes against a two-thirds majority.
        _add(CHECKER_FINE, 5e18, 1e18, 100e18);
    }

    /// @inheritdoc IParameters
    function get(bytes32 key) external view returns (uint256) {
        return _known(key).value;
    }

    /// @notice What a parameter can be set to, both ends included.
    function bounds(bytes32 key) external view returns (uint256 min, uint256 max) {
        Parameter storage p = _known(key);
        return (p.min, p.max);
    }

    /// @inheritdoc IParameters
    function depositsStopped() external view returns (bool) {
        return block.timestamp < depositsStoppedUntil;
    }

    /// @notice Sets a parameter. Only the governor can.
    function set(bytes32 key, uint256 value) external onlyGovernor {
        Parameter storage p = _known(key);
        if (value < p.min || value > p.max) revert ParameterOutOfBounds(key, value, p.min, p.max);
        p.value = uint80(value);
        emit ParameterSet(key, value);
    }

    /// @notice Sends the treasury's share of later slashes elsewhere. Only the governor can.
    function setTreasury(address treasury_) external onlyGovernor {
        _setTreasury(treasury_);
    }

    /// @notice Names another guardian; the zero address for none. Only the governor can. The wait for the next stop stays as it is.
    function setGuardian(address guardian_) external onlyGovernor {
        _setGuardian(guardian_);
    }

    /// @notice Stops new deposits, bonds and delegations for STOP_DURATION. Only the guardian can, once in STOP_INTERVAL.
    function stopDeposits() external {
        if (msg.sender != guardian) revert NotGuardian(msg.sender);
        if (block.timestamp < nextStopAt) revert StopTooSoon(nextStopAt);
        depositsStoppedUntil = uint40(block.timestamp) + STOP_DURATION;
        nextStopAt = uint40(block.timestamp) + STOP_INTERVAL;
        emit StoppedDeposits(depositsStoppedUntil);
    }

    /// @notice Ends a stop early. The governor or the guardian can; the wait for the next stop stays as it is.
    function resumeDeposits() external {
        if (msg.sender != guardian && msg.sender != governor) revert NotGuardian(msg.sender);
        if (block.timestamp >= depositsStoppedUntil) revert NotStopped();
        depositsStoppedUntil = uint40(block.timestamp);
        emit ResumedDeposits();
    }

    function _known(bytes32 key) private view returns (Parameter storage p) {
        p = parameters[key];
        if (p.max == 0) revert UnknownParameter(key);
    }

    function _add(bytes32 key, uint80 value, uint80 min, uint80 max) private {
        parameters[key] = Parameter(value, min, max);
        emit ParameterSet(key, value);
    }

    /// @dev The token refuses transfers to the zero address: with it as treasury nobody could be slashed.
    function _setTreasury(address treasury_) private {
        if (treasury_ == address(0)) revert ZeroAddress();
        treasury = treasury_;
        emit TreasurySet(treasury_);
    }

    function _setGuardian(address guardian_) private {
        guardian = guardian_;
        emit GuardianSet(guardian_);
    }
}
