// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {StakeBase} from "./StakeBase.sol";
import {StakeMarket} from "./StakeMarket.sol";

/// @notice What holds of bonds and delegations after whatever happened.
contract StakeInvariantsTest is StakeBase {
    StakeMarket market;

    function setUp() public {
        market = new StakeMarket();
        registry = market.registry_();
        token = market.token_();
    }

    /// @notice Read by forge: the only contract that its random calls go to, and which of its functions.
    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(market);
    }

    struct FuzzSelector {
        address addr;
        bytes4[] selectors;
    }

    /// @notice All but `everybodyLeaves`, which the end of each run calls.
    function targetSelectors() public view returns (FuzzSelector[] memory targets) {
        targets = new FuzzSelector[](1);
        targets[0].addr = address(market);
        targets[0].selectors = new bytes4[](11);
        targets[0].selectors[0] = StakeMarket.addBond.selector;
        targets[0].selectors[1] = StakeMarket.startUnbond.selector;
        targets[0].selectors[2] = StakeMarket.withdrawBond.selector;
        targets[0].selectors[3] = StakeMarket.setCommission.selector;
        targets[0].selectors[4] = StakeMarket.delegate.selector;
        targets[0].selectors[5] = StakeMarket.undelegate.selector;
        targets[0].selectors[6] = StakeMarket.withdrawDelegation.selector;
        targets[0].selectors[7] = StakeMarket.slashAtRandom.selector;
        targets[0].selectors[8] = StakeMarket.payFees.selector;
        targets[0].selectors[9] = StakeMarket.claimFees.selector;
        targets[0].selectors[10] = StakeMarket.pass.selector;
    }

    function invariant_P1_tokens_conserve() public view {
        (uint256 tokens,) = market.owed();
        vm.assertEq(token.balanceOf(address(registry)), tokens, "all tokens in the registry are somebody's");
        vm.assertEq(token.totalSupply() + market.burned(), token.SUPPLY(), "supply");
    }

    function invariant_P1_fees_conserve() public view {
        (, uint256 fees) = market.owed();
        vm.assertEq(
            market.paidIn(), address(registry).balance + market.paidOut(), "what came in is here or was claimed"
        );
        vm.assertLe(fees, address(registry).balance, "claims are covered");
        // Each of four delegators loses less than one wei each time its fees are counted, and less than one in what is still to be counted.
        vm.assertLe(address(registry).balance, fees + market.roundings() + 8, "dust is bounded");
    }

    function invariant_a_pool_covers_its_delegations_and_rounding_is_all_that_is_over() public view {
        for (uint256 n = 0; n < 2; ++n) {
            (uint256 worth, uint256 tokens) = market.poolOf(n);
            vm.assertLe(worth, tokens, "covered");
            vm.assertLe(tokens, worth + 8, "two roundings for each of four");
        }
    }

    function invariant_share_price_slash_and_exit_held_at_every_call() public view {
        vm.assertEq(bytes(market.broken()).length, 0, market.broken());
    }

    /// @notice Called by forge at the end of each run: whatever happened, everybody leaves, and nothing is left behind.
    function afterInvariant() public {
        market.everybodyLeaves();
        vm.assertEq(token.balanceOf(address(registry)), 0, "all tokens are out");
    }
}
