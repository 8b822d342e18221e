// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Committee} from "../src/Committee.sol";
import {Registry} from "../src/Registry.sol";
import {CommitteeBase} from "./CommitteeBase.sol";

/// @notice Nobody arranges a committee, prevents one, or gains by a dispute with itself.
contract DrawTest is CommitteeBase {
    address constant EVE = address(0xE7E);
    address constant TRUSTING = address(0xA11);
    uint256 constant SLEEPERS = 6;

    /// @notice Beside the twelve, six who left the registry and stayed on the list.
    function setUp() public override {
        super.setUp();
        for (uint256 i = CHECKERS; i < CHECKERS + SLEEPERS; ++i) {
            join(checkerAt(i), 4, LEAST);
            enlist(checkerAt(i));
            vm.prank(checkerAt(i));
            registry.startUnbond(LEAST);
        }
        opened = START + 8 days;
        vm.warp(opened);
    }

    function drawnOf(uint256 id, bytes32 seed) internal returns (bytes32) {
        draw(id, seed);
        return keccak256(abi.encode(disputes.committee(id)));
    }

    /// @notice Whatever checkers do between the opening and the draw, when the hash may be known: resign, leave, drop the role, come
    /// back, enlist anew. Each bit of `deeds` is one deed of one checker.
    function testFuzz_nothing_done_after_the_opening_changes_the_committee(bytes32 seed, uint256 deeds) public {
        uint256 id = open();
        uint256 snapshot = vm.snapshotState();
        bytes32 committee = drawnOf(id, seed);
        vm.revertToState(snapshot);
        for (uint256 i = 0; i < CHECKERS; ++i) {
            if (deeds >> 3 * i & 1 != 0) resign(checkerAt(i));
            if (deeds >> 3 * i & 2 != 0) {
                vm.prank(checkerAt(i));
                if (deeds >> 3 * i & 4 != 0) registry.update(1, "", TLS_KEY);
                else registry.startUnbond(2 * LEAST);
            }
        }
        for (uint256 i = CHECKERS; i < CHECKERS + SLEEPERS; ++i) {
            uint256 deed = deeds >> 3 * i & 7;
            if (deed & 1 != 0) join(checkerAt(i), 4, LEAST);
            else if (deed & 2 != 0) disputes.evict(checkerAt(i));
            if (deed & 4 != 0) {
                join(checkerAt(i + 100), 4, LEAST);
                enlist(checkerAt(i + 100));
            }
        }
        vm.assertEq(drawnOf(id, seed), committee, "the same committee");
    }

    function test_the_block_of_the_draw_is_of_no_consequence() public {
        uint256 id = open();
        uint256 snapshot = vm.snapshotState();
        bytes32 committee = drawnOf(id, "a beacon");
        vm.revertToState(snapshot);
        chainVm.roll(1004 + 256);
        chainVm.setBlockhash(1004, "a beacon");
        chainVm.setBlockhash(1259, "another");
        chainVm.prevrandao("another");
        vm.prank(EVE);
        disputes.draw(id);
        vm.assertEq(keccak256(abi.encode(disputes.committee(id))), committee, "the same committee");
    }

    function test_who_lets_the_hash_pass_loses_the_deposit() public {
        uint256 id = open();
        chainVm.roll(1004 + 257);
        uint256 supply = token.totalSupply();
        vm.prank(opener);
        disputes.draw(id);
        vm.assertEq(status(id), uint256(Committee.Status.Cancelled), "cancelled");
        vm.assertEq(token.balanceOf(opener), 0, "nothing goes back");
        vm.assertEq(supply - token.totalSupply(), DEPOSIT / 2, "burned");
        vm.assertEq(token.balanceOf(TREASURY), DEPOSIT / 2, "treasury");
        vm.assertEq(token.balanceOf(address(disputes)), 0, "nothing stays");
        vm.assertEq(disputes.undrawn(), 0, "none waits");
        vm.assertEq(open(), id + 1, "another deposit, another dispute");
    }

    function test_who_resigns_while_a_dispute_waits_is_drawn_for_no_later_one() public {
        uint256 id = open();
        for (uint256 i = 0; i < 5; ++i) {
            resign(checkerAt(i));
            vm.assertTrue(!disputes.isMember(checkerAt(i)), "resigned");
        }
        uint256 later = openNth(1);
        vm.expectRevert(abi.encodeWithSelector(Committee.ListFrozen.selector, checkerAt(0), 2));
        disputes.evict(checkerAt(0));
        vm.expectRevert(abi.encodeWithSelector(Committee.ListFrozen.selector, checkerAt(0), 2));
        vm.prank(checkerAt(0));
        disputes.enlist();
        draw(id, "a beacon");
        disputes.draw(later);
        for (uint256 i = 0; i < 7; ++i) {
            vm.assertTrue(uint160(seat(later, i)) >= 0xC05, "resigned before it was opened");
        }
        uint256 listed = disputes.memberCount();
        disputes.evict(checkerAt(0)); // by anyone
        enlist(checkerAt(1)); // back: taken off, and put at the end
        vm.assertEq(disputes.memberCount(), listed - 1, "one less");
        vm.assertTrue(disputes.isMember(checkerAt(1)), "back");
    }

    function test_only_who_is_no_checker_any_more_is_taken_off_by_others() public {
        vm.expectRevert(abi.encodeWithSelector(Committee.StillChecker.selector, checkerAt(0)));
        disputes.evict(checkerAt(0));
        disputes.evict(checkerAt(CHECKERS));
        vm.assertTrue(!disputes.isMember(checkerAt(CHECKERS)), "off the list");
        vm.expectRevert(abi.encodeWithSelector(Committee.NotEnlisted.selector, checkerAt(CHECKERS)));
        disputes.evict(checkerAt(CHECKERS));
    }

    /// @notice 180 who enlisted and took their bonds out again: without eviction no draw would find its seven.
    function test_the_list_is_freed_of_those_whose_bonds_are_gone() public {
        for (uint256 i = 100; i < 280; ++i) {
            join(checkerAt(i), 4, LEAST);
            enlist(checkerAt(i));
            vm.prank(checkerAt(i));
            registry.startUnbond(LEAST);
        }
        uint256 id = open();
        draw(id, "a beacon");
        vm.assertEq(status(id), uint256(Committee.Status.Cancelled), "too many dead ones");
        vm.assertEq(token.balanceOf(opener), DEPOSIT, "which is not the opener's fault");
        for (uint256 i = 100; i < 280; ++i) {
            disputes.evict(checkerAt(i));
        }
        for (uint64 i = 0; i < 30; ++i) {
            id = openNth(i + 1);
            draw(id, keccak256(abi.encode(i)));
            vm.assertEq(status(id), uint256(Committee.Status.Drawn), "drawn");
        }
    }

    function test_a_checker_that_leaves_is_none_again_for_a_day() public {
        address who = checkerAt(0);
        vm.assertTrue(registry.wasChecker(who, uint40(opened)), "a checker");
        vm.assertTrue(!registry.wasChecker(who, uint40(START)), "not before that second was over");
        vm.prank(who);
        registry.update(1, "", TLS_KEY);
        vm.assertTrue(registry.wasChecker(who, uint40(opened)), "it was, in this second");
        vm.assertTrue(!registry.wasChecker(who, uint40(opened + 1)), "it is no more");
        vm.warp(opened + 1 days - 1);
        vm.expectRevert(abi.encodeWithSelector(Registry.CheckerTooSoon.selector, who, uint40(opened + 1 days)));
        vm.prank(who);
        registry.update(4, "", TLS_KEY);
        vm.assertTrue(registry.wasChecker(who, uint40(opened)), "the record stays");
        vm.warp(opened + 1 days);
        vm.prank(who);
        registry.update(4, "", TLS_KEY);
        vm.assertTrue(!registry.wasChecker(who, uint40(opened + 1 days)), "from the next second on");
    }

    function test_each_finding_of_a_majority_is_paid_alike() public {
        uint256 snapshot = vm.snapshotState();
        for (uint8 f = 1; f <= 3; ++f) {
            uint256 id = opened7();
            findings(id, [f, f, f, f, f, f, f]);
            settle(id);
            vm.assertEq(token.balanceOf(seat(id, 0)), uint256(DEPOSIT) / 14, "pay");
            vm.revertToState(snapshot);
            vm.warp(opened);
        }
    }

    function test_where_the_slash_yields_too_little_the_deposit_pays_the_majority() public {
        vm.prank(worker);
        registry.startUnbond(10 * LEAST);
        vm.warp(opened + 7 days);
        vm.prank(worker);
        registry.withdrawBond();
        opened = opened + 7 days;
        uint256 id = opened7();
        findings(id, [2, 2, 2, 2, 2, 2, 2]);
        settle(id);
        uint256 each = uint256(DEPOSIT) / 14;
        vm.assertEq(token.balanceOf(seat(id, 0)), each, "pay");
        vm.assertEq(token.balanceOf(opener), DEPOSIT - 7 * each, "what is left of the deposit");
    }

    /// @notice Opener, worker, all checkers and who settles are one party, and strangers have delegated to its checkers. Whatever it
    /// finds about itself, it ends with no more than it had, and the strangers lose nothing. (A party that holds two thirds of a
    /// committee can still slash a worker that is not of it: against that stands the draw.)
    function testFuzz_a_party_gains_nothing_by_disputes_with_itself(uint256 seed, uint8 rounds) public {
        rounds = uint8(bound(rounds, 1, 8));
        for (uint256 i = 0; i < CHECKERS; ++i) {
            delegateTo(checkerAt(i), TRUSTING, LEAST);
        }
        uint256 before = partys() + rounds * uint256(DEPOSIT);
        for (uint64 round = 0; round < rounds; ++round) {
            uint256 id = openNth(round + 1);
            draw(id, keccak256(abi.encode(seed, round)));
            uint8[7] memory found;
            for (uint256 i = 0; i < 7; ++i) {
                // One finding most of the time, so that there are majorities.
                uint256 dice = uint256(keccak256(abi.encode(seed, round, i)));
                found[i] = uint8(dice % 4 == 0 ? dice >> 8 & 3 : seed >> 2 * round & 3);
            }
            findings(id, found);
            vm.prank(EVE);
            disputes.settle(id);
            vm.assertLe(partys(), before - (rounds - round - 1) * uint256(DEPOSIT), "no more than before");
            opened = opened + 24 hours;
        }
        for (uint256 i = 0; i < CHECKERS; ++i) {
            vm.assertEq(stakeOf(checkerAt(i), TRUSTING), LEAST, "of the delegators nothing");
        }
    }

    /// @notice All that the party has.
    function partys() internal view returns (uint256 sum) {
        address[3] memory others = [opener, worker, EVE];
        for (uint256 i = 0; i < CHECKERS + 3; ++i) {
            address who = i < CHECKERS ? checkerAt(i) : others[i - CHECKERS];
            sum += token.balanceOf(who) + registry.ownStake(who);
        }
    }

    /// @notice A checker that sits on more committees than its bond can answer for.
    function test_fines_end_with_the_checkers_own_stake() public {
        for (uint256 i = 0; i < CHECKERS; ++i) {
            delegateTo(checkerAt(i), TRUSTING, 10 * LEAST);
        }
        uint256 before = partys();
        uint256 n = 80;
        for (uint64 i = 0; i < n; ++i) {
            openNth(i + 1);
        }
        draw(1, "a beacon");
        for (uint256 id = 2; id <= n; ++id) {
            disputes.draw(id);
        }
        vm.warp(opened + 24 hours);
        for (uint256 id = 1; id <= n; ++id) {
            vm.prank(EVE);
            disputes.settle(id);
        }
        for (uint256 i = 0; i < CHECKERS; ++i) {
            vm.assertEq(stakeOf(checkerAt(i), TRUSTING), 10 * LEAST, "delegators");
            vm.assertEq(registry.ownStake(checkerAt(i)), 0, "own");
        }
        vm.assertEq(token.balanceOf(EVE), CHECKERS * 2 * LEAST * 3 / 10, "30 % of what the checkers lost");
        vm.assertLe(partys(), before + n * DEPOSIT, "no gain");
    }
}
