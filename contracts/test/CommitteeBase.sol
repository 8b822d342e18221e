// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Committee} from "../src/Committee.sol";
import {Disputes} from "../src/Disputes.sol";
import {StakeBase} from "./StakeBase.sol";

/// @notice An opener, a worker and twelve more checkers, and hands that open, draw, vote and settle.
abstract contract CommitteeBase is StakeBase {
    uint256 constant OPENER_KEY = 0x0E4;
    uint256 constant WORKER_KEY = 0x707;
    address opener = vm.addr(OPENER_KEY);
    address worker = vm.addr(WORKER_KEY);
    uint96 constant DEPOSIT = 10e18;
    uint96 constant FINE = 5e18;
    uint256 constant CHECKERS = 12;
    bytes32 constant SALT = "salt";
    uint256 opened = START + 1;

    function setUp() public virtual {
        deployAll();
        join(worker, 6, 10 * LEAST);
        join(opener, 5, LEAST);
        enlist(worker);
        enlist(opener);
        for (uint256 i = 0; i < CHECKERS; ++i) {
            join(checkerAt(i), 4, 2 * LEAST);
            enlist(checkerAt(i));
        }
        vm.warp(opened);
    }

    function checkerAt(uint256 i) internal pure returns (address) {
        return address(uint160(0xC00 + i));
    }

    function enlist(address who) internal {
        vm.prank(who);
        disputes.enlist();
    }

    function resign(address who) internal {
        vm.prank(who);
        disputes.resign();
    }

    function work() internal view returns (Disputes.Assignment memory a, Disputes.SegmentReceipt memory r) {
        (a.streamId, a.payer, a.worker) = ("a stream", opener, worker);
        r.assignmentHash = disputes.assignmentDigest(a);
    }

    function open() internal returns (uint256) {
        (Disputes.Assignment memory a, Disputes.SegmentReceipt memory r) = work();
        return open(a, r);
    }

    function open(Disputes.Assignment memory a, Disputes.SegmentReceipt memory r) internal returns (uint256) {
        bytes memory sigA = signed(OPENER_KEY, disputes.assignmentDigest(a));
        bytes memory sigR = signed(WORKER_KEY, disputes.receiptDigest(r));
        require(token.transfer(opener, DEPOSIT));
        vm.prank(opener);
        token.approve(address(disputes), DEPOSIT);
        vm.prank(opener);
        return disputes.open(a, sigA, r, sigR, "evidence", "https://evidence.example");
    }

    /// @notice Draws as soon as it can be done, with `seed` as the hash that decides.
    function draw(uint256 id, bytes32 seed) internal {
        uint256 drawBlock = disputes.dispute(id).openedIn + disputes.DRAW_DELAY();
        chainVm.roll(drawBlock + 1);
        // No block has the hash zero, which says that it is not known any more.
        chainVm.setBlockhash(drawBlock, seed == 0 ? bytes32("zero") : seed);
        disputes.draw(id);
    }

    /// @notice A dispute of its own for each number.
    function openNth(uint64 seq) internal returns (uint256) {
        (Disputes.Assignment memory a, Disputes.SegmentReceipt memory r) = work();
        a.seq = seq;
        r.assignmentHash = disputes.assignmentDigest(a);
        return open(a, r);
    }

    function opened7() internal returns (uint256 id) {
        id = open();
        draw(id, "a beacon");
    }

    function seat(uint256 id, uint256 i) internal view returns (address) {
        return disputes.committee(id)[i].checker;
    }

    /// @notice Each seat votes and reveals one finding; None stays away.
    function findings(uint256 id, uint8[7] memory found) internal {
        for (uint256 i = 0; i < 7; ++i) {
            if (found[i] == 0) continue;
            address who = seat(id, i);
            bytes32 c = disputes.commitmentOf(id, who, Committee.Finding(found[i]), SALT);
            vm.prank(who);
            disputes.vote(id, c);
        }
        vm.warp(opened + 12 hours);
        for (uint256 i = 0; i < 7; ++i) {
            if (found[i] == 0) continue;
            vm.prank(seat(id, i));
            disputes.reveal(id, Committee.Finding(found[i]), SALT);
        }
        vm.warp(opened + 24 hours);
    }

    function bondOf(address who) internal view returns (uint256) {
        return registry.node(who).bond;
    }

    function settle(uint256 id) internal {
        vm.prank(PROVER);
        disputes.settle(id);
        vm.assertEq(token.balanceOf(address(disputes)), 0, "nothing of the deposit stays");
    }

    function status(uint256 id) internal view returns (uint256) {
        return uint256(disputes.dispute(id).status);
    }
}
