// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {IFeePool} from "./IFeePool.sol";
import {DepositsStopped, IParameters} from "./IParameters.sol";

/// @title TicketBroker: probabilistic micropayments out of locks that belong to one payee each
/// @notice A payer locks wei for one payee and signs tickets off chain, itself or by a session key; a winning ticket moves its face value
/// from that lock to the payee's credit, which anyone can have paid out. A lock is exclusive: nothing that the payer does with other
/// payees, and no third party, can make it smaller, and the payer itself takes back only what it announced UNLOCK_DELAY before. The
/// guardian can stop deposits and nothing else. What is not here: shared deposits, rounds, block hashes, an owner.
/// @dev Storage: slots 0 and 1 EIP712's texts, empty, since both are short enough to be constants; slot 2 pairs, two slots each
/// (locked, lastNonce and pendingUnlock fill the first; unlockAt); slot 3 carriers; slot 4 credits, in wei plus one; slot 5 session keys
/// and slot 6 what they spent, one slot each. The balance is the sum of all locks and credits.
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

    /// @notice A ticket as it is redeemed: without what its batch says once and what payeeRand gives. Most of a redemption's gas is
    /// calldata, so nothing is padded.
    /// @param terms faceValue << 160 | winProb << 96 | nonce << 32 | life: from the highest bit 96 bits of face value in wei, 64 of win
    /// probability, 64 of nonce and 32 of life, the seconds from the nonce's issue time to the expiry:
    /// expiry = (nonce >> 24) + life
    /// @param r of the signature
    /// @param vs yParity << 255 | s (EIP-2098): only low s fits, so there is one encoding
    struct Winner {
        uint256 terms;
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

    /// @param expiry last unix second at which a ticket that the key signed can expire; 0 when there is no such key
    /// @param dailyCap wei of winners that one payee can redeem from the key for each UTC day of issue
    struct SessionKey {
        uint40 expiry;
        uint96 dailyCap;
    }

    /// @param day of issue, UTC, counted from 1970-01-01, of the last ticket redeemed by a payee from a session key
    /// @param amount wei of winners redeemed from the key for that day
    struct Spent {
        uint40 day;
        uint96 amount;
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
    /// @dev shared: it went to the registry, which shares it out between the payee and those who delegated to it.
    event Claimed(address indexed payee, uint256 amount, bool shared);
    event CarrierSet(address indexed payee, address indexed carrier, bool allowed);
    event SessionKeySet(address indexed payer, address indexed key, uint40 expiry, uint96 dailyCap);
    event SessionKeyRevoked(address indexed payer, address indexed key, uint40 expiry);

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
    error NothingToClaim(address payee);
    error TransferFailed(address to);
    error SessionKeyAlreadySet(address key);
    error SessionKeyUnknown(address key);
    error SessionKeyInPast(uint40 expiry);
    error SessionKeyExpired(uint64 nonce, address key, uint40 expiry, uint40 keyExpiry);
    error DailyCapExceeded(uint64 nonce, address key, uint256 spent, uint96 dailyCap);

    /// @notice Where the guardian's stop of deposits is read.
    IParameters public immutable parameters;

    /// @notice Where the fees of a payee with delegators go.
    IFeePool public immutable registry;

    mapping(address payer => mapping(address payee => Pair)) private pairs;

    /// @notice Who may carry a payee's winners to the chain in its stead; the money goes to the payee in any case.
    /// @dev Not anyone: a payer knows the draw of a ticket whose commit it made up itself. It could carry such a ticket with a late
    /// nonce and a face value of one wei, and so void every earlier winner that the payee still holds.
    mapping(address payee => mapping(address carrier => bool)) public isCarrier;

    /// @dev Wei plus one, once the payee was ever credited: a slot that never returns to zero saves each first redemption after a
    /// claim 17,100 gas.
    mapping(address payee => uint256) private credits;

    /// @notice The session keys of a payer.
    mapping(address payer => mapping(address key => SessionKey)) public sessionKey;

    /// @notice What a payee has redeemed from a payer's session key for the latest day of issue.
    mapping(address payer => mapping(address payee => mapping(address key => Spent))) public spent;

    constructor(IParameters parameters_, IFeePool registry_) EIP712("Millrace", "1") {
        (parameters, registry) = (parameters_, registry_);
    }

    /// @notice Wei that winners have brought the payee and that it was not paid yet.
    function credit(address payee) public view returns (uint256) {
        uint256 stored = credits[payee];
        return stored == 0 ? 0 : stored - 1;
    }

    /// @notice The state between a payer and a payee.
    function pair(address payer, address payee) external view returns (Pair memory) {
        return pairs[payer][payee];
    }

    /// @notice The EIP-712 digest that the payer signs.
    function digest(Ticket calldata ticket) external view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(TICKET_TYPEHASH, ticket)));
    }

    /// @notice Locks the value sent for one payee. Refused while the guardian stops deposits.
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

    /// @notice Lets `key` sign the sender's tickets. Its terms cannot be changed after, so that a payee reads them once: for other terms
    /// take another key.
    /// @param expiry no ticket of the key can expire later, in unix seconds
    /// @param dailyCap wei that each payee can redeem from the key for each UTC day of issue. It is counted for each payee alone, so that
    /// a payee that counts what it takes never holds a winner above it.
    function setSessionKey(address key, uint40 expiry, uint96 dailyCap) external {
        if (expiry <= block.timestamp) revert SessionKeyInPast(expiry);
        if (sessionKey[msg.sender][key].expiry != 0) revert SessionKeyAlreadySet(key);
        sessionKey[msg.sender][key] = SessionKey(expiry, dailyCap);
        emit SessionKeySet(msg.sender, key, expiry, dailyCap);
    }

    /// @notice Ends a session key UNLOCK_DELAY from now, if it does not end before: tickets that a payee already took stay good, as they
    /// do when an unlock is requested.
    function revokeSessionKey(address key) external {
        SessionKey storage k = sessionKey[msg.sender][key];
        if (k.expiry == 0) revert SessionKeyUnknown(key);
        uint40 end = uint40(block.timestamp) + UNLOCK_DELAY;
        if (end < k.expiry) k.expiry = end;
        emit SessionKeyRevoked(msg.sender, key, k.expiry);
    }

    /// @notice Pays a payee's credit out: to the payee, or, when others have delegated to it, to the registry, which shares it out.
    /// Anyone can call it, so that delegators need not wait for the operator.
    /// @dev There is no second way when the registry refuses: a caller could bring it about with too little gas, and so keep the
    /// delegators' share from them.
    function claim(address payee) external {
        uint256 amount = credit(payee);
        if (amount == 0) revert NothingToClaim(payee);
        credits[payee] = 1;
        bool shared = registry.delegated(payee) != 0;
        emit Claimed(payee, amount, shared);
        if (shared) registry.payFees{value: amount}(payee);
        else _pay(payee, amount);
    }

    /// @notice Redeems one winner.
    function redeem(address payer, address payee, Winner calldata winner) external {
        (Pair storage p, Forms memory forms) = _enter(payer, payee);
        (uint256 locked, uint256 nonce) = _check(forms, winner, p.locked, p.lastNonce);
        _settle(p, payer, payee, locked, 1, nonce);
    }

    /// @notice Redeems batches of winners: all of them or none.
    function redeemBatch(Batch[] calldata batches) external {
        for (uint256 i = 0; i < batches.length; ++i) {
            Batch calldata batch = batches[i];
            (address payer, address payee, Winner[] calldata winners) = (batch.payer, batch.payee, batch.winners);
            (Pair storage p, Forms memory forms) = _enter(payer, payee);
            (uint256 locked, uint256 lastNonce) = (p.locked, p.lastNonce);
            for (uint256 j = 0; j < winners.length; ++j) {
                (locked, lastNonce) = _check(forms, winners[j], locked, lastNonce);
            }
            _settle(p, payer, payee, locked, winners.length, lastNonce);
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

    /// @dev Returns what is left of the lock, and the winner's nonce. A payeeRand that is not the committed one shows as a wrong signer.
    function _check(Forms memory forms, Winner calldata w, uint256 locked, uint256 lastNonce)
        private
        returns (uint256 left, uint256 nonce)
    {
        uint256 terms = w.terms;
        nonce = uint64(terms >> 32);
        uint256 faceValue = terms >> 160;
        uint256 winProb = uint64(terms >> 96);
        uint256 expiry = (nonce >> 24) + uint32(terms);
        if (nonce <= lastNonce) revert NonceNotRising(uint64(nonce), uint64(lastNonce));
        // From here on the expiry fits its 40 bits.
        if (nonce >> 24 > block.timestamp + MAX_CLOCK_SKEW) revert NonceInFuture(uint64(nonce));
        if (block.timestamp > expiry) revert Expired(uint64(nonce), uint40(expiry));

        (bytes32[5] memory drawForm, bytes32[10] memory ticketForm) = (forms.draw, forms.ticket);
        bytes32 draw;
        bytes32 hash;
        // abi.encode would copy all words anew for each winner, a fifth of its gas.
        assembly ("memory-safe") {
            // payeeRand and payerRand follow the nonce in the draw ...
            mstore(add(drawForm, 0x40), nonce)
            calldatacopy(add(drawForm, 0x60), add(w, 0x20), 0x40)
            draw := keccak256(drawForm, 0xa0)
            // ... and the unpacked terms the payee in the ticket; then payeeCommit, payerRand and workHash.
            mstore(add(ticketForm, 0x60), faceValue)
            mstore(add(ticketForm, 0x80), winProb)
            mstore(add(ticketForm, 0xa0), nonce)
            mstore(add(ticketForm, 0xc0), expiry)
            mstore(add(ticketForm, 0xe0), keccak256(add(drawForm, 0x60), 0x20))
            calldatacopy(add(ticketForm, 0x100), add(w, 0x40), 0x40)
            hash := keccak256(ticketForm, 0x140)
        }
        if (uint64(uint256(draw)) >= winProb) revert NotAWinner(uint64(nonce));
        address signer = ECDSA.recover(MessageHashUtils.toTypedDataHash(forms.domain, hash), w.r, w.vs);
        address payer = address(uint160(uint256(drawForm[0])));
        if (signer != payer) _spend(payer, address(uint160(uint256(drawForm[1]))), signer, faceValue, nonce, expiry);
        if (faceValue > locked) revert LockTooSmall(uint64(nonce), locked, faceValue);
        left = locked - faceValue;
    }

    /// @dev Counts a winner against the daily cap of the session key that signed it. Within a pair nonces rise, and so do days of issue:
    /// one counter is enough.
    function _spend(address payer, address payee, address key, uint256 faceValue, uint256 nonce, uint256 expiry)
        private
    {
        SessionKey storage k = sessionKey[payer][key];
        (uint40 keyExpiry, uint96 dailyCap) = (k.expiry, k.dailyCap);
        if (keyExpiry == 0) revert WrongSigner(uint64(nonce), key, payer);
        if (expiry > keyExpiry) revert SessionKeyExpired(uint64(nonce), key, uint40(expiry), keyExpiry);
        Spent storage s = spent[payer][payee][key];
        uint256 day = (nonce >> 24) / 1 days;
        uint256 amount = s.day == day ? s.amount + faceValue : faceValue;
        if (amount > dailyCap) revert DailyCapExceeded(uint64(nonce), key, amount, dailyCap);
        (s.day, s.amount) = (uint40(day), uint96(amount));
    }

    /// @dev No money moves here, so no foreign code runs and no payee can make a redemption fail.
    function _settle(Pair storage p, address payer, address payee, uint256 locked, uint256 tickets, uint256 lastNonce)
        private
    {
        uint256 amount = p.locked - locked;
        p.locked = uint96(locked);
        p.lastNonce = uint64(lastNonce);
        uint256 stored = credits[payee];
        credits[payee] = stored == 0 ? amount + 1 : stored + amount;
        emit Redeemed(payer, payee, amount, tickets, uint64(lastNonce));
    }

    function _fund(address payer, address payee) private {
        uint40 stoppedUntil = parameters.depositsStoppedUntil();
        if (block.timestamp < stoppedUntil) revert DepositsStopped(stoppedUntil);
        if (msg.value == 0) revert NoValue();
        Pair storage p = pairs[payer][payee];
        uint256 locked = p.locked + msg.value;
        if (locked > type(uint96).max) revert LockTooLarge(locked);
        p.locked = uint96(locked);
        emit Funded(payer, payee, msg.value, locked);
    }

    /// @dev To the payer of a lock or the payee of a credit, whose own money it is, and after the state has changed.
    function _pay(address to, uint256 amount) private {
        // slither-disable-next-line arbitrary-send-eth
        (bool paid,) = to.call{value: amount}("");
        if (!paid) revert TransferFailed(to);
    }
}
