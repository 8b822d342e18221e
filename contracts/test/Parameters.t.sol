// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {
    CHECKER_FINE,
    COMMITTEE_SIZE,
    DISPUTE_DEPOSIT,
    EQUIVOCATION_BPS,
    MIN_BOND,
    PERCEPTUAL_BPS,
    REVEAL_WINDOW,
    UNREVEALED_BPS,
    VOTE_WINDOW
} from "../src/IParameters.sol";
import {Parameters} from "../src/Parameters.sol";
import {Base} from "./Base.sol";

/// @notice What the governor and the guardian can do, and what they cannot.
contract ParametersTest is Base {
    bytes32[9] keys = [
        MIN_BOND,
        EQUIVOCATION_BPS,
        UNREVEALED_BPS,
        PERCEPTUAL_BPS,
        REVEAL_WINDOW,
        DISPUTE_DEPOSIT,
        COMMITTEE_SIZE,
        VOTE_WINDOW,
        CHECKER_FINE
    ];

    function setUp() public {
        deployBroker();
    }

    function assertIs(bytes32 key, uint256 value, uint256 least, uint256 most) internal view {
        (uint256 min, uint256 max) = parameters.bounds(key);
        vm.assertEq(parameters.get(key), value, "value");
        vm.assertEq(min, least, "min");
        vm.assertEq(max, most, "max");
    }

    function test_defaults_and_bounds_are_the_published_ones() public view {
        assertIs(MIN_BOND, 100e18, 1e18, 100_000e18);
        assertIs(EQUIVOCATION_BPS, 5000, 1000, 10_000);
        assertIs(UNREVEALED_BPS, 100, 10, 1000);
        assertIs(PERCEPTUAL_BPS, 500, 50, 2000);
        assertIs(REVEAL_WINDOW, 3 days, 1 days, 14 days);
        assertIs(DISPUTE_DEPOSIT, 10e18, 1e18, 1000e18);
        assertIs(COMMITTEE_SIZE, 7, 5, 21);
        assertIs(VOTE_WINDOW, 12 hours, 1 hours, 3 days);
        assertIs(CHECKER_FINE, 5e18, 1e18, 100e18);
    }

    function testFuzz_the_governor_sets_within_the_bounds_and_never_outside(uint8 which, uint256 value) public {
        bytes32 key = keys[which % keys.length];
        (uint256 min, uint256 max) = parameters.bounds(key);
        uint256 before = parameters.get(key);
        // Half of the values within or close to the bounds, half anywhere.
        if (value & 1 == 0) value = bound(value, 0, 2 * max);
        bool within = min <= value && value <= max;
        if (!within) {
            vm.expectRevert(abi.encodeWithSelector(Parameters.ParameterOutOfBounds.selector, key, value, min, max));
        }
        vm.prank(GOVERNOR);
        parameters.set(key, value);
        assertIs(key, within ? value : before, min, max);
    }

    function testFuzz_nobody_else_governs(address who) public {
        vm.assume(who != GOVERNOR);
        bytes memory reason = abi.encodeWithSelector(Parameters.NotGovernor.selector, who);
        vm.expectRevert(reason);
        vm.prank(who);
        parameters.set(MIN_BOND, 1e18);
        vm.expectRevert(reason);
        vm.prank(who);
        parameters.setTreasury(who);
        vm.expectRevert(reason);
        vm.prank(who);
        parameters.setGuardian(who);
    }

    function testFuzz_an_unknown_parameter_has_no_value(bytes32 key) public {
        for (uint256 i = 0; i < keys.length; ++i) {
            vm.assume(key != keys[i]);
        }
        bytes memory reason = abi.encodeWithSelector(Parameters.UnknownParameter.selector, key);
        vm.expectRevert(reason);
        parameters.get(key);
        vm.expectRevert(reason);
        parameters.bounds(key);
        vm.expectRevert(reason);
        vm.prank(GOVERNOR);
        parameters.set(key, 0);
    }

    function test_the_governor_replaces_guardian_and_treasury() public {
        vm.prank(GOVERNOR);
        parameters.setTreasury(address(1));
        vm.prank(GOVERNOR);
        parameters.setGuardian(address(0));
        vm.assertEq(parameters.treasury(), address(1), "treasury");
        vm.assertEq(parameters.guardian(), address(0), "guardian");
        vm.expectRevert(abi.encodeWithSelector(Parameters.NotGuardian.selector, GUARDIAN));
        vm.prank(GUARDIAN);
        parameters.stopDeposits();
    }

    function test_nobody_is_neither_governor_nor_treasury() public {
        bytes memory reason = abi.encodeWithSelector(Parameters.ZeroAddress.selector);
        vm.expectRevert(reason);
        vm.prank(GOVERNOR);
        parameters.setTreasury(address(0));
        vm.expectRevert(reason);
        new Parameters(address(0), GUARDIAN, TREASURY);
        vm.expectRevert(reason);
        new Parameters(GOVERNOR, GUARDIAN, address(0));
    }

    /// @notice A guardian that stops as often as it can: deposits are open for half of any four weeks.
    function testFuzz_a_guardian_cannot_stop_deposits_for_good(uint40[16] memory waits) public {
        uint256 time = START;
        uint256 stoppedAt;
        for (uint256 i = 0; i < waits.length; ++i) {
            time += bound(waits[i], 1, 20 days);
            vm.warp(time);
            vm.assertTrue(parameters.depositsStopped() == (time < stoppedAt + 14 days), "stopped");
            vm.prank(GUARDIAN);
            try parameters.stopDeposits() {
                vm.assertLe(stoppedAt + 28 days, time, "stopped again too soon");
                stoppedAt = time;
                vm.assertEq(parameters.depositsStoppedUntil(), time + 14 days, "until");
            } catch {
                vm.assertTrue(time < stoppedAt + 28 days, "a due stop was refused");
            }
        }
    }

    function test_a_stop_is_resumed_by_guardian_or_governor_and_the_wait_stays() public {
        vm.prank(GUARDIAN);
        parameters.stopDeposits();
        vm.expectRevert(abi.encodeWithSelector(Parameters.NotGuardian.selector, TREASURY));
        vm.prank(TREASURY);
        parameters.resumeDeposits();
        vm.prank(GOVERNOR);
        parameters.resumeDeposits();
        vm.assertTrue(!parameters.depositsStopped(), "resumed");
        vm.expectRevert(abi.encodeWithSelector(Parameters.NotStopped.selector));
        vm.prank(GUARDIAN);
        parameters.resumeDeposits();
        vm.expectRevert(abi.encodeWithSelector(Parameters.StopTooSoon.selector, uint40(START + 28 days)));
        vm.prank(GUARDIAN);
        parameters.stopDeposits();
    }
}
