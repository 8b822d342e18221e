// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {TicketBroker} from "../src/TicketBroker.sol";
import {PairBase} from "./Base.sol";

/// @notice Keys that sign a payer's tickets in its stead, for a while and up to a daily cap.
contract SessionKeysTest is PairBase {
    uint40 constant EXPIRY = uint40(START + 30 days);
    uint96 constant CAP = 10 * FACE;

    function setUp() public override {
        super.setUp();
        vm.prank(payer);
        broker.setSessionKey(session, EXPIRY, CAP);
    }

    function bySession(uint64 nonce, uint96 face) internal view returns (TicketBroker.Winner memory) {
        (TicketBroker.Ticket memory t, bytes32 payeeRand) = winning(payer, payee, nonce);
        t.faceValue = face;
        return seal(SESSION_KEY, t, payeeRand);
    }

    function test_a_session_key_signs_for_its_payer() public {
        redeem(winnerBy(SESSION_KEY, payer, payee, first));
        vm.assertEq(broker.credit(payee), FACE, "credited");
        (uint40 day, uint96 amount) = broker.spent(payer, payee, session);
        vm.assertEq(day, START / 1 days, "day");
        vm.assertEq(amount, FACE, "spent");
    }

    function testFuzz_a_session_key_signs_for_nobody_else(uint256 key) public {
        address other = vm.addr(bound(key, 1, ORDER - 1));
        vm.assume(other != payer && other != session);
        vm.prank(stranger);
        broker.fundFor{value: 1 ether}(other, payee);
        TicketBroker.Winner memory w = winnerBy(SESSION_KEY, other, payee, first);
        vm.expectRevert(abi.encodeWithSelector(TicketBroker.WrongSigner.selector, first, session, other));
        vm.prank(payee);
        broker.redeem(other, payee, w);
    }

    function testFuzz_terms_are_set_once(uint40 expiry, uint96 cap) public {
        expiry = uint40(bound(expiry, START + 1, type(uint40).max));
        vm.expectRevert(abi.encodeWithSelector(TicketBroker.SessionKeyAlreadySet.selector, session));
        vm.prank(payer);
        broker.setSessionKey(session, expiry, cap);
        vm.prank(stranger);
        broker.setSessionKey(session, expiry, cap);
        assertTerms(EXPIRY, CAP);
    }

    function assertTerms(uint256 expiry, uint256 cap) internal view {
        (uint40 e, uint96 c) = broker.sessionKey(payer, session);
        vm.assertEq(e, expiry, "expiry");
        vm.assertEq(c, cap, "cap");
    }

    function test_a_key_that_has_already_ended_is_refused() public {
        vm.expectRevert(abi.encodeWithSelector(TicketBroker.SessionKeyInPast.selector, uint40(START)));
        vm.prank(payer);
        broker.setSessionKey(stranger, uint40(START), CAP);
    }

    function testFuzz_the_daily_cap_holds_for_each_day_of_issue(uint96[8] memory faces, uint32[8] memory steps) public {
        uint256 time = START;
        uint256 day;
        uint256 sum;
        for (uint256 i = 0; i < faces.length; ++i) {
            time += bound(steps[i], 1, 12 hours);
            vm.warp(time);
            uint96 face = uint96(bound(faces[i], 0, CAP));
            TicketBroker.Winner memory w = bySession(nonceAt(time, 0), face);
            if (time / 1 days != day) (day, sum) = (time / 1 days, 0);
            sum += face;
            if (sum > CAP) {
                refuse(
                    w,
                    abi.encodeWithSelector(TicketBroker.DailyCapExceeded.selector, nonceAt(time, 0), session, sum, CAP)
                );
                sum -= face;
            } else {
                redeem(w);
            }
        }
    }

    /// @notice The day is the ticket's, not the chain's: a payee that redeems late fits what it counted when it took the tickets.
    function test_the_cap_counts_by_issue_time_not_by_redemption_time() public {
        uint256 midnight = (START / 1 days + 1) * 1 days;
        TicketBroker.Winner memory before = bySession(nonceAt(midnight - 1, 0), CAP);
        TicketBroker.Winner memory later = bySession(nonceAt(midnight, 0), CAP);
        vm.warp(midnight + 1 hours);
        redeem(before);
        redeem(later);
        vm.assertEq(broker.credit(payee), 2 * uint256(CAP), "credited");
    }

    function test_the_cap_is_counted_for_each_payee_alone() public {
        redeem(bySession(first, CAP));
        payee = address(0xA11CE2);
        vm.prank(payer);
        broker.fund{value: 1 ether}(payee);
        redeem(bySession(first, CAP));
        vm.assertEq(broker.credit(payee), CAP, "credited");
    }

    function test_the_payers_own_key_has_no_cap_and_counts_against_none() public {
        (TicketBroker.Ticket memory t, bytes32 payeeRand) = winning(payer, payee, first);
        t.faceValue = CAP + 1;
        redeem(seal(PAYER_KEY, t, payeeRand));
        redeem(bySession(first + 1, CAP));
    }

    function testFuzz_no_ticket_outlives_its_key(uint40 expiry) public {
        expiry = uint40(bound(expiry, START + 1, START + type(uint32).max));
        (TicketBroker.Ticket memory t, bytes32 payeeRand) = winning(payer, payee, first);
        t.expiry = expiry;
        TicketBroker.Winner memory w = seal(SESSION_KEY, t, payeeRand);
        if (expiry <= EXPIRY) {
            redeem(w);
        } else {
            refuse(w, abi.encodeWithSelector(TicketBroker.SessionKeyExpired.selector, first, session, expiry, EXPIRY));
        }
    }

    function testFuzz_P14_a_revocation_kills_no_ticket_already_taken(uint32 wait, uint32 late) public {
        uint256 revokedAt = START + bound(wait, 0, 24 hours);
        vm.warp(revokedAt);
        TicketBroker.Winner memory w = winnerBy(SESSION_KEY, payer, payee, first);
        vm.prank(payer);
        broker.revokeSessionKey(session);
        vm.warp(bound(late, revokedAt, START + 24 hours));
        redeem(w);
    }

    function test_a_revocation_ends_the_key_after_the_unlock_delay_and_never_extends_it() public {
        vm.expectEmit(address(broker));
        emit TicketBroker.SessionKeyRevoked(payer, session, uint40(START + 72 hours));
        vm.prank(payer);
        broker.revokeSessionKey(session);
        assertTerms(START + 72 hours, CAP);
        vm.warp(START + 1 days);
        vm.prank(payer);
        broker.revokeSessionKey(session);
        assertTerms(START + 72 hours, CAP);
        uint64 nonce = nonceAt(START + 60 hours, 0);
        vm.warp(START + 60 hours);
        refuse(
            winnerBy(SESSION_KEY, payer, payee, nonce),
            abi.encodeWithSelector(
                TicketBroker.SessionKeyExpired.selector,
                nonce,
                session,
                uint40(START + 84 hours),
                uint40(START + 72 hours)
            )
        );
    }

    function test_only_its_payer_revokes_a_key() public {
        vm.expectRevert(abi.encodeWithSelector(TicketBroker.SessionKeyUnknown.selector, session));
        vm.prank(stranger);
        broker.revokeSessionKey(session);
        assertTerms(EXPIRY, CAP);
    }
}
