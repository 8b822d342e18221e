// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {TicketBroker} from "../src/TicketBroker.sol";

/// @notice The cheat codes that these tests use, of the many that forge has.
interface Vm {
    function addr(uint256 privateKey) external pure returns (address);
    function assume(bool condition) external pure;
    function chainId(uint256 id) external;
    function deal(address who, uint256 balance) external;
    function expectRevert(bytes calldata reason) external;
    function prank(address sender) external;
    function sign(uint256 privateKey, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function warp(uint256 timestamp) external;
    function assertEq(uint256 a, uint256 b, string calldata reason) external pure;
    function assertEq(address a, address b, string calldata reason) external pure;
    function assertEq(bytes32 a, bytes32 b, string calldata reason) external pure;
    function assertLe(uint256 a, uint256 b, string calldata reason) external pure;
    function assertTrue(bool a, string calldata reason) external pure;
}

/// @notice What every test of the broker needs: a clock, keys, and a hand that signs tickets.
abstract contract Base {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    /// @notice Order of secp256k1: private keys and s live below it.
    uint256 internal constant ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
    uint256 internal constant START = 1_800_000_000;
    uint64 internal constant ALWAYS = type(uint64).max;
    uint96 internal constant FACE = 0.001 ether;

    TicketBroker internal broker;

    function bound(uint256 x, uint256 low, uint256 high) internal pure returns (uint256) {
        return low + x % (high - low + 1);
    }

    function nonceAt(uint256 time, uint256 counter) internal pure returns (uint64) {
        return uint64(time << 24 | counter);
    }

    /// @notice A ticket that wins but for one draw in 2^64, with all of its random words derived from its nonce.
    function winning(address payer, address payee, uint64 nonce)
        internal
        view
        returns (TicketBroker.Ticket memory ticket, bytes32 payeeRand)
    {
        payeeRand = keccak256(abi.encode("payee", payer, payee, nonce));
        ticket = TicketBroker.Ticket({
            payer: payer,
            payee: payee,
            faceValue: FACE,
            winProb: ALWAYS,
            nonce: nonce,
            expiry: uint40(block.timestamp + 24 hours),
            payeeCommit: keccak256(abi.encode(payeeRand)),
            payerRand: keccak256(abi.encode("payer", nonce)),
            workHash: keccak256(abi.encode("work", nonce))
        });
    }

    function seal(uint256 key, TicketBroker.Ticket memory ticket, bytes32 payeeRand)
        internal
        view
        returns (TicketBroker.Winner memory)
    {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, broker.digest(ticket));
        return TicketBroker.Winner({
            faceValue: ticket.faceValue,
            winProb: ticket.winProb,
            nonce: ticket.nonce,
            expiry: ticket.expiry,
            payeeRand: payeeRand,
            payerRand: ticket.payerRand,
            workHash: ticket.workHash,
            r: r,
            vs: bytes32(uint256(s) | uint256(v - 27) << 255)
        });
    }

    function winner(uint256 key, address payee, uint64 nonce) internal view returns (TicketBroker.Winner memory) {
        (TicketBroker.Ticket memory ticket, bytes32 payeeRand) = winning(vm.addr(key), payee, nonce);
        return seal(key, ticket, payeeRand);
    }

    function batchOf(address payer, address payee, TicketBroker.Winner[] memory winners)
        internal
        pure
        returns (TicketBroker.Batch[] memory batches)
    {
        batches = new TicketBroker.Batch[](1);
        batches[0] = TicketBroker.Batch(payer, payee, winners);
    }
}
