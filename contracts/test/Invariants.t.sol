// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Base} from "./Base.sol";
import {Market} from "./Market.sol";

/// @notice What holds after every step of a market in which everybody does as they like. P-numbers are the properties of the protocol.
contract InvariantsTest is Base {
    Market market;

    function setUp() public {
        deployBroker();
        market = new Market(broker, parameters, pool);
    }

    /// @notice Read by forge: the only contract that its random calls go to.
    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(market);
    }

    function held(uint256 property) internal view {
        vm.assertEq(market.broken(property), "");
    }

    function invariant_P1_funds_conserve() public view {
        uint256 owed;
        for (uint256 i = 0; i < market.PAIRS(); ++i) {
            (address payer, address payee) = market.pairAt(i);
            owed += broker.pair(payer, payee).locked;
        }
        for (uint256 j = 0; j < 6; ++j) {
            owed += broker.credit(market.payees(j));
        }
        vm.assertEq(address(broker).balance, owed, "balance is the sum of locks and credits");
        vm.assertEq(market.totalFunded(), owed + market.totalPaid(), "what came in is there or was paid out");
    }

    function invariant_P2_redeemed_is_at_most_ever_funded() public view {
        for (uint256 i = 0; i < market.PAIRS(); ++i) {
            vm.assertLe(market.redeemed(i) + market.withdrawn(i), market.funded(i), "pair");
        }
    }

    function invariant_P3_a_lock_is_untouched_by_anothers_redemption() public view {
        held(3);
    }

    function invariant_P4_nothing_redeems_twice() public view {
        held(4);
    }

    function invariant_P5_the_last_nonce_rises_strictly() public view {
        held(5);
    }

    function invariant_P6_never_less_than_face_value_is_paid() public view {
        held(6);
        for (uint256 j = 0; j < 6; ++j) {
            address payee = market.payees(j);
            vm.assertEq(broker.credit(payee) + market.claimed(payee), market.earned(payee), "payee");
        }
    }

    function invariant_P7_no_third_party_harm() public view {
        held(7);
    }

    function invariant_P8_no_withdrawal_before_unlock() public view {
        held(8);
    }

    function invariant_P14_every_winner_of_an_obedient_payee_redeems_in_full() public view {
        held(14);
    }

    function invariant_P17_the_last_nonce_is_never_ahead_of_the_clock() public view {
        for (uint256 i = 0; i < market.PAIRS(); ++i) {
            (address payer, address payee) = market.pairAt(i);
            vm.assertLe(broker.pair(payer, payee).lastNonce >> 24, market.clock() + 60, "pair");
        }
    }

    function invariant_deposits_stop_only_as_the_guardian_says() public view {
        held(0);
    }
}
