// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";

/// @title TicketBroker: probabilistic micropayments out of locks that belong to one payee each
/// @notice A payer locks wei for one payee and signs tickets off chain; a winning ticket pays its face value out of that lock. A lock is
/// exclusive: nothing that the payer does with other payees, and no third party, can make it smaller, and the payer itself takes back
/// only what it announced UNLOCK_DELAY before. What is not here: shared deposits, rounds, block hashes, an owner, a pause.
contract TicketBroker is EIP712 {
    /// @notice Seconds from an unlock request to the withdrawal: three times a ticket's life of 24 h, so that a payee that was away for
    /// two days still redeems all it holds.
    uint40 public constant UNLOCK_DELAY = 72 hours;

    /// @notice Seconds that a ticket's issue time may lie ahead of the chain's clock.
    uint64 public constant MAX_CLOCK_SKEW = 60;

    /// @notice What the payer signs (EIP-712).
    /// @param winProb chance to win, in units of 2^-64
    /// @param nonce issue time in unix seconds << 24 | counter: rises strictly within a pair
    /// @param expiry last unix second at which the ticket can be redeemed
    /// @param payeeCommit keccak256(payeeRand): the payee's half of the draw, committed before payerRand was chosen
    /// @param workHash what the ticket pays for. It stays out of the draw: the payee makes the work and would grind it.
    struct Ticket {
        address payer;
        address payee;
        uint96 faceValue;
        uint64 winProb;
        uint64 nonce;
        uint40 expiry;
        bytes32 payeeCommit;
        bytes32 payerRand;
        bytes32 workHash;
    }

    /// @notice A ticket as it is redeemed: without what its batch says once and what payeeRand gives. The signature is r and
    /// yParity << 255 | s (EIP-2098): only low s fits, so there is one encoding, and half of calldata's padding is saved.
    struct Winner {
        uint96 faceValue;
        uint64 winProb;
        uint64 nonce;
        uint40 expiry;
        bytes32 payeeRand;
        bytes32 payerRand;
        bytes32 workHash;
        bytes32 r;
        bytes32 vs;
    }

    /// @notice Winners of one pair, in the order of their nonces.
    struct Batch {
        address payer;
        address payee;
        Winner[] winners;
    }

    /// @param locked wei that only the payee's winners can take until an unlock is through
    /// @param lastNonce nonce of the last ticket redeemed
    /// @param pendingUnlock wei that the payer may withdraw from unlockAt on; they still pay winners until then
    /// @param unlockAt unix seconds; 0 when no unlock is pending
    struct Pair {
        uint96 locked;
        uint64 lastNonce;
        uint96 pendingUnlock;
        uint40 unlockAt;
    }

    /// @dev What is hashed for a winner, with the words that are the same for its whole batch already in place.
    /// @param domain the EIP-712 domain separator
    /// @param draw payer, payee, nonce, payeeRand, payerRand
    /// @param ticket the type hash, then the fields of Ticket
    struct Forms {
        bytes32 domain;
        bytes32[5] draw;
        bytes32[10] ticket;
    }

    bytes32 private constant TICKET_TYPEHASH = keccak256(
        "Ticket(address payer,address payee,uint96 faceValue,uint64 winProb,uint64 nonce,uint40 expiry,bytes32 payeeCommit,bytes32 payerRand,bytes32 workHash)"
    );

    event Funded(address indexed payer, address indexed payee, uint256 amount, uint256 locked);
    event UnlockRequested(address indexed payer, address indexed payee, uint96 amount, uint40 unlockAt);
    event UnlockCancelled(address indexed payer, address indexed payee);
    event Withdrawn(address indexed payer, address indexed payee, uint256 amount);
    /// @dev One for all tickets of a pair in a transaction; each ticket is in the transaction's input.
    event Redeemed(address indexed payer, address indexed payee, uint256 amount, uint256 tickets, uint64 lastNonce);
    event CarrierSet(address indexed payee, address indexed carrier, bool allowed);

    error NotCarrier(address sender, address payee);
    error Expired(uint64 nonce, uint40 expiry);
    error NonceNotRising(uint64 nonce, uint64 lastNonce);
    error NonceInFuture(uint64 nonce);
    error NotAWinner(uint64 nonce);
    error WrongSigner(uint64 nonce, address recovered, address payer);
    error LockTooSmall(uint64 nonce, uint256 locked, uint256 faceValue);
    error LockTooLarge(uint256 locked);
    error NoValue();
    error NoUnlock();
    error StillLocked(uint40 unlockAt);
    error TransferFailed(address to);

    mapping(address payer => mapping(address payee => Pair)) private pairs;

    /// @notice Who may carry a payee's winners to the chain in its stead; the money goes to the payee in any case.
    /// @dev Not anyone: a payer knows the draw of a ticket whose commit it made up itself. It could carry such a ticket with a late
    /// nonce and a face value of one wei, and so void every earlier winner that the payee still holds.
    mapping(address payee => mapping(address carrier => bool)) public isCarrier;

    constructor() EIP712("Millrace", "1") {}

    /// @notice The state between a payer and a payee.
    function pair(address payer, address payee) external view returns (Pair memory) {
        return pairs[payer][payee];
    }

    /// @notice The EIP-712 digest that the payer signs.
    function digest(Ticket calldata ticket) external view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(TICKET_TYPEHASH, ticket)));
    }

    /// @notice Locks the value sent for one payee.
    function fund(address payee) external payable {
        _fund(msg.sender, payee);
    }

    /// @notice Adds the value sent to another's lock. It adds only: timers and pending unlocks stay as they are.
    function fundFor(address payer, address payee) external payable {
        _fund(payer, payee);
    }

    /// @notice Announces that `amount` wei will be taken out. A second request replaces the first, and its delay starts anew.
    function requestUnlock(address payee, uint96 amount) external {
        Pair storage p = pairs[msg.sender][payee];
        if (amount == 0) revert NoValue();
        if (amount > p.locked) revert LockTooSmall(0, p.locked, amount);
        p.pendingUnlock = amount;
        p.unlockAt = uint40(block.timestamp) + UNLOCK_DELAY;
        emit UnlockRequested(msg.sender, payee, amount, p.unlockAt);
    }

    /// @notice Takes an announcement back.
    function cancelUnlock(address payee) external {
        Pair storage p = pairs[msg.sender][payee];
        if (p.unlockAt == 0) revert NoUnlock();
        p.pendingUnlock = 0;
        p.unlockAt = 0;
        emit UnlockCancelled(msg.sender, payee);
    }

    /// @notice Pays the payer what it announced and what winners have left of it, once the delay is over.
    function withdraw(address payee) external {
        Pair storage p = pairs[msg.sender][payee];
        if (p.unlockAt == 0) revert NoUnlock();
        if (block.timestamp < p.unlockAt) revert StillLocked(p.unlockAt);
        uint96 amount = p.pendingUnlock < p.locked ? p.pendingUnlock : p.locked;
        p.locked -= amount;
        p.pendingUnlock = 0;
        p.unlockAt = 0;
        emit Withdrawn(msg.sender, payee, amount);
        _pay(msg.sender, amount);
    }

    /// @notice Lets `carrier` redeem for the sender, or no longer.
    function setCarrier(address carrier, bool allowed) external {
        isCarrier[msg.sender][carrier] = allowed;
        emit CarrierSet(msg.sender, carrier, allowed);
    }

    /// @notice Redeems one winner.
    function redeem(address payer, address payee, Winner calldata winner) external {
        (Pair storage p, Forms memory forms) = _enter(payer, payee);
        uint256 locked = _check(forms, winner, p.locked, p.lastNonce);
        _settle(p, payer, payee, locked, 1, winner.nonce);
    }

    /// @notice Redeems batches of winners: all of them or none.
    function redeemBatch(Batch[] calldata batches) external {
        for (uint256 i = 0; i < batches.length; ++i) {
            Batch calldata batch = batches[i];
            (address payer, address payee, Winner[] calldata winners) = (batch.payer, batch.payee, batch.winners);
            (Pair storage p, Forms memory forms) = _enter(payer, payee);
            (uint256 locked, uint256 lastNonce) = (p.locked, p.lastNonce);
            for (uint256 j = 0; j < winners.length; ++j) {
                locked = _check(forms, winners[j], locked, lastNonce);
                lastNonce = winners[j].nonce;
            }
            _settle(p, payer, payee, locked, winners.length, uint64(lastNonce));
        }
    }

    function _enter(address payer, address payee) private view returns (Pair storage p, Forms memory forms) {
        if (msg.sender != payee && !isCarrier[payee][msg.sender]) revert NotCarrier(msg.sender, payee);
        p = pairs[payer][payee];
        forms.domain = _domainSeparatorV4();
        forms.draw[0] = bytes32(uint256(uint160(payer)));
        forms.draw[1] = bytes32(uint256(uint160(payee)));
        forms.ticket[0] = TICKET_TYPEHASH;
        forms.ticket[1] = forms.draw[0];
        forms.ticket[2] = forms.draw[1];
    }

    /// @dev Returns what is left of the lock. A payeeRand that is not the committed one shows as a wrong signer.
    function _check(Forms memory forms, Winner calldata w, uint256 locked, uint256 lastNonce)
        private
        view
        returns (uint256)
    {
        // Reading a field through its type also checks that its unused high bytes are zero, before they are hashed below.
        (uint256 faceValue, uint256 winProb) = (w.faceValue, w.winProb);
        (uint256 nonce, uint256 expiry) = (w.nonce, w.expiry);
        if (nonce <= lastNonce) revert NonceNotRising(uint64(nonce), uint64(lastNonce));
        if (nonce >> 24 > block.timestamp + MAX_CLOCK_SKEW) revert NonceInFuture(uint64(nonce));
        if (block.timestamp > expiry) revert Expired(uint64(nonce), uint40(expiry));

        (bytes32[5] memory drawForm, bytes32[10] memory ticketForm) = (forms.draw, forms.ticket);
        bytes32 draw;
        bytes32 hash;
        // abi.encode would copy all words anew for each winner, a fifth of its gas.
        assembly ("memory-safe") {
            // payeeRand and payerRand follow the nonce in the draw, the rest of the winner follows the payee in the ticket ...
            mstore(add(drawForm, 0x40), nonce)
            calldatacopy(add(drawForm, 0x60), add(w, 0x80), 0x40)
            draw := keccak256(drawForm, 0xa0)
            calldatacopy(add(ticketForm, 0x60), w, 0xe0)
            // ... with payeeCommit where the winner has payeeRand.
            mstore(add(ticketForm, 0xe0), keccak256(add(drawForm, 0x60), 0x20))
            hash := keccak256(ticketForm, 0x140)
        }
        if (uint64(uint256(draw)) >= winProb) revert NotAWinner(uint64(nonce));
        address signer = ECDSA.recover(MessageHashUtils.toTypedDataHash(forms.domain, hash), w.r, w.vs);
        address payer = address(uint160(uint256(drawForm[0])));
        if (signer != payer) revert WrongSigner(uint64(nonce), signer, payer);
        if (faceValue > locked) revert LockTooSmall(uint64(nonce), locked, faceValue);
        return locked - faceValue;
    }

    /// @dev State first, then the payment: a payee that calls back in finds its lock already smaller and its nonces used.
    function _settle(Pair storage p, address payer, address payee, uint256 locked, uint256 tickets, uint64 lastNonce)
        private
    {
        uint256 amount = p.locked - locked;
        p.locked = uint96(locked);
        p.lastNonce = lastNonce;
        emit Redeemed(payer, payee, amount, tickets, lastNonce);
        _pay(payee, amount);
    }

    function _fund(address payer, address payee) private {
        if (msg.value == 0) revert NoValue();
        Pair storage p = pairs[payer][payee];
        uint256 locked = p.locked + msg.value;
        if (locked > type(uint96).max) revert LockTooLarge(locked);
        p.locked = uint96(locked);
        emit Funded(payer, payee, msg.value, locked);
    }

    function _pay(address to, uint256 amount) private {
        (bool paid,) = to.call{value: amount}("");
        if (!paid) revert TransferFailed(to);
    }
}
