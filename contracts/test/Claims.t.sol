// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {DepositsStopped} from "../src/IParameters.sol";
import {TicketBroker} from "../src/TicketBroker.sol";
import {PairBase} from "./Base.sol";

/// @notice How credits are paid out, and what a stop of deposits leaves alone.
contract ClaimsTest is PairBase {
    function testFuzz_P6_a_claim_pays_all_credits_to_the_wei(uint8 first_, uint8 second) public {
        uint256 n = 0;
        for (uint256 i = 0; i < bound(first_, 1, 8); ++i) {
            redeem(winner(PAYER_KEY, payee, nonceAt(START, n++)));
        }
        claim();
        for (uint256 i = 0; i < bound(second, 1, 8); ++i) {
            redeem(winner(PAYER_KEY, payee, nonceAt(START, n++)));
        }
        claim();
        vm.assertEq(payee.balance, n * FACE, "paid");
        vm.assertEq(address(broker).balance, broker.pair(payer, payee).locked, "the broker keeps the lock alone");
    }

    function claim() internal {
        vm.expectEmit(address(broker));
        emit TicketBroker.Claimed(payee, broker.credit(payee), false);
        vm.prank(stranger);
        broker.claim(payee);
        vm.assertEq(broker.credit(payee), 0, "nothing left");
    }

    function test_a_claim_without_credit_is_refused() public {
        bytes memory reason = abi.encodeWithSelector(TicketBroker.NothingToClaim.selector, payee);
        vm.expectRevert(reason);
        broker.claim(payee);
        redeem(winner(PAYER_KEY, payee, first));
        broker.claim(payee);
        vm.expectRevert(reason);
        broker.claim(payee);
    }

    function testFuzz_a_payee_with_delegators_is_paid_through_the_registry(uint256 delegated) public {
        delegated = bound(delegated, 1, type(uint256).max);
        pool.setDelegated(payee, delegated);
        redeem(winner(PAYER_KEY, payee, first));
        broker.claim(payee);
        vm.assertEq(pool.received(payee), FACE, "to the registry");
        vm.assertEq(address(pool).balance, FACE, "with the wei");
        vm.assertEq(payee.balance, 0, "not to the payee");
    }

    /// @notice However little gas the caller gives, the delegators' share never goes to the operator.
    function testFuzz_the_registry_cannot_be_bypassed(uint256 gas) public {
        pool.setDelegated(payee, 1);
        redeem(winner(PAYER_KEY, payee, first));
        (bool done,) = address(broker).call{gas: bound(gas, 0, 100_000)}(abi.encodeCall(TicketBroker.claim, (payee)));
        vm.assertEq(payee.balance, 0, "the payee was paid directly");
        vm.assertEq(broker.credit(payee) + pool.received(payee), FACE, "nothing is lost");
        vm.assertEq(pool.received(payee), done ? FACE : 0, "all or nothing");
    }

    function test_a_payee_that_takes_no_money_still_redeems_and_harms_nobody() public {
        payee = address(new Closed());
        vm.prank(payer);
        broker.fund{value: 1 ether}(payee);
        redeem(winner(PAYER_KEY, payee, first));
        vm.expectRevert(abi.encodeWithSelector(TicketBroker.TransferFailed.selector, payee));
        broker.claim(payee);
        vm.assertEq(broker.credit(payee), FACE, "the credit waits");
    }

    function test_a_payee_that_calls_back_in_is_paid_once() public {
        Greedy greedy = new Greedy(broker);
        payee = address(greedy);
        vm.prank(payer);
        broker.fund{value: 1 ether}(payee);
        redeem(winner(PAYER_KEY, payee, first));
        broker.claim(payee);
        vm.assertEq(payee.balance, FACE, "paid");
        vm.assertTrue(greedy.refused(), "the second claim");
    }

    function test_a_stop_refuses_deposits_and_nothing_else() public {
        vm.prank(payer);
        broker.requestUnlock(payee, 0.5 ether);
        vm.prank(GUARDIAN);
        parameters.stopDeposits();
        bytes memory reason = abi.encodeWithSelector(DepositsStopped.selector, uint40(START + 14 days));
        vm.expectRevert(reason);
        vm.prank(payer);
        broker.fund{value: 1}(payee);
        vm.expectRevert(reason);
        vm.prank(stranger);
        broker.fundFor{value: 1}(payer, payee);

        redeem(winner(PAYER_KEY, payee, first));
        broker.claim(payee);
        vm.prank(payer);
        broker.setSessionKey(session, uint40(START + 1 days), 1 ether);
        redeem(winnerBy(SESSION_KEY, payer, payee, first + 1));
        vm.warp(START + 72 hours);
        uint256 before = payer.balance;
        vm.prank(payer);
        broker.withdraw(payee);
        vm.assertEq(payer.balance - before, 0.5 ether, "withdrawn");
        vm.prank(payer);
        broker.requestUnlock(payee, 0.1 ether);
        vm.prank(payer);
        broker.cancelUnlock(payee);

        vm.warp(START + 14 days);
        vm.prank(payer);
        broker.fund{value: 1}(payee);
    }
}

/// @notice A payee that takes no money.
contract Closed {}

/// @notice A payee that claims again while it is being paid.
contract Greedy {
    TicketBroker immutable broker;
    bool public refused;

    constructor(TicketBroker broker_) {
        broker = broker_;
    }

    receive() external payable {
        try broker.claim(address(this)) {}
        catch {
            refused = true;
        }
    }
}
