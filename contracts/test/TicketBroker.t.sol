// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {TicketBroker} from "../src/TicketBroker.sol";
import {PairBase, Vm} from "./Base.sol";

/// @notice The broker's rules one by one. P-numbers are the properties of the protocol, by which the names start.
contract TicketBrokerTest is PairBase {
    function test_a_winner_moves_its_face_value_from_the_lock_to_the_credit() public {
        redeem(winner(PAYER_KEY, payee, first));
        TicketBroker.Pair memory p = broker.pair(payer, payee);
        vm.assertEq(broker.credit(payee), FACE, "credited");
        vm.assertEq(p.locked, 1 ether - FACE, "locked");
        vm.assertEq(p.lastNonce, first, "nonce");
    }

    function testFuzz_a_ticket_wins_exactly_as_its_draw_says(uint64 winProb, bytes32 payeeRand, bytes32 payerRand)
        public
    {
        (TicketBroker.Ticket memory t,) = winning(payer, payee, first);
        (t.winProb, t.payerRand, t.payeeCommit) = (winProb, payerRand, keccak256(abi.encode(payeeRand)));
        bytes32 draw = keccak256(abi.encode(payer, payee, first, payeeRand, payerRand));
        TicketBroker.Winner memory w = seal(PAYER_KEY, t, payeeRand);
        if (uint256(draw) % 2 ** 64 < winProb) redeem(w);
        else refuse(w, abi.encodeWithSelector(TicketBroker.NotAWinner.selector, first));
    }

    function testFuzz_P3_a_lock_is_untouched_by_anothers_redemption(uint96 other, uint8 tickets) public {
        address payee2 = address(0xA11CE2);
        other = uint96(bound(other, 1, 90 ether));
        vm.prank(payer);
        broker.fund{value: other}(payee2);
        for (uint256 i = 0; i < bound(tickets, 1, 8); ++i) {
            redeem(winner(PAYER_KEY, payee, nonceAt(START, i)));
        }
        vm.assertEq(broker.pair(payer, payee2).locked, other, "lock of the other payee");
    }

    function testFuzz_P4_nothing_redeems_twice(uint64 later) public {
        TicketBroker.Winner memory w = winner(PAYER_KEY, payee, first);
        redeem(w);
        vm.warp(START + bound(later, 0, 24 hours));
        refuse(w, abi.encodeWithSelector(TicketBroker.NonceNotRising.selector, first, first));
    }

    function testFuzz_P5_a_nonce_at_or_below_the_last_is_refused(uint64 nonce) public {
        uint64 last = nonceAt(START, 5);
        nonce = uint64(bound(nonce, 0, last));
        redeem(winner(PAYER_KEY, payee, last));
        refuse(
            winner(PAYER_KEY, payee, nonce), abi.encodeWithSelector(TicketBroker.NonceNotRising.selector, nonce, last)
        );
    }

    function testFuzz_P6_never_less_than_face_value_is_paid(uint96 face) public {
        (TicketBroker.Ticket memory t, bytes32 payeeRand) = winning(payer, payee, first);
        t.faceValue = face;
        TicketBroker.Winner memory w = seal(PAYER_KEY, t, payeeRand);
        if (face > 1 ether) {
            refuse(w, abi.encodeWithSelector(TicketBroker.LockTooSmall.selector, first, 1 ether, face));
        } else {
            redeem(w);
            vm.assertEq(broker.credit(payee), face, "credited");
        }
    }

    function testFuzz_P7_a_third_party_can_only_add(uint96 amount) public {
        amount = uint96(bound(amount, 1, 100 ether));
        vm.prank(payer);
        broker.requestUnlock(payee, 0.4 ether);
        TicketBroker.Pair memory before = broker.pair(payer, payee);
        vm.prank(stranger);
        broker.fundFor{value: amount}(payer, payee);
        TicketBroker.Pair memory p = broker.pair(payer, payee);
        vm.assertEq(p.locked, uint256(before.locked) + amount, "locked");
        vm.assertEq(p.pendingUnlock, before.pendingUnlock, "pending");
        vm.assertEq(p.unlockAt, before.unlockAt, "timer");
    }

    /// @notice The payer knows the draw of a ticket whose commit it made up. Were it let to carry that ticket, one wei would void
    /// every winner that the payee still holds.
    function test_P7_a_payer_cannot_void_winners_with_a_ticket_of_its_own_making() public {
        (TicketBroker.Ticket memory t, bytes32 payeeRand) = winning(payer, payee, nonceAt(START + 60, 0));
        t.faceValue = 1;
        TicketBroker.Winner memory forged = seal(PAYER_KEY, t, payeeRand);
        vm.expectRevert(abi.encodeWithSelector(TicketBroker.NotCarrier.selector, payer, payee));
        vm.prank(payer);
        broker.redeem(payer, payee, forged);
        redeem(winner(PAYER_KEY, payee, first));
    }

    function test_P7_a_carrier_that_the_payee_named_redeems_and_the_payee_is_credited() public {
        TicketBroker.Winner memory w = winner(PAYER_KEY, payee, first);
        vm.prank(payee);
        broker.setCarrier(stranger, true);
        vm.prank(stranger);
        broker.redeem(payer, payee, w);
        vm.assertEq(broker.credit(payee), FACE, "payee");
        vm.assertEq(broker.credit(stranger), 0, "carrier");
    }

    function testFuzz_P8_no_withdrawal_before_unlock(uint40 wait, uint96 amount) public {
        amount = uint96(bound(amount, 1, 1 ether));
        wait = uint40(bound(wait, 0, 144 hours));
        vm.prank(payer);
        broker.requestUnlock(payee, amount);
        vm.warp(START + wait);
        uint256 before = payer.balance;
        if (wait < 72 hours) {
            vm.expectRevert(abi.encodeWithSelector(TicketBroker.StillLocked.selector, uint40(START + 72 hours)));
        }
        vm.prank(payer);
        broker.withdraw(payee);
        vm.assertEq(payer.balance - before, wait < 72 hours ? 0 : amount, "withdrawn");
    }

    function test_P8_a_winner_still_redeems_from_wei_that_wait_to_be_unlocked() public {
        vm.prank(payer);
        broker.requestUnlock(payee, 1 ether);
        redeem(winner(PAYER_KEY, payee, first));
        vm.warp(START + 72 hours);
        uint256 before = payer.balance;
        vm.prank(payer);
        broker.withdraw(payee);
        vm.assertEq(payer.balance - before, 1 ether - FACE, "what the winner left");
    }

    function test_an_unlock_can_be_cancelled_and_is_never_paid_twice() public {
        vm.prank(payer);
        broker.requestUnlock(payee, 1 ether);
        vm.prank(payer);
        broker.cancelUnlock(payee);
        vm.warp(START + 72 hours);
        vm.expectRevert(abi.encodeWithSelector(TicketBroker.NoUnlock.selector));
        vm.prank(payer);
        broker.withdraw(payee);
    }

    function test_P9_the_twin_of_a_signature_is_refused() public {
        TicketBroker.Winner memory w = winner(PAYER_KEY, payee, first);
        uint256 s = uint256(w.vs) & (type(uint256).max >> 1);
        // n - s needs the top bit, where the parity stands: what arrives is another signature.
        w.vs = bytes32(ORDER - s);
        vm.prank(payee);
        (bool done,) = address(broker).call(abi.encodeCall(TicketBroker.redeem, (payer, payee, w)));
        vm.assertTrue(!done, "twin redeemed");
    }

    function test_P9_a_high_s_is_refused_by_name() public {
        TicketBroker.Winner memory w = winner(PAYER_KEY, payee, first);
        bytes32 high = bytes32(ORDER / 2 + 1);
        w.vs = high;
        refuse(w, abi.encodeWithSelector(ECDSA.ECDSAInvalidSignatureS.selector, high));
    }

    /// @notice ECDSA lets the payer sign one digest in as many ways as there are nonces k: each draws the same, and one alone is paid.
    function testFuzz_P9_another_signature_of_the_same_ticket_is_no_other_draw(uint64 winProb, uint256 k) public {
        (TicketBroker.Ticket memory t, bytes32 payeeRand) = winning(payer, payee, first);
        t.winProb = winProb;
        TicketBroker.Winner memory w = seal(PAYER_KEY, t, payeeRand);
        TicketBroker.Winner memory other = seal(PAYER_KEY, t, payeeRand);
        (other.r, other.vs) = signWith(bound(k, 1, ORDER - 1), broker.digest(t));
        vm.assume(other.r != w.r);
        bytes memory lost = abi.encodeWithSelector(TicketBroker.NotAWinner.selector, first);
        bool wins = uint64(uint256(keccak256(abi.encode(payer, payee, first, payeeRand, t.payerRand)))) < winProb;
        if (wins) redeem(other);
        else refuse(other, lost);
        refuse(w, wins ? abi.encodeWithSelector(TicketBroker.NonceNotRising.selector, first, first) : lost);
    }

    /// @dev ECDSA by the payer's key with a chosen k: r = x(kG), s = (digest + r * key) / k, the lower of the two.
    function signWith(uint256 k, bytes32 digest) internal returns (bytes32, bytes32) {
        Vm.Wallet memory point = vm.createWallet(k);
        uint256 r = point.publicKeyX % ORDER;
        uint256 inverse = power(k, ORDER - 2);
        uint256 s = mulmod(inverse, addmod(uint256(digest) % ORDER, mulmod(r, PAYER_KEY, ORDER), ORDER), ORDER);
        uint256 parity = point.publicKeyY & 1;
        if (s > ORDER / 2) (s, parity) = (ORDER - s, parity ^ 1);
        return (bytes32(r), bytes32(s | parity << 255));
    }

    function power(uint256 base, uint256 exponent) internal pure returns (uint256 result) {
        for (result = 1; exponent != 0; exponent >>= 1) {
            if (exponent & 1 == 1) result = mulmod(result, base, ORDER);
            base = mulmod(base, base, ORDER);
        }
    }

    function testFuzz_P10_a_ticket_for_another_chain_fails(uint64 chain) public {
        uint256 home = 31337; // forge's own
        chain = uint64(bound(chain, 1, type(uint64).max - 1));
        vm.assume(chain != home);
        TicketBroker.Winner memory w = winner(PAYER_KEY, payee, first);
        vm.chainId(chain);
        refuseSigner(w);
        vm.chainId(home);
        redeem(w);
    }

    function test_P10_a_ticket_for_another_contract_fails() public {
        TicketBroker here = broker;
        broker = new TicketBroker(parameters, pool);
        TicketBroker.Winner memory w = winner(PAYER_KEY, payee, first);
        broker = here;
        refuseSigner(w);
    }

    function testFuzz_P10_a_ticket_that_was_changed_fails(uint8 field, uint256 to) public {
        (TicketBroker.Ticket memory t, bytes32 payeeRand) = winning(payer, payee, first);
        TicketBroker.Winner memory w = seal(PAYER_KEY, t, payeeRand);
        bytes32 before = keccak256(abi.encode(w));
        field = uint8(bound(field, 0, 6));
        if (field == 0) t.faceValue = uint96(bound(to, 0, 1 ether));
        if (field == 1) t.winProb = uint64(bound(to, ALWAYS - 1000, ALWAYS));
        if (field == 2) t.nonce = uint64(bound(to, first, nonceAt(START + 60, 0)));
        if (field == 3) t.expiry = uint40(bound(to, START, START + type(uint32).max));
        if (field == 4) w.payeeRand = bytes32(to);
        if (field == 5) w.payerRand = bytes32(to);
        if (field == 6) w.workHash = bytes32(to);
        w.terms = packed(t);
        if (keccak256(abi.encode(w)) != before) refuseSigner(w);
    }

    function test_expiry_counts_to_its_last_second() public {
        TicketBroker.Winner memory w = winner(PAYER_KEY, payee, first);
        vm.warp(START + 24 hours + 1);
        refuse(w, abi.encodeWithSelector(TicketBroker.Expired.selector, first, uint40(START + 24 hours)));
        vm.warp(START + 24 hours);
        redeem(w);
    }

    /// @notice Some tickets by the session key, one perhaps stale: the batch does what its winners do in order, or nothing.
    function testFuzz_P16_a_batch_equals_its_winners_one_by_one(uint8 size, uint16 bySession, uint8 stale) public {
        vm.prank(payer);
        broker.setSessionKey(session, uint40(START + 30 days), 1 ether);
        TicketBroker.Winner[] memory winners = new TicketBroker.Winner[](bound(size, 1, 16));
        for (uint256 i = 0; i < winners.length; ++i) {
            uint256 key = bySession >> i & 1 == 1 ? SESSION_KEY : PAYER_KEY;
            winners[i] = winnerBy(key, payer, payee, nonceAt(START, i == stale ? 0 : i + 1));
        }
        uint256 start = vm.snapshotState();
        bool allPass = true;
        for (uint256 i = 0; i < winners.length; ++i) {
            vm.prank(payee);
            try broker.redeem(payer, payee, winners[i]) {}
            catch {
                allPass = false;
            }
        }
        bytes32 singles = state();
        vm.revertToState(start);
        bytes32 untouched = state();
        vm.prank(payee);
        try broker.redeemBatch(batchOf(payer, payee, winners)) {
            vm.assertTrue(allPass, "the batch passed what a single is refused for");
            vm.assertEq(state(), singles, "state");
        } catch {
            vm.assertTrue(!allPass, "the batch was refused, no single was");
            vm.assertEq(state(), untouched, "state");
        }
    }

    function state() internal view returns (bytes32) {
        (uint40 day, uint96 amount) = broker.spent(payer, payee, session);
        return keccak256(abi.encode(broker.pair(payer, payee), broker.credit(payee), day, amount));
    }

    function test_P16_batches_of_several_payers_go_in_one_transaction() public {
        uint256 otherKey = 0xB0B2;
        vm.prank(stranger);
        broker.fundFor{value: 1 ether}(vm.addr(otherKey), payee);
        TicketBroker.Winner[] memory winners = new TicketBroker.Winner[](1);
        TicketBroker.Winner[] memory others = new TicketBroker.Winner[](1);
        winners[0] = winner(PAYER_KEY, payee, first);
        others[0] = winner(otherKey, payee, first);
        TicketBroker.Batch[] memory batches = new TicketBroker.Batch[](2);
        batches[0] = TicketBroker.Batch(payer, payee, winners);
        batches[1] = TicketBroker.Batch(vm.addr(otherKey), payee, others);
        vm.prank(payee);
        broker.redeemBatch(batches);
        vm.assertEq(broker.credit(payee), 2 * FACE, "credited");
        vm.assertEq(broker.pair(vm.addr(otherKey), payee).locked, 1 ether - FACE, "lock of the other payer");
    }

    function test_P16_a_batch_is_all_or_nothing() public {
        TicketBroker.Winner[] memory winners = new TicketBroker.Winner[](2);
        winners[0] = winner(PAYER_KEY, payee, first);
        winners[1] = winners[0];
        TicketBroker.Batch[] memory batches = batchOf(payer, payee, winners);
        vm.expectRevert(abi.encodeWithSelector(TicketBroker.NonceNotRising.selector, first, first));
        vm.prank(payee);
        broker.redeemBatch(batches);
        vm.assertEq(broker.credit(payee), 0, "credited");
    }

    function testFuzz_P17_a_nonce_more_than_a_minute_ahead_is_refused(uint64 ahead) public {
        ahead = uint64(bound(ahead, 0, 10_000));
        uint64 nonce = nonceAt(START + ahead, type(uint16).max);
        TicketBroker.Winner memory w = winner(PAYER_KEY, payee, nonce);
        if (ahead <= 60) redeem(w);
        else refuse(w, abi.encodeWithSelector(TicketBroker.NonceInFuture.selector, nonce));
    }
}
