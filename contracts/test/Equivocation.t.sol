// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {Disputes} from "../src/Disputes.sol";
import {TicketBroker} from "../src/TicketBroker.sol";
import {StakeBase} from "./StakeBase.sol";

/// @notice Two signatures that contradict each other, and the pairs that do not.
contract EquivocationTest is StakeBase {
    uint256 constant KEY = 0x70DE;
    uint256 constant OTHER_KEY = 0x70DF;
    address node = vm.addr(KEY);

    function setUp() public {
        deployAll();
        join(node, 3, 2 * LEAST);
        join(vm.addr(OTHER_KEY), 3, 2 * LEAST);
    }

    function receipt(bytes32 root) internal pure returns (Disputes.SegmentReceipt memory r) {
        r = Disputes.SegmentReceipt(keccak256("an assignment"), root, 0, 1_000_000, 60, 180_000, uint40(START));
    }

    function assignment(bytes32 source) internal view returns (Disputes.Assignment memory a) {
        a.streamId = keccak256("a stream");
        (a.seq, a.attempt, a.sourceHash, a.price) = (7, 1, source, 1 gwei);
        (a.payer, a.worker) = (node, address(0x707));
    }

    function prove(Disputes.SegmentReceipt memory a, uint256 keyA, Disputes.SegmentReceipt memory b, uint256 keyB)
        internal
    {
        bytes memory sigA = signed(keyA, disputes.receiptDigest(a));
        bytes memory sigB = signed(keyB, disputes.receiptDigest(b));
        call(abi.encodeCall(Disputes.proveReceipts, (a, sigA, b, sigB)));
    }

    function proveA(Disputes.Assignment memory a, uint256 keyA, Disputes.Assignment memory b, uint256 keyB) internal {
        bytes memory sigA = signed(keyA, disputes.assignmentDigest(a));
        bytes memory sigB = signed(keyB, disputes.assignmentDigest(b));
        call(abi.encodeCall(Disputes.proveAssignments, (a, sigA, b, sigB)));
    }

    bytes private expected;

    /// @notice The next proof is refused with this reason: digests are asked for before it, so a plain cheat code would come too early.
    function refuse(bytes memory reason) internal {
        expected = reason;
    }

    function call(bytes memory data) internal {
        vm.prank(PROVER);
        (bool done, bytes memory reason) = address(disputes).call(data);
        if (expected.length == 0) {
            vm.assertTrue(done, "proved");
        } else {
            vm.assertTrue(!done, "a proof of nothing");
            vm.assertEq(keccak256(reason), keccak256(expected), "reason");
        }
        delete expected;
    }

    function test_two_receipts_for_one_assignment_cost_half_of_all_that_is_the_workers_own() public {
        vm.prank(node);
        registry.startUnbond(LEAST);
        prove(receipt("a"), KEY, receipt("b"), KEY);
        vm.assertEq(registry.node(node).bond, 0, "bond");
        vm.assertEq(registry.node(node).unbonding, LEAST, "unbonding");
        vm.assertEq(token.balanceOf(PROVER), LEAST * 3 / 10, "prover");
    }

    function testFuzz_receipts_that_differ_in_any_field_contradict_each_other(uint8 field) public {
        Disputes.SegmentReceipt memory b = receipt("a");
        field = uint8(bound(field, 0, 5));
        if (field == 0) b.renditionRoot = "b";
        if (field == 1) b.hashRoot = "b";
        if (field == 2) ++b.pixels;
        if (field == 3) ++b.frames;
        if (field == 4) ++b.duration;
        if (field == 5) ++b.time;
        prove(receipt("a"), KEY, b, KEY);
    }

    function test_the_same_receipt_twice_proves_nothing() public {
        bytes32 hash = keccak256(
            abi.encode(
                keccak256(
                    "SegmentReceipt(bytes32 assignmentHash,bytes32 renditionRoot,bytes32 hashRoot,uint64 pixels,uint32 frames,uint64 duration,uint40 time)"
                ),
                receipt("a")
            )
        );
        refuse(abi.encodeWithSelector(Disputes.SameContent.selector, hash));
        prove(receipt("a"), KEY, receipt("a"), KEY);
    }

    function test_receipts_of_two_keys_prove_nothing() public {
        refuse(abi.encodeWithSelector(Disputes.DifferentSigner.selector, node, vm.addr(OTHER_KEY)));
        prove(receipt("a"), KEY, receipt("b"), OTHER_KEY);
    }

    function test_receipts_for_two_assignments_prove_nothing() public {
        Disputes.SegmentReceipt memory b = receipt("b");
        b.assignmentHash = "another";
        refuse(
            abi.encodeWithSelector(Disputes.DifferentSubject.selector, receipt("a").assignmentHash, bytes32("another"))
        );
        prove(receipt("a"), KEY, b, KEY);
    }

    /// @notice Recovered from the wrong digest, one signature gives a key that nobody holds.
    function testFuzz_one_signature_proves_nothing(bytes32 a, bytes32 b) public {
        vm.assume(a != b);
        bytes memory sig = signed(KEY, disputes.receiptDigest(receipt(a)));
        vm.prank(PROVER);
        (bool done,) =
            address(disputes).call(abi.encodeCall(Disputes.proveReceipts, (receipt(a), sig, receipt(b), sig)));
        vm.assertTrue(!done, "proved by one signature");
        vm.assertEq(registry.node(node).bond, 2 * LEAST, "bond");
    }

    function test_a_signature_is_65_bytes_with_a_low_s() public {
        Disputes.SegmentReceipt memory a = receipt("a");
        Disputes.SegmentReceipt memory b = receipt("b");
        bytes memory sigB = signed(KEY, disputes.receiptDigest(b));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(KEY, disputes.receiptDigest(a));
        bytes32 high = bytes32(ORDER - uint256(s));
        refuse(abi.encodeWithSelector(ECDSA.ECDSAInvalidSignatureS.selector, high));
        call(abi.encodeCall(Disputes.proveReceipts, (a, abi.encodePacked(r, high, 55 - v), b, sigB)));
        bytes memory compact = abi.encodePacked(r, bytes32(uint256(s) | uint256(v - 27) << 255));
        refuse(abi.encodeWithSelector(ECDSA.ECDSAInvalidSignatureLength.selector, 64));
        call(abi.encodeCall(Disputes.proveReceipts, (a, compact, b, sigB)));
    }

    function test_an_equivocation_is_slashed_once_whatever_the_pair() public {
        prove(receipt("a"), KEY, receipt("b"), KEY);
        bytes memory again = abi.encodeWithSelector(Disputes.AlreadyProven.selector, node, receipt("a").assignmentHash);
        refuse(again);
        prove(receipt("b"), KEY, receipt("a"), KEY);
        refuse(again);
        prove(receipt("a"), KEY, receipt("c"), KEY);
    }

    function test_a_proof_against_who_has_no_bond_stays_good_for_later() public {
        uint256 key = 0x57A6;
        refuse(abi.encodeWithSelector(Disputes.NothingToSlash.selector, vm.addr(key)));
        prove(receipt("a"), key, receipt("b"), key);
        join(vm.addr(key), 1, LEAST);
        prove(receipt("a"), key, receipt("b"), key);
        vm.assertEq(registry.node(vm.addr(key)).bond, LEAST / 2, "bond");
    }

    function test_a_proof_is_not_used_up_on_dust() public {
        uint256 key = 0x57A6;
        address liar = vm.addr(key);
        give(liar, LEAST);
        vm.prank(liar);
        registry.addBond(LEAST - 1);
        refuse(abi.encodeWithSelector(Disputes.NothingToSlash.selector, liar));
        prove(receipt("a"), key, receipt("b"), key);
        join(liar, 2, LEAST);
        prove(receipt("a"), key, receipt("b"), key);
        vm.assertEq(registry.ownStake(liar), LEAST, "half of all");
    }

    function test_two_assignments_for_one_try_are_slashed() public {
        proveA(assignment("a"), KEY, assignment("b"), KEY);
        vm.assertEq(registry.node(node).bond, LEAST, "bond");
        refuse(
            abi.encodeWithSelector(
                Disputes.AlreadyProven.selector,
                node,
                keccak256(abi.encode(keccak256("a stream"), uint64(7), uint32(1)))
            )
        );
        proveA(assignment("c"), KEY, assignment("b"), KEY);
    }

    function testFuzz_assignments_for_another_try_segment_or_stream_prove_nothing(uint8 field) public {
        Disputes.Assignment memory b = assignment("b");
        field = uint8(bound(field, 0, 2));
        if (field == 0) ++b.attempt;
        if (field == 1) ++b.seq;
        if (field == 2) b.streamId = "another";
        refuse(
            abi.encodeWithSelector(
                Disputes.DifferentSubject.selector,
                keccak256(abi.encode(keccak256("a stream"), uint64(7), uint32(1))),
                keccak256(abi.encode(b.streamId, b.seq, b.attempt))
            )
        );
        proveA(assignment("a"), KEY, b, KEY);
    }

    function test_assignments_of_two_keys_prove_nothing() public {
        refuse(abi.encodeWithSelector(Disputes.DifferentSigner.selector, node, vm.addr(OTHER_KEY)));
        proveA(assignment("a"), KEY, assignment("b"), OTHER_KEY);
    }

    function proveV(bool pass, bytes32 receiptHash, uint256 ticketKey, uint40 expiry) internal {
        Disputes.Verdict memory v = Disputes.Verdict(receiptHash, pass, 3);
        (TicketBroker.Ticket memory t,) = winning(node, address(0x707), nonceAt(START, 0));
        t.expiry = expiry;
        bytes memory sig = signed(KEY, disputes.verdictDigest(v));
        bytes memory ticketSig = signed(ticketKey, broker.digest(t));
        call(abi.encodeCall(Disputes.proveVerdict, (v, sig, t, ticketSig)));
    }

    bytes32 immutable WORK = keccak256(abi.encode("work", nonceAt(START, 0)));

    function test_who_fails_a_receipt_and_pays_it_is_slashed() public {
        proveV(false, WORK, KEY, uint40(START));
        vm.assertEq(registry.node(node).bond, LEAST, "bond");
        refuse(abi.encodeWithSelector(Disputes.AlreadyProven.selector, node, WORK));
        proveV(false, WORK, KEY, uint40(START + 1));
    }

    function test_a_pass_or_a_fail_of_another_receipt_contradicts_no_ticket() public {
        refuse(abi.encodeWithSelector(Disputes.NotAFail.selector, WORK));
        proveV(true, WORK, KEY, uint40(START));
        refuse(abi.encodeWithSelector(Disputes.DifferentSubject.selector, bytes32("another"), WORK));
        proveV(false, "another", KEY, uint40(START));
    }

    function test_a_ticket_by_a_live_session_key_counts_as_its_payers() public {
        uint256 session = 0x5E55;
        refuse(abi.encodeWithSelector(Disputes.WrongSigner.selector, vm.addr(session), node));
        proveV(false, WORK, session, uint40(START));
        vm.prank(node);
        broker.setSessionKey(vm.addr(session), uint40(START + 1 days), 1 ether);
        refuse(abi.encodeWithSelector(Disputes.WrongSigner.selector, vm.addr(session), node));
        proveV(false, WORK, session, uint40(START + 1 days + 1));
        proveV(false, WORK, session, uint40(START + 1 days));
    }

    function test_a_session_key_proves_something_for_a_week_after_its_end() public {
        uint256 session = 0x5E55;
        vm.prank(node);
        broker.setSessionKey(vm.addr(session), uint40(START + 1 days), 1);
        vm.warp(START + 1 days + 7 days + 1);
        refuse(abi.encodeWithSelector(Disputes.WrongSigner.selector, vm.addr(session), node));
        proveV(false, WORK, session, uint40(START + 1));
        vm.warp(START + 1 days + 7 days);
        proveV(false, WORK, session, uint40(START + 1));
    }

    /// @notice No broker would take it, since it has expired; nor may it count here as by a key that never ends.
    function test_a_ticket_without_an_expiry_by_a_key_that_is_nobodys_proves_nothing() public {
        refuse(abi.encodeWithSelector(Disputes.WrongSigner.selector, vm.addr(0xBAD), node));
        proveV(false, WORK, 0xBAD, 0);
    }

    function test_a_ticket_in_the_name_of_another_payer_proves_nothing() public {
        Disputes.Verdict memory v = Disputes.Verdict(WORK, false, 3);
        (TicketBroker.Ticket memory t,) = winning(vm.addr(OTHER_KEY), address(0x707), nonceAt(START, 0));
        bytes memory sig = signed(KEY, disputes.verdictDigest(v));
        bytes memory ticketSig = signed(KEY, broker.digest(t));
        refuse(abi.encodeWithSelector(Disputes.DifferentSigner.selector, node, vm.addr(OTHER_KEY)));
        call(abi.encodeCall(Disputes.proveVerdict, (v, sig, t, ticketSig)));
    }

    function test_P10_what_was_signed_for_another_chain_proves_nothing() public {
        vm.chainId(1);
        bytes memory sigA = signed(KEY, disputes.receiptDigest(receipt("a")));
        bytes memory sigB = signed(KEY, disputes.receiptDigest(receipt("b")));
        vm.chainId(31337);
        vm.prank(PROVER);
        (bool done,) =
            address(disputes).call(abi.encodeCall(Disputes.proveReceipts, (receipt("a"), sigA, receipt("b"), sigB)));
        vm.assertTrue(!done, "proved");
    }

    function test_P10_nodes_sign_in_the_domain_of_the_broker() public view {
        (, string memory name, string memory version, uint256 chain, address verifier,,) = broker.eip712Domain();
        bytes32 kind = keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
        bytes32 domain = keccak256(abi.encode(kind, keccak256(bytes(name)), keccak256(bytes(version)), chain, verifier));
        vm.assertEq(disputes.domainSeparator(), domain, "domain");
    }
}
