// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {TicketBroker} from "../src/TicketBroker.sol";
import {PairBase} from "./Base.sol";

/// @notice What whole transactions of the broker cost: the 21,000, the calldata and its floor (EIP-7623) are counted, refunds taken off.
/// "first" finds empty slots where later calls find used ones. The figures are kept in gas/broker.json, which a run compares.
/// forge-config: default.isolate = true
contract GasTest is PairBase {
    function setUp() public override {
        super.setUp();
        vm.setEvmVersion("prague");
    }

    function record(string memory name, uint256 limit) internal {
        vm.assertLe(vm.snapshotGasLastCall("broker", name), limit, name);
    }

    function winners(uint256 key, uint256 size, uint256 from)
        internal
        view
        returns (TicketBroker.Winner[] memory list)
    {
        list = new TicketBroker.Winner[](size);
        for (uint256 i = 0; i < size; ++i) {
            list[i] = winnerBy(key, payer, payee, nonceAt(START, from + i));
        }
    }

    function redeemBatch(uint256 key, uint256 size, uint256 from) internal {
        TicketBroker.Batch[] memory batches = batchOf(payer, payee, winners(key, size, from));
        vm.prank(payee);
        broker.redeemBatch(batches);
    }

    function test_gas_of_funding() public {
        vm.prank(payer);
        broker.fund{value: 1 ether}(stranger);
        record("fund, first", 65_000);
        vm.prank(payer);
        broker.fund{value: 1 ether}(stranger);
        record("fund", 50_000);
    }

    function test_gas_of_one_winner() public {
        redeem(winner(PAYER_KEY, payee, first));
        record("redeem, first", 65_000);
        redeem(winner(PAYER_KEY, payee, first + 1));
        record("redeem", 50_000);
    }

    function test_gas_of_one_winner_by_a_session_key() public {
        vm.prank(payer);
        broker.setSessionKey(session, uint40(START + 30 days), 1 ether);
        record("set a session key", 60_000);
        redeem(winner(PAYER_KEY, payee, first));
        redeem(winnerBy(SESSION_KEY, payer, payee, first + 1));
        record("redeem by a session key, first", 75_000);
        redeem(winnerBy(SESSION_KEY, payer, payee, first + 2));
        record("redeem by a session key", 55_000);
    }

    function test_gas_of_batches() public {
        redeem(winner(PAYER_KEY, payee, first));
        redeemBatch(PAYER_KEY, 16, 100);
        record("redeem 16", 16 * 10_500);
        redeemBatch(PAYER_KEY, 64, 200);
        record("redeem 64", 64 * 10_500);
    }

    function test_gas_of_batches_by_a_session_key() public {
        vm.prank(payer);
        broker.setSessionKey(session, uint40(START + 30 days), 1 ether);
        redeem(winnerBy(SESSION_KEY, payer, payee, first));
        redeemBatch(SESSION_KEY, 16, 100);
        record("redeem 16 by a session key", 16 * 12_000);
        redeemBatch(SESSION_KEY, 64, 200);
        record("redeem 64 by a session key", 64 * 12_000);
    }

    function test_gas_of_a_claim() public {
        vm.deal(payee, 1);
        redeem(winner(PAYER_KEY, payee, first));
        broker.claim(payee);
        record("claim", 50_000);
    }

    function test_gas_of_taking_back() public {
        vm.prank(payer);
        broker.requestUnlock(payee, 0.5 ether);
        record("request an unlock", 60_000);
        vm.warp(START + 72 hours);
        vm.prank(payer);
        broker.withdraw(payee);
        record("withdraw", 50_000);
    }
}
