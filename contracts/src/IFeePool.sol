// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title IFeePool: the fees of a node and of those who delegated to it, as the ticket broker sees them
interface IFeePool {
    /// @notice Takes the value sent as fees of `node` and shares it out: commission, own stake, delegators. Anyone may call.
    function payFees(address node) external payable;

    /// @notice Tokens delegated to `node` and bonded, in the token's smallest unit. Zero: all fees are the node's own.
    function delegated(address node) external view returns (uint256);
}
