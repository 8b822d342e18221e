// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Burnable} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Burnable.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// @title MillraceToken: what bonds and delegations are in
/// @notice A plain ERC-20 with permits, of which tokens can be burned and none ever minted again. Fees are not in it: they are in the
/// chain's own coin.
contract MillraceToken is ERC20, ERC20Permit, ERC20Burnable {
    /// @notice All tokens that will ever be, in units of 1e-18. Below 2^87: the registry's accounting in 96 bits rests on it.
    uint256 public constant SUPPLY = 100_000_000e18;

    /// @param holder who gets the whole supply
    constructor(address holder) ERC20("Millrace", "MILL") ERC20Permit("Millrace") {
        _mint(holder, SUPPLY);
    }
}
