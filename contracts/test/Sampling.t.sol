// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Sampling} from "../src/Sampling.sol";
import {StakeBase} from "./StakeBase.sol";

/// @notice Sampling secrets: committed, revealed, withheld.
contract SamplingTest is StakeBase {
    address node = address(0x70DE);
    uint40 constant E = uint40(START / 1 days);
    uint256 constant LENGTH = 100;

    function setUp() public {
        deployAll();
        join(node, 1, LEAST);
    }

    /// @notice The secret of epoch E + n; of n = 0, the tip.
    function secret(uint256 n) internal pure returns (bytes32 s) {
        s = "the last secret";
        for (uint256 i = n; i < LENGTH; ++i) {
            s = keccak256(abi.encode(s));
        }
    }

    function commit() internal {
        vm.prank(node);
        sampling.commit(secret(0));
    }

    function reveal(uint40 n) internal {
        vm.prank(node);
        sampling.reveal(E + n, secret(n));
    }

    function warpTo(uint256 n) internal {
        vm.warp((E + n) * 1 days);
    }

    function refuse(bytes memory reason) internal {
        vm.expectRevert(reason);
        vm.prank(node);
    }

    function test_secrets_are_revealed_once_their_epochs_are_over() public {
        commit();
        (bytes32 tip, uint40 epoch, uint40 last) = sampling.chain(node);
        vm.assertEq(tip, secret(0), "tip");
        vm.assertEq(epoch, E, "epoch");
        vm.assertEq(last, 0, "no end");
        vm.warp((E + 2) * 1 days - 1);
        refuse(abi.encodeWithSelector(Sampling.EpochNotOver.selector, E + 1, (E + 2) * 1 days));
        sampling.reveal(E + 1, secret(1));
        warpTo(2);
        reveal(1);
        (tip, epoch,) = sampling.chain(node);
        vm.assertEq(tip, secret(1), "tip");
        vm.assertEq(epoch, E + 1, "epoch");
        refuse(abi.encodeWithSelector(Sampling.EpochOutOfRange.selector, E + 1, E + 2, E + 65));
        sampling.reveal(E + 1, secret(1));
    }

    function testFuzz_one_secret_reveals_all_before_and_no_other_passes(uint40 n, bytes32 other) public {
        n = uint40(bound(n, 1, 64));
        vm.assume(other != secret(n));
        commit();
        warpTo(n + 1);
        vm.prank(node);
        (bool done, bytes memory reason) = address(sampling).call(abi.encodeCall(Sampling.reveal, (E + n, other)));
        vm.assertTrue(!done, "another secret");
        vm.assertEq(bytes32(bytes4(reason)), bytes32(Sampling.WrongSecret.selector), "reason");
        reveal(n);
        (, uint40 epoch,) = sampling.chain(node);
        vm.assertEq(epoch, E + n, "epoch");
    }

    function test_the_steps_of_one_reveal_are_bounded() public {
        commit();
        warpTo(80);
        refuse(abi.encodeWithSelector(Sampling.EpochOutOfRange.selector, E + 65, E + 1, E + 64));
        sampling.reveal(E + 65, secret(65));
        reveal(64);
        reveal(79);
    }

    function test_only_a_registered_orchestrator_commits_and_one_chain() public {
        address worker = address(0x70DF);
        join(worker, 2, LEAST);
        vm.expectRevert(abi.encodeWithSelector(Sampling.NotOrchestrator.selector, worker));
        vm.prank(worker);
        sampling.commit(secret(0));
        commit();
        refuse(abi.encodeWithSelector(Sampling.ChainRunning.selector, node, E));
        sampling.commit(secret(0));
        vm.expectRevert(abi.encodeWithSelector(Sampling.NoChain.selector, worker));
        vm.prank(worker);
        sampling.reveal(E + 1, secret(1));
        vm.expectRevert(abi.encodeWithSelector(Sampling.NoChain.selector, worker));
        sampling.punish(worker);
    }

    function testFuzz_a_secret_withheld_is_punished_when_the_window_is_over_and_not_before(uint40 late) public {
        commit();
        warpTo(2);
        reveal(1);
        uint256 overdue = (E + 3) * 1 days + 3 days;
        late = uint40(bound(late, 0, 6 days));
        vm.warp(overdue - 3 days + late);
        vm.prank(PROVER);
        if (late < 3 days) {
            vm.expectRevert(abi.encodeWithSelector(Sampling.NotOverdue.selector, E + 2, overdue));
            sampling.punish(node);
            reveal(2);
        } else {
            sampling.punish(node);
            vm.assertEq(registry.node(node).bond, LEAST - LEAST / 100, "fine");
            vm.assertEq(token.balanceOf(PROVER), LEAST / 100 * 3 / 10, "prover");
            (, uint40 epoch,) = sampling.chain(node);
            vm.assertEq(epoch, 0, "the chain is over");
            vm.expectRevert(abi.encodeWithSelector(Sampling.NoChain.selector, node));
            sampling.punish(node);
        }
    }

    function test_unbonding_first_does_not_help_who_withholds() public {
        commit();
        vm.warp((E + 2) * 1 days + 3 days);
        vm.prank(node);
        registry.startUnbond(LEAST);
        sampling.punish(node);
        vm.assertEq(registry.node(node).unbonding, LEAST - LEAST / 100, "fine");
    }

    function test_a_revealed_secret_is_never_punished_late_as_it_was() public {
        commit();
        vm.warp((E + 2) * 1 days + 10 days);
        reveal(uint40(11));
        vm.expectRevert(abi.encodeWithSelector(Sampling.NotOverdue.selector, E + 12, (E + 13) * 1 days + 3 days));
        sampling.punish(node);
    }

    function test_after_a_punishment_a_new_chain_may_start() public {
        commit();
        vm.warp((E + 2) * 1 days + 3 days);
        sampling.punish(node);
        give(node, LEAST);
        vm.prank(node);
        registry.addBond(LEAST);
        vm.prank(node);
        registry.update(1, "", TLS_KEY);
        commit();
        (, uint40 epoch,) = sampling.chain(node);
        vm.assertEq(epoch, E + 5, "starts in the running epoch");
    }

    function test_a_chain_ends_when_the_secret_of_the_epoch_of_its_stop_is_revealed() public {
        commit();
        warpTo(3);
        vm.prank(node);
        sampling.stop();
        refuse(abi.encodeWithSelector(Sampling.AlreadyStopping.selector, E + 3));
        sampling.stop();
        reveal(2);
        warpTo(5);
        refuse(abi.encodeWithSelector(Sampling.EpochOutOfRange.selector, E + 4, E + 3, E + 3));
        sampling.reveal(E + 4, secret(4));
        reveal(3);
        (, uint40 epoch, uint40 last) = sampling.chain(node);
        vm.assertEq(epoch + last, 0, "over");
        commit();
    }

    function test_a_stop_does_not_save_who_withholds_the_last_secrets() public {
        commit();
        warpTo(3);
        vm.prank(node);
        sampling.stop();
        vm.warp((E + 2) * 1 days + 3 days);
        sampling.punish(node);
        vm.assertEq(registry.node(node).bond, LEAST - LEAST / 100, "fine");
    }

    function test_a_chain_that_owes_nothing_is_over_at_once() public {
        commit();
        vm.prank(node);
        sampling.stop();
        (, uint40 epoch,) = sampling.chain(node);
        vm.assertEq(epoch, 0, "over");
    }

    /// @notice Were zero the mark of no chain, its reveal would end the chain without a stop.
    function test_a_secret_of_zero_does_not_end_a_chain() public {
        vm.prank(node);
        sampling.commit(keccak256(abi.encode(0)));
        warpTo(2);
        vm.prank(node);
        sampling.reveal(E + 1, 0);
        vm.warp((E + 3) * 1 days + 3 days);
        sampling.punish(node);
        vm.assertEq(registry.node(node).bond, LEAST - LEAST / 100, "fine");
    }
}
