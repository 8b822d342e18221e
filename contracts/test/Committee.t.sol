// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Committee} from "../src/Committee.sol";
import {Disputes} from "../src/Disputes.sol";
import {CommitteeBase} from "./CommitteeBase.sol";

/// @notice Disputes that a committee decides.
contract CommitteeTest is CommitteeBase {
    function test_two_thirds_for_fail_slash_the_worker_and_give_the_deposit_back() public {
        uint256 id = opened7();
        findings(id, [2, 2, 2, 2, 2, 1, 3]);
        settle(id);
        vm.assertEq(status(id), uint256(Committee.Status.Failed), "failed");
        uint256 taken = 10 * LEAST / 20;
        vm.assertEq(bondOf(worker), 10 * LEAST - taken, "slashed");
        uint256 each = DEPOSIT / 2 / 5;
        vm.assertEq(token.balanceOf(seat(id, 0)), each, "as for a pass");
        vm.assertEq(
            token.balanceOf(opener), DEPOSIT + taken * 3 / 10 - 5 * each, "deposit and the rest of the prover's part"
        );
        vm.assertEq(bondOf(seat(id, 0)), 2 * LEAST, "with the majority");
        vm.assertEq(bondOf(seat(id, 5)), 2 * LEAST - FINE, "against it");
        vm.assertEq(bondOf(seat(id, 6)), 2 * LEAST - FINE, "against it");
    }

    function test_less_than_two_thirds_of_those_drawn_slash_nobody() public {
        uint256 id = opened7();
        findings(id, [2, 2, 2, 2, 0, 0, 0]);
        settle(id);
        vm.assertEq(status(id), uint256(Committee.Status.Dismissed), "dismissed");
        vm.assertEq(bondOf(worker), 10 * LEAST, "not slashed");
        uint256 each = DEPOSIT / 2 / 4;
        vm.assertEq(token.balanceOf(seat(id, 0)), each, "with the majority");
        vm.assertEq(token.balanceOf(worker), DEPOSIT - 4 * each, "worker");
        vm.assertEq(bondOf(seat(id, 4)), 2 * LEAST - FINE, "stayed away");
        vm.assertEq(token.balanceOf(PROVER), FINE * 3 / 10 * 3, "who settled, of three fines");
    }

    function test_a_majority_for_pass_shares_half_of_the_deposit() public {
        uint256 id = opened7();
        findings(id, [1, 1, 1, 1, 1, 1, 2]);
        settle(id);
        uint256 each = DEPOSIT / 2 / 6;
        vm.assertEq(token.balanceOf(seat(id, 0)), each, "with the majority");
        vm.assertEq(token.balanceOf(seat(id, 6)), 0, "against it");
        vm.assertEq(bondOf(seat(id, 6)), 2 * LEAST - FINE, "against two thirds");
        vm.assertEq(token.balanceOf(worker), DEPOSIT - 6 * each, "worker");
        vm.assertEq(token.balanceOf(opener), 0, "opener");
    }

    function test_with_a_tie_all_at_the_top_share_and_nobody_who_revealed_is_fined() public {
        uint256 id = opened7();
        findings(id, [1, 1, 1, 2, 2, 2, 3]);
        settle(id);
        uint256 each = DEPOSIT / 2 / 6;
        for (uint256 i = 0; i < 7; ++i) {
            vm.assertEq(token.balanceOf(seat(id, i)), i < 6 ? each : 0, "share");
            vm.assertEq(bondOf(seat(id, i)), 2 * LEAST, "bond");
        }
        vm.assertEq(bondOf(worker), 10 * LEAST, "not slashed");
    }

    function test_when_nobody_reveals_all_are_fined_and_the_deposit_goes_back() public {
        uint256 id = opened7();
        findings(id, [0, 0, 0, 0, 0, 0, 0]);
        settle(id);
        vm.assertEq(token.balanceOf(opener), DEPOSIT, "deposit");
        for (uint256 i = 0; i < 7; ++i) {
            vm.assertEq(bondOf(seat(id, i)), 2 * LEAST - FINE, "fined");
        }
    }

    function testFuzz_every_outcome_conserves_tokens_and_pays_out_the_deposit(uint256 seed) public {
        uint256 id = opened7();
        uint256 before = token.totalSupply() - token.balanceOf(address(this));
        uint8[7] memory found;
        uint256[4] memory count;
        for (uint256 i = 0; i < 7; ++i) {
            found[i] = uint8(seed >> 8 * i & 3);
            ++count[found[i]];
        }
        findings(id, found);
        uint256 supply = token.totalSupply();
        settle(id);
        bool failed = count[2] >= 5;
        vm.assertEq(status(id), failed ? 3 : 4, "status");
        vm.assertEq(bondOf(worker), failed ? 10 * LEAST * 95 / 100 : 10 * LEAST, "worker");
        uint256 fined;
        for (uint256 i = 0; i < 7; ++i) {
            bool against = found[i] == 0;
            for (uint256 f = 1; f < 4; ++f) {
                if (count[f] >= 5 && found[i] != f) against = true;
            }
            vm.assertEq(bondOf(seat(id, i)), against ? 2 * LEAST - FINE : 2 * LEAST, "checker");
            if (against) ++fined;
        }
        uint256 burned = (fined * FINE + (failed ? LEAST / 2 : 0)) / 2;
        vm.assertEq(supply - token.totalSupply(), burned, "burned");
        vm.assertEq(token.totalSupply() - token.balanceOf(address(this)) + burned, before, "tokens conserve");
    }

    function test_a_dispute_is_settled_once_and_not_before_its_time() public {
        uint256 id = opened7();
        vm.warp(opened + 24 hours - 1);
        vm.expectRevert(abi.encodeWithSelector(Committee.TooEarlyToSettle.selector, id, uint40(opened + 24 hours)));
        disputes.settle(id);
        vm.warp(opened + 24 hours);
        settle(id);
        vm.expectRevert(abi.encodeWithSelector(Committee.WrongStatus.selector, id, Committee.Status.Dismissed));
        disputes.settle(id);
        vm.expectRevert(abi.encodeWithSelector(Committee.WrongStatus.selector, id, Committee.Status.Dismissed));
        disputes.draw(id);
        vm.expectRevert(abi.encodeWithSelector(Committee.WrongStatus.selector, 9, Committee.Status.None));
        disputes.settle(9);
    }

    function test_the_committee_is_not_drawn_before_the_hash_that_decides_is_known() public {
        uint256 id = open();
        chainVm.roll(1004);
        vm.expectRevert(abi.encodeWithSelector(Committee.TooEarlyToDraw.selector, id, 1004));
        disputes.draw(id);
        draw(id, "a beacon");
        vm.expectRevert(abi.encodeWithSelector(Committee.WrongStatus.selector, id, Committee.Status.Drawn));
        disputes.draw(id);
    }

    function testFuzz_a_committee_is_seven_different_checkers_and_no_party(bytes32 seed) public {
        uint256 id = open();
        draw(id, seed);
        Committee.Seat[] memory seats = disputes.committee(id);
        vm.assertEq(seats.length, 7, "seats");
        for (uint256 i = 0; i < 7; ++i) {
            vm.assertTrue(uint160(seats[i].checker) >= 0xC00, "no party");
            vm.assertTrue(uint160(seats[i].checker) < 0xC00 + CHECKERS, "enlisted");
            for (uint256 j = 0; j < i; ++j) {
                vm.assertTrue(seats[i].checker != seats[j].checker, "once");
            }
        }
    }

    /// @notice 2,000 draws of 7 out of 12: each sits in 1,167 of them, within five standard deviations (22 each).
    function test_every_checker_is_drawn_as_often_as_any_other() public {
        uint256 id = open();
        uint256[] memory drawn = new uint256[](CHECKERS);
        for (uint256 i = 0; i < 2000; ++i) {
            uint256 snapshot = vm.snapshotState();
            draw(id, keccak256(abi.encode(i)));
            Committee.Seat[] memory seats = disputes.committee(id);
            vm.revertToState(snapshot);
            for (uint256 j = 0; j < 7; ++j) {
                ++drawn[uint160(seats[j].checker) - 0xC00];
            }
        }
        for (uint256 i = 0; i < CHECKERS; ++i) {
            vm.assertLe(drawn[i], 1277, "too often");
            vm.assertLe(1057, drawn[i], "too seldom");
        }
    }

    function testFuzz_newcomers_and_those_who_resigned_are_not_drawn(bytes32 seed, uint8 gone, uint8 came) public {
        gone = uint8(bound(gone, 0, 5));
        came = uint8(bound(came, 0, 5));
        for (uint256 i = 0; i < gone; ++i) {
            resign(checkerAt(i));
        }
        uint256 id = open();
        if (gone > 1) enlist(checkerAt(1)); // back, but later than the opening
        for (uint256 i = 0; i < came; ++i) {
            join(checkerAt(100 + i), 4, LEAST);
            enlist(checkerAt(100 + i));
        }
        draw(id, seed);
        Committee.Seat[] memory seats = disputes.committee(id);
        vm.assertEq(seats.length, 7, "seats");
        for (uint256 i = 0; i < 7; ++i) {
            vm.assertTrue(uint160(seats[i].checker) >= 0xC00 + gone, "resigned");
            vm.assertTrue(uint160(seats[i].checker) < 0xC00 + CHECKERS, "newcomer");
        }
    }

    function test_a_checker_that_left_the_registry_is_not_drawn() public {
        for (uint256 i = 0; i < 5; ++i) {
            vm.prank(checkerAt(i));
            registry.startUnbond(2 * LEAST);
        }
        opened = opened + 1; // who leaves in the second of the opening is drawn
        vm.warp(opened);
        uint256 id = open();
        draw(id, "a beacon");
        for (uint256 i = 0; i < 7; ++i) {
            vm.assertTrue(uint160(seat(id, i)) >= 0xC05, "has left");
        }
    }

    function test_with_too_few_checkers_a_dispute_is_cancelled_and_may_be_opened_anew() public {
        for (uint256 i = 0; i < 6; ++i) {
            resign(checkerAt(i));
        }
        uint256 id = open();
        draw(id, "a beacon");
        vm.assertEq(status(id), uint256(Committee.Status.Cancelled), "cancelled");
        vm.assertEq(token.balanceOf(opener), DEPOSIT, "deposit");
        for (uint256 i = 0; i < 6; ++i) {
            enlist(checkerAt(i));
        }
        vm.warp(opened + 1);
        opened = opened + 1;
        vm.assertEq(open(), id + 1, "anew");
    }

    function test_a_dispute_needs_as_many_checkers_as_seats() public {
        for (uint256 i = 0; i < 8; ++i) {
            resign(checkerAt(i));
        }
        (Disputes.Assignment memory a, Disputes.SegmentReceipt memory r) = work();
        bytes memory sigA = signed(OPENER_KEY, disputes.assignmentDigest(a));
        bytes memory sigR = signed(WORKER_KEY, disputes.receiptDigest(r));
        vm.expectRevert(abi.encodeWithSelector(Committee.TooFewCheckers.selector, 6, 7));
        vm.prank(opener);
        disputes.open(a, sigA, r, sigR, "", "");
    }

    function test_who_may_vote_when_and_how_often() public {
        uint256 id = opened7();
        address who = seat(id, 0);
        vm.expectRevert(abi.encodeWithSelector(Committee.NotSeated.selector, id, opener));
        vm.prank(opener);
        disputes.vote(id, "c");
        vm.expectRevert(abi.encodeWithSelector(Committee.NoCommitment.selector));
        vm.prank(who);
        disputes.vote(id, 0);
        vm.prank(who);
        disputes.vote(id, "c");
        vm.expectRevert(abi.encodeWithSelector(Committee.AlreadyVoted.selector, id, who));
        vm.prank(who);
        disputes.vote(id, "d");
        vm.warp(opened + 12 hours);
        address late = seat(id, 1);
        vm.expectRevert(abi.encodeWithSelector(Committee.VotingOver.selector, id, uint40(opened + 12 hours)));
        vm.prank(late);
        disputes.vote(id, "c");
    }

    function test_only_what_was_committed_to_is_revealed_and_in_its_time() public {
        uint256 id = opened7();
        (address who, address copier) = (seat(id, 0), seat(id, 1));
        bytes32 c = disputes.commitmentOf(id, who, Committee.Finding.Fail, SALT);
        vm.prank(who);
        disputes.vote(id, c);
        vm.prank(copier);
        disputes.vote(id, c);
        bytes memory early = abi.encodeWithSelector(
            Committee.NotRevealTime.selector, id, uint40(opened + 12 hours), uint40(opened + 24 hours)
        );
        vm.expectRevert(early);
        vm.prank(who);
        disputes.reveal(id, Committee.Finding.Fail, SALT);
        vm.warp(opened + 12 hours);
        vm.expectRevert(abi.encodeWithSelector(Committee.WrongReveal.selector, id, who));
        vm.prank(who);
        disputes.reveal(id, Committee.Finding.Pass, SALT);
        vm.expectRevert(abi.encodeWithSelector(Committee.WrongReveal.selector, id, copier));
        vm.prank(copier);
        disputes.reveal(id, Committee.Finding.Fail, SALT);
        vm.prank(who);
        disputes.reveal(id, Committee.Finding.Fail, SALT);
        vm.expectRevert(abi.encodeWithSelector(Committee.WrongReveal.selector, id, who));
        vm.prank(who);
        disputes.reveal(id, Committee.Finding.Fail, SALT);
        vm.warp(opened + 24 hours);
        vm.expectRevert(early);
        vm.prank(who);
        disputes.reveal(id, Committee.Finding.Fail, SALT);
    }

    function test_resigning_does_not_free_from_a_seat() public {
        uint256 id = opened7();
        address who = seat(id, 0);
        resign(who);
        vm.prank(who);
        registry.startUnbond(2 * LEAST);
        findings(id, [0, 1, 1, 1, 1, 1, 1]);
        settle(id);
        vm.assertEq(registry.node(who).unbonding, 2 * LEAST - FINE, "fined");
    }

    function test_unbonding_first_does_not_help_the_worker() public {
        uint256 id = opened7();
        vm.prank(worker);
        registry.startUnbond(10 * LEAST);
        findings(id, [2, 2, 2, 2, 2, 2, 2]);
        settle(id);
        vm.assertEq(registry.node(worker).unbonding, 10 * LEAST * 95 / 100, "slashed");
    }

    function test_one_dispute_for_a_receipt() public {
        uint256 id = opened7();
        (Disputes.Assignment memory a, Disputes.SegmentReceipt memory r) = work();
        bytes memory sigA = signed(OPENER_KEY, disputes.assignmentDigest(a));
        bytes memory sigR = signed(WORKER_KEY, disputes.receiptDigest(r));
        bytes32 digest = disputes.receiptDigest(r);
        vm.expectRevert(abi.encodeWithSelector(Committee.AlreadyDisputed.selector, digest, id));
        vm.prank(opener);
        disputes.open(a, sigA, r, sigR, "", "");
    }

    function test_a_dispute_needs_the_assigner_and_both_signatures() public {
        (Disputes.Assignment memory a, Disputes.SegmentReceipt memory r) = work();
        bytes memory sigA = signed(OPENER_KEY, disputes.assignmentDigest(a));
        bytes memory sigR = signed(WORKER_KEY, disputes.receiptDigest(r));
        vm.expectRevert(abi.encodeWithSelector(Disputes.NotAssigner.selector, address(this), opener));
        disputes.open(a, sigA, r, sigR, "", "");

        bytes memory forged = signed(WORKER_KEY, disputes.assignmentDigest(a));
        vm.expectRevert(abi.encodeWithSelector(Disputes.WrongSigner.selector, worker, opener));
        vm.prank(opener);
        disputes.open(a, forged, r, sigR, "", "");

        forged = signed(OPENER_KEY, disputes.receiptDigest(r));
        vm.expectRevert(abi.encodeWithSelector(Disputes.WrongSigner.selector, opener, worker));
        vm.prank(opener);
        disputes.open(a, sigA, r, forged, "", "");

        bytes32 digest = disputes.assignmentDigest(a);
        r.assignmentHash = "another";
        vm.expectRevert(abi.encodeWithSelector(Disputes.DifferentSubject.selector, digest, bytes32("another")));
        vm.prank(opener);
        disputes.open(a, sigA, r, sigR, "", "");
    }

    function test_only_registered_checkers_enlist_and_once() public {
        address node = address(0x70DE);
        join(node, 3, LEAST);
        vm.expectRevert(abi.encodeWithSelector(Committee.NotChecker.selector, node));
        vm.prank(node);
        disputes.enlist();
        vm.expectRevert(abi.encodeWithSelector(Committee.AlreadyEnlisted.selector, opener));
        vm.prank(opener);
        disputes.enlist();
        resign(opener);
        vm.assertTrue(!disputes.isMember(opener), "resigned");
        vm.assertEq(disputes.memberCount(), CHECKERS + 1, "members");
        vm.expectRevert(abi.encodeWithSelector(Committee.NotEnlisted.selector, opener));
        vm.prank(opener);
        disputes.resign();
    }

    function test_the_governor_changes_the_checker_for_later_disputes_only() public {
        uint256 id = open();
        vm.expectRevert(abi.encodeWithSelector(Committee.NotGovernor.selector, GUARDIAN));
        vm.prank(GUARDIAN);
        disputes.setChecker("new");
        vm.prank(GOVERNOR);
        disputes.setChecker("new");
        vm.assertEq(disputes.checker(), "new", "new");
        vm.assertEq(disputes.dispute(id).checker, CHECKER_HASH, "old");
    }

    function test_without_a_program_to_decide_by_nothing_is_disputed() public {
        vm.prank(GOVERNOR);
        disputes.setChecker(0);
        (Disputes.Assignment memory a, Disputes.SegmentReceipt memory r) = work();
        bytes memory sigA = signed(OPENER_KEY, disputes.assignmentDigest(a));
        bytes memory sigR = signed(WORKER_KEY, disputes.receiptDigest(r));
        vm.expectRevert(abi.encodeWithSelector(Committee.NoChecker.selector));
        vm.prank(opener);
        disputes.open(a, sigA, r, sigR, "", "");
    }
}
