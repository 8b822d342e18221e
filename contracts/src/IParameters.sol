// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @dev Names of the parameters; Parameters.sol says what each is, its unit, its default and its bounds.
bytes32 constant MIN_BOND = keccak256("MIN_BOND");
bytes32 constant EQUIVOCATION_BPS = keccak256("EQUIVOCATION_BPS");
bytes32 constant UNREVEALED_BPS = keccak256("UNREVEALED_BPS");
bytes32 constant PERCEPTUAL_BPS = keccak256("PERCEPTUAL_BPS");
bytes32 constant REVEAL_WINDOW = keccak256("REVEAL_WINDOW");
bytes32 constant DISPUTE_DEPOSIT = keccak256("DISPUTE_DEPOSIT");
bytes32 constant COMMITTEE_SIZE = keccak256("COMMITTEE_SIZE");
bytes32 constant VOTE_WINDOW = keccak256("VOTE_WINDOW");
bytes32 constant CHECKER_FINE = keccak256("CHECKER_FINE");

/// @notice The guardian has stopped new deposits.
/// @param until unix second from which they are taken again, if they are not resumed before
error DepositsStopped(uint40 until);

/// @title IParameters: what the other contracts read of Parameters
interface IParameters {
    /// @notice The value of a parameter, in the unit that its name has. Reverts with `UnknownParameter` on any other key.
    function get(bytes32 key) external view returns (uint256);

    /// @notice The timelock: it alone changes parameters.
    function governor() external view returns (address);

    /// @notice Where the treasury's share of a slash goes.
    function treasury() external view returns (address);

    /// @notice Whether new deposits, bonds and delegations are refused now. Exits never are.
    function depositsStopped() external view returns (bool);

    /// @notice Unix second from which deposits are taken; in the past when they are not stopped.
    function depositsStoppedUntil() external view returns (uint40);
}
