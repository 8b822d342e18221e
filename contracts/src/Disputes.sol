// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {Committee} from "./Committee.sol";
import {EQUIVOCATION_BPS, IParameters, MIN_BOND} from "./IParameters.sol";
import {Registry} from "./Registry.sol";
import {TicketBroker} from "./TicketBroker.sol";

/// @title Disputes: what a node is slashed for
/// @notice Two signatures of one key that contradict each other prove themselves: whoever brings them has the signer slashed at once.
/// That renditions do not look like their source is found by a committee (see Committee), which re-executes a pinned checker. Never is
/// anybody slashed for being late or slow. What is signed here is signed in the domain of the ticket broker, as everything that nodes sign.
contract Disputes is Committee {
    /// @notice One segment given to one worker, signed by the assigner.
    /// @param streamId the stream
    /// @param seq the segment's number in it
    /// @param attempt the number of this try
    /// @param sourceHash keccak256 of the source's init and parts
    /// @param profileHash hash of the ladder asked for
    /// @param price wei
    /// @param deadline unix seconds
    /// @param payer the assigner
    /// @param worker who is paid
    /// @param sampleCommit commitment to the verifier's sampling secret of the epoch
    struct Assignment {
        bytes32 streamId;
        uint64 seq;
        uint32 attempt;
        bytes32 sourceHash;
        bytes32 profileHash;
        uint256 price;
        uint40 deadline;
        address payer;
        address worker;
        bytes32 sampleCommit;
    }

    /// @notice What a worker made of one assignment, signed by the worker.
    /// @param assignmentHash EIP-712 digest of the assignment
    /// @param renditionRoot Merkle root over the renditions' facts
    /// @param hashRoot commitment to every part
    /// @param pixels encoded, over all renditions
    /// @param frames encoded, over all renditions
    /// @param duration in ticks of 1/90000 s
    /// @param time unix seconds
    struct SegmentReceipt {
        bytes32 assignmentHash;
        bytes32 renditionRoot;
        bytes32 hashRoot;
        uint64 pixels;
        uint32 frames;
        uint64 duration;
        uint40 time;
    }

    /// @notice A verifier's finding on one receipt.
    /// @param receiptHash EIP-712 digest of the receipt
    /// @param pass whether the renditions are what was asked for
    /// @param code the fault, when they are not
    struct Verdict {
        bytes32 receiptHash;
        bool pass;
        uint16 code;
    }

    /// @notice What contradicts itself.
    enum Equivocation {
        Receipts,
        Assignments,
        Verdict
    }

    /// @notice Seconds after the end of a session key in which a ticket that it signed still proves something against its payer: as long
    /// as a bond takes to leave. A payer must keep a key safe that long; a key that is found years later must not cost it anything.
    uint40 public constant SESSION_KEY_PROOF = 7 days;

    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant ASSIGNMENT_TYPEHASH = keccak256(
        "Assignment(bytes32 streamId,uint64 seq,uint32 attempt,bytes32 sourceHash,bytes32 profileHash,uint256 price,uint40 deadline,address payer,address worker,bytes32 sampleCommit)"
    );
    bytes32 private constant RECEIPT_TYPEHASH = keccak256(
        "SegmentReceipt(bytes32 assignmentHash,bytes32 renditionRoot,bytes32 hashRoot,uint64 pixels,uint32 frames,uint64 duration,uint40 time)"
    );
    bytes32 private constant VERDICT_TYPEHASH = keccak256("Verdict(bytes32 receiptHash,bool pass,uint16 code)");

    /// @notice The ticket broker: its address is in the domain of all signatures, and it knows the session keys.
    TicketBroker public immutable broker;

    /// @notice Equivocations that were slashed, by keccak256(kind, signer, subject): each is punished once.
    mapping(bytes32 key => bool) public proven;

    /// @notice A signer was slashed for contradicting itself.
    /// @param signer whose key it was
    /// @param kind what contradicts itself
    /// @param subject what the two signatures are about: the assignment's digest, the keccak256 of (streamId, seq, attempt), or the
    /// receipt's digest
    /// @param prover who brought the proof
    /// @param taken tokens
    event EquivocationProven(
        address indexed signer, Equivocation indexed kind, bytes32 subject, address indexed prover, uint96 taken
    );

    /// @notice The two are about different things, so they do not contradict each other.
    error DifferentSubject(bytes32 a, bytes32 b);
    /// @notice The two say the same: one statement, signed once or twice.
    error SameContent(bytes32 structHash);
    /// @notice The two were signed by different keys.
    error DifferentSigner(address a, address b);
    /// @notice The verdict is a pass, which no ticket contradicts.
    error NotAFail(bytes32 receiptHash);
    /// @notice This equivocation was slashed already.
    error AlreadyProven(address signer, bytes32 subject);
    /// @notice The signer is not registered, and has less than the least bond: nothing worth a proof that can be used once.
    error NothingToSlash(address signer);
    /// @notice Neither the one who must have signed, nor a session key of it.
    error WrongSigner(address recovered, address expected);
    /// @notice Only the assigner of the work opens a dispute about it.
    error NotAssigner(address sender, address assigner);

    /// @param parameters_ where governed values are read
    /// @param registry_ where bonds are; it must know this contract as one that may slash
    /// @param broker_ in whose domain nodes sign
    /// @param checker_ hash of the checker's program, to begin with
    constructor(IParameters parameters_, Registry registry_, TicketBroker broker_, bytes32 checker_)
        Committee(parameters_, registry_, checker_)
    {
        broker = broker_;
    }

    /// @notice The domain separator of everything that nodes sign.
    function domainSeparator() public view returns (bytes32) {
        return
            keccak256(
                abi.encode(DOMAIN_TYPEHASH, keccak256("Millrace"), keccak256("1"), block.chainid, address(broker))
            );
    }

    /// @notice EIP-712 digest of an assignment.
    function assignmentDigest(Assignment calldata a) public view returns (bytes32) {
        return _digest(_hash(a));
    }

    /// @notice EIP-712 digest of a receipt.
    function receiptDigest(SegmentReceipt calldata r) public view returns (bytes32) {
        return _digest(_hash(r));
    }

    /// @notice EIP-712 digest of a verdict.
    function verdictDigest(Verdict calldata v) public view returns (bytes32) {
        return _digest(_hash(v));
    }

    /// @notice Proves that a worker signed two different receipts for one assignment.
    function proveReceipts(
        SegmentReceipt calldata a,
        bytes calldata sigA,
        SegmentReceipt calldata b,
        bytes calldata sigB
    ) external {
        if (a.assignmentHash != b.assignmentHash) {
            revert DifferentSubject(a.assignmentHash, b.assignmentHash);
        }
        address signer = _contradiction(_hash(a), sigA, _hash(b), sigB);
        _punish(Equivocation.Receipts, signer, a.assignmentHash);
    }

    /// @notice Proves that an assigner signed two different assignments for one try at one segment.
    function proveAssignments(Assignment calldata a, bytes calldata sigA, Assignment calldata b, bytes calldata sigB)
        external
    {
        (bytes32 subject, bytes32 other) = (_try(a), _try(b));
        if (subject != other) revert DifferentSubject(subject, other);
        address signer = _contradiction(_hash(a), sigA, _hash(b), sigB);
        _punish(Equivocation.Assignments, signer, subject);
    }

    /// @notice Proves that a verifier failed a receipt and paid it: the ticket is signed by the same key, or by a session key of it that
    /// could sign this ticket and ended no longer than SESSION_KEY_PROOF ago.
    function proveVerdict(
        Verdict calldata verdict,
        bytes calldata sig,
        TicketBroker.Ticket calldata ticket,
        bytes calldata ticketSig
    ) external {
        if (verdict.pass) revert NotAFail(verdict.receiptHash);
        if (verdict.receiptHash != ticket.workHash) revert DifferentSubject(verdict.receiptHash, ticket.workHash);
        address signer = _recover(verdictDigest(verdict), sig);
        if (signer != ticket.payer) revert DifferentSigner(signer, ticket.payer);
        address payer = _recover(broker.digest(ticket), ticketSig);
        if (payer != signer) {
            // The cap bounds what a key pays, not what it has signed.
            // slither-disable-next-line unused-return
            (uint40 expiry,) = broker.sessionKey(signer, payer);
            // An expiry of 0 says that there is no such key: without the first test, a ticket that expires at 0 would pass by any key.
            bool known = expiry != 0 && ticket.expiry <= expiry;
            if (!known || block.timestamp > expiry + SESSION_KEY_PROOF) revert WrongSigner(payer, signer);
        }
        _punish(Equivocation.Verdict, signer, verdict.receiptHash);
    }

    /// @notice Opens a dispute about what a worker made: the sender assigned it, and puts the dispute deposit down, which it gets back if
    /// the committee finds a failure.
    /// @param a the assignment, signed by the sender
    /// @param sigA its signature
    /// @param r the receipt, signed by the worker
    /// @param sigR its signature
    /// @param evidence keccak256 of what the committee has to look at, source and renditions
    /// @param uri where that is
    /// @return id the dispute's number, from 1
    function open(
        Assignment calldata a,
        bytes calldata sigA,
        SegmentReceipt calldata r,
        bytes calldata sigR,
        bytes32 evidence,
        string calldata uri
    ) external returns (uint256 id) {
        if (msg.sender != a.payer) revert NotAssigner(msg.sender, a.payer);
        bytes32 assignment = assignmentDigest(a);
        if (r.assignmentHash != assignment) revert DifferentSubject(assignment, r.assignmentHash);
        bytes32 receipt = receiptDigest(r);
        address signer = _recover(assignment, sigA);
        if (signer != a.payer) revert WrongSigner(signer, a.payer);
        signer = _recover(receipt, sigR);
        if (signer != a.worker) revert WrongSigner(signer, a.worker);
        return _open(a.worker, receipt, evidence, uri);
    }

    /// @dev The key that signed both of two different structs.
    function _contradiction(bytes32 a, bytes calldata sigA, bytes32 b, bytes calldata sigB)
        private
        view
        returns (address signer)
    {
        if (a == b) revert SameContent(a);
        signer = _recover(_digest(a), sigA);
        address other = _recover(_digest(b), sigB);
        if (signer != other) revert DifferentSigner(signer, other);
    }

    /// @dev Slashes a part of all that is the signer's own. With nothing there, or dust, the proof stays good for later: else a signer
    /// could have itself slashed by one unit of the token before it puts its bond down, and use up what it is going to contradict.
    function _punish(Equivocation kind, address signer, bytes32 subject) private {
        bytes32 key = keccak256(abi.encode(kind, signer, subject));
        if (proven[key]) revert AlreadyProven(signer, subject);
        proven[key] = true;
        if (registry.rolesOf(signer) == 0 && registry.ownStake(signer) < parameters.get(MIN_BOND)) {
            revert NothingToSlash(signer);
        }
        uint96 taken = _slashOwn(signer, parameters.get(EQUIVOCATION_BPS), msg.sender);
        // The registry calls nobody but the token, and the proof is used up.
        // slither-disable-next-line reentrancy-events
        emit EquivocationProven(signer, kind, subject, msg.sender, taken);
    }

    /// @dev 65 bytes r, s, v with a low s; anything else reverts with an error of ECDSA's.
    function _recover(bytes32 digest, bytes calldata signature) private pure returns (address) {
        return ECDSA.recoverCalldata(digest, signature);
    }

    function _digest(bytes32 structHash) private view returns (bytes32) {
        return MessageHashUtils.toTypedDataHash(domainSeparator(), structHash);
    }

    function _try(Assignment calldata a) private pure returns (bytes32) {
        return keccak256(abi.encode(a.streamId, a.seq, a.attempt));
    }

    function _hash(Assignment calldata a) private pure returns (bytes32) {
        return keccak256(abi.encode(ASSIGNMENT_TYPEHASH, a));
    }

    function _hash(SegmentReceipt calldata r) private pure returns (bytes32) {
        return keccak256(abi.encode(RECEIPT_TYPEHASH, r));
    }

    function _hash(Verdict calldata v) private pure returns (bytes32) {
        return keccak256(abi.encode(VERDICT_TYPEHASH, v));
    }
}
