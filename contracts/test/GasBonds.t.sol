// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Committee} from "../src/Committee.sol";
import {Disputes} from "../src/Disputes.sol";
import {StakeBase} from "./StakeBase.sol";

/// @notice What whole transactions of staking cost: the 21,000, the calldata and its floor (EIP-7623) are counted, refunds taken off.
/// "first" finds empty slots where later calls find used ones. The figures are kept in gas/bonds.json, which a run compares.
/// forge-config: default.isolate = true
contract GasBondsTest is StakeBase {
    uint256 constant KEY = 0x70DE;
    address node = vm.addr(KEY);
    address ann = address(0xA44);

    function setUp() public {
        deployAll();
        join(node, 3, 10_000e18);
        require(token.transfer(TREASURY, 1));
        vm.setEvmVersion("prague");
    }

    function record(string memory name, uint256 limit) internal {
        vm.assertLe(vm.snapshotGasLastCall("bonds", name), limit, name);
    }

    function personAt(uint256 i) internal pure returns (address) {
        return address(uint160(0x9E0000 + i));
    }

    function crowd(uint256 size) internal {
        for (uint256 i = 0; i < size; ++i) {
            delegateTo(node, personAt(i), 10e18);
        }
    }

    function test_gas_of_joining() public {
        give(ann, 1000e18);
        vm.prank(ann);
        registry.register(1, "quic://t1.example:4433", TLS_KEY, 100e18);
        record("register", 200_000);
        vm.prank(ann);
        registry.startUnbond(100e18);
        record("unbond", 60_000);
        vm.warp(START + 7 days);
        vm.prank(ann);
        registry.withdrawBond();
        record("withdraw a bond", 60_000);
    }

    function test_gas_of_delegating() public {
        crowd(1);
        payFees();
        give(ann, 100e18);
        vm.prank(ann);
        registry.delegate(node, 10e18);
        record("delegate", 100_000);
        payFees();
        vm.prank(ann);
        registry.delegate(node, 10e18);
        record("delegate again, with fees to count", 100_000);
        undelegateFrom(node, ann, 10e18);
        record("undelegate", 70_000);
        vm.warp(START + 7 days);
        vm.prank(ann);
        registry.withdrawDelegation(node);
        record("withdraw a delegation", 60_000);
        vm.prank(ann);
        registry.claimFees(node);
        record("claim fees", 60_000);
    }

    function payFees() internal {
        vm.deal(address(this), 1 ether);
        registry.payFees{value: 1 ether}(node);
    }

    function test_gas_of_sharing_fees_out() public {
        crowd(1);
        payFees();
        record("pay fees, first", 80_000);
        payFees();
        record("pay fees", 50_000);
    }

    function test_gas_of_a_slash_is_the_same_with_one_and_with_1000_delegators() public {
        crowd(1);
        (uint256 own, uint256 deep) = slashes();
        crowd(1000);
        (uint256 own1000, uint256 deep1000) = slashes();
        vm.assertEq(own1000, own, "within the own bond");
        vm.assertEq(deep1000, deep, "into the pool");
    }

    /// @notice A slash within the own bond, then one that reaches the pool, whose prover has never held a token.
    function slashes() internal returns (uint256 own, uint256 deep) {
        uint256 snapshot = vm.snapshotState();
        vm.prank(address(disputes));
        registry.slash(node, 5000e18, PROVER);
        own = vm.snapshotGasLastCall("bonds", "slash");
        vm.assertLe(own, 95_000, "slash");
        vm.revertToState(snapshot);
        snapshot = vm.snapshotState();
        vm.prank(address(disputes));
        registry.slash(node, 10_005e18, PROVER);
        deep = vm.snapshotGasLastCall("bonds", "slash into the pool");
        vm.assertLe(deep, 95_000, "slash into the pool");
        vm.revertToState(snapshot);
    }

    function test_gas_of_a_proof() public {
        Disputes.SegmentReceipt memory a;
        Disputes.SegmentReceipt memory b;
        (a.renditionRoot, b.renditionRoot) = (keccak256("a"), keccak256("b"));
        (a.assignmentHash, b.assignmentHash) = (keccak256("c"), keccak256("c"));
        bytes memory sigA = signed(KEY, disputes.receiptDigest(a));
        bytes memory sigB = signed(KEY, disputes.receiptDigest(b));
        vm.prank(PROVER);
        disputes.proveReceipts(a, sigA, b, sigB);
        record("prove two receipts", 160_000);
    }

    function test_gas_of_sampling() public {
        bytes32 second = keccak256("secret");
        bytes32 first = keccak256(abi.encode(second));
        vm.prank(node);
        sampling.commit(keccak256(abi.encode(first)));
        record("commit a chain of secrets", 80_000);
        uint40 epoch = uint40(START / 1 days);
        vm.warp((epoch + 3) * 1 days);
        vm.prank(node);
        sampling.reveal(epoch + 1, first);
        record("reveal a secret", 45_000);
        vm.prank(node);
        sampling.reveal(epoch + 2, second);
        record("reveal a secret", 45_000);
    }

    /// @notice A committee of seven out of a hundred checkers.
    function test_gas_of_a_dispute() public {
        for (uint256 i = 0; i < 100; ++i) {
            join(personAt(i), 4, 100e18);
            vm.prank(personAt(i));
            disputes.enlist();
        }
        vm.warp(START + 1);
        uint256 openerKey = 0x0E4;
        Disputes.Assignment memory a;
        Disputes.SegmentReceipt memory r;
        (a.payer, a.worker) = (vm.addr(openerKey), node);
        r.assignmentHash = disputes.assignmentDigest(a);
        bytes memory sigA = signed(openerKey, r.assignmentHash);
        bytes memory sigR = signed(KEY, disputes.receiptDigest(r));
        require(token.transfer(a.payer, 10e18));
        vm.prank(a.payer);
        token.approve(address(disputes), 10e18);
        vm.prank(a.payer);
        disputes.open(a, sigA, r, sigR, keccak256("evidence"), "https://evidence.example");
        record("open a dispute", 350_000);
        chainVm.roll(1005);
        chainVm.setBlockhash(1004, "a beacon");
        disputes.draw(1);
        record("draw a committee of 7", 400_000);
        bytes32 salt = "salt";
        Committee.Seat[] memory seats = disputes.committee(1);
        for (uint256 i = 0; i < 7; ++i) {
            bytes32 c = disputes.commitmentOf(1, seats[i].checker, Committee.Finding.Fail, salt);
            vm.prank(seats[i].checker);
            disputes.vote(1, c);
        }
        record("vote, last seat", 80_000);
        vm.warp(START + 1 + 12 hours);
        for (uint256 i = 0; i < 6; ++i) {
            vm.prank(seats[i].checker);
            disputes.reveal(1, Committee.Finding.Fail, salt);
        }
        record("reveal a finding, sixth seat", 60_000);
        vm.warp(START + 1 + 24 hours);
        disputes.settle(1);
        record("settle, with one fine", 350_000); // six of it are first payments of tokens
    }
}
