// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Parameters} from "../src/Parameters.sol";
import {TicketBroker} from "../src/TicketBroker.sol";
import {Base, Pool} from "./Base.sol";

/// @notice Three payers and three payees that do at random all that the broker lets them, and books kept beside it. Payees are obedient:
/// they take a ticket only if their own lock covers it beside all they hold, and redeem before the oldest expires. Payers are not: each
/// also pays a second address of its own, and takes out what it can. Pairs 0 to 8 are payer i / 3 with payee i % 3, pairs 9 to 11 the
/// payers with themselves.
contract Market is Base {
    uint256 public constant PAIRS = 12;
    address constant STRANGER = address(0x57A6);
    address constant CARRIER = address(0xCA);

    uint256[3] keys = [uint256(0xA1), 0xA2, 0xA3];
    address[3] payers = [vm.addr(0xA1), vm.addr(0xA2), vm.addr(0xA3)];
    address[6] public payees =
        [address(0xE1), address(0xE2), address(0xE3), address(0x5B1), address(0x5B2), address(0x5B3)];
    /// @dev The session key in use by each payer; 0 before its first.
    uint256[3] sessionKeys;
    uint24 counter;
    uint256 public clock = START;
    uint256 nextStopAt;

    /// @dev What the payee of a pair holds: winners from `head` on are not redeemed yet.
    struct Till {
        TicketBroker.Winner[] winners;
        uint256 head;
        uint256 outstanding;
    }

    mapping(uint256 pair => Till) tills;
    mapping(uint256 pair => uint256) public funded;
    mapping(uint256 pair => uint256) public redeemed;
    mapping(uint256 pair => uint256) public withdrawn;
    mapping(uint256 pair => uint256) announcedAt;
    mapping(uint256 pair => mapping(uint256 key => mapping(uint256 day => uint256))) taken;
    mapping(address payee => uint256) public earned;
    mapping(address payee => uint256) public claimed;
    uint256 public totalFunded;
    uint256 public totalPaid;

    /// @notice By number of the property, the first way in which it no longer held.
    mapping(uint256 property => string) public broken;

    constructor(TicketBroker broker_, Parameters parameters_, Pool pool_) {
        (broker, parameters, pool) = (broker_, parameters_, pool_);
        for (uint256 j = 0; j < 3; ++j) {
            vm.prank(payees[j]);
            broker.setCarrier(CARRIER, true);
        }
        for (uint256 i = 0; i < 9; ++i) {
            fund(i, 5 ether, false);
        }
    }

    function pairAt(uint256 i) public view returns (address, address) {
        return i < 9 ? (payers[i / 3], payees[i % 3]) : (payers[i - 9], payees[i - 6]);
    }

    function fund(uint256 i, uint96 amount, bool byStranger) public {
        i %= PAIRS;
        (address payer, address payee) = pairAt(i);
        amount = uint96(bound(amount, 1, 10 ether));
        address sender = byStranger ? STRANGER : payer;
        bool stopped = clock < parameters.depositsStoppedUntil();
        vm.deal(sender, sender.balance + amount);
        vm.prank(sender);
        try broker.fundFor{value: amount}(payer, payee) {
            if (stopped) broken[0] = "a deposit was taken while they were stopped";
            funded[i] += amount;
            totalFunded += amount;
        } catch {
            if (!stopped) broken[0] = "a deposit was refused";
        }
    }

    function stop(bool resume) external {
        if (clock >= nextStopAt) {
            vm.prank(GUARDIAN);
            parameters.stopDeposits();
            nextStopAt = clock + 28 days;
        } else if (resume && clock < parameters.depositsStoppedUntil()) {
            vm.prank(GUARDIAN);
            parameters.resumeDeposits();
        }
    }

    function requestUnlock(uint256 i, uint96 amount) public {
        i %= PAIRS;
        (address payer, address payee) = pairAt(i);
        uint96 locked = broker.pair(payer, payee).locked;
        if (locked == 0) return;
        vm.prank(payer);
        broker.requestUnlock(payee, uint96(bound(amount, 1, locked)));
        announcedAt[i] = clock;
    }

    function cancelUnlock(uint256 i) external {
        i %= PAIRS;
        (address payer, address payee) = pairAt(i);
        if (announcedAt[i] == 0) return;
        vm.prank(payer);
        broker.cancelUnlock(payee);
        announcedAt[i] = 0;
    }

    function withdraw(uint256 i) external {
        i %= PAIRS;
        (address payer, address payee) = pairAt(i);
        if (announcedAt[i] == 0) return;
        uint256 before = payer.balance;
        vm.prank(payer);
        try broker.withdraw(payee) {
            if (clock < announcedAt[i] + 72 hours) broken[8] = "withdrawn before the unlock";
            withdrawn[i] += payer.balance - before;
            totalPaid += payer.balance - before;
            announcedAt[i] = 0;
        } catch {
            if (clock >= announcedAt[i] + 72 hours) broken[8] = "a due unlock was refused";
        }
    }

    /// @notice A payer announces all of its locks at once and moves what it has to an address of its own.
    function drain(uint256 j, uint96 amount) external {
        j %= 3;
        for (uint256 k = 0; k < 3; ++k) {
            requestUnlock(3 * j + k, type(uint96).max);
        }
        fund(9 + j, amount, false);
        (address payer, address sybil) = pairAt(9 + j);
        uint96 locked = broker.pair(payer, sybil).locked;
        if (locked == 0) return;
        _issue(9 + j, locked, keys[j]);
        _redeem(9 + j, 1, 0);
        claim(3 + j);
    }

    function setSessionKey(uint256 j, uint40 life, uint96 dailyCap) external {
        j %= 3;
        sessionKeys[j] = 0x5E550000 + ++counter;
        vm.prank(payers[j]);
        broker.setSessionKey(
            vm.addr(sessionKeys[j]), uint40(clock + bound(life, 1 hours, 30 days)), uint96(bound(dailyCap, 0, 5 ether))
        );
    }

    function revokeSessionKey(uint256 j) external {
        j %= 3;
        if (sessionKeys[j] == 0) return;
        vm.prank(payers[j]);
        broker.revokeSessionKey(vm.addr(sessionKeys[j]));
    }

    /// @notice A winning ticket is offered, and taken if the payee's rules say so.
    function pay(uint256 i, uint96 face, bool bySession) public {
        i %= 9;
        (address payer, address payee) = pairAt(i);
        TicketBroker.Pair memory p = broker.pair(payer, payee);
        face = uint96(bound(face, 1, p.locked == 0 ? 1 : p.locked));
        if (tills[i].outstanding + face + p.pendingUnlock > p.locked) return;
        uint256 key = keys[i / 3];
        if (bySession) {
            key = sessionKeys[i / 3];
            if (key == 0) return;
            (uint40 expiry, uint96 dailyCap) = broker.sessionKey(payer, vm.addr(key));
            uint256 day = clock / 1 days;
            if (clock + 24 hours > expiry || taken[i][key][day] + face > dailyCap) return;
            taken[i][key][day] += face;
        }
        _issue(i, face, key);
    }

    function redeem(uint256 i, uint256 size, uint256 way) external {
        i %= 9;
        uint256 left = tills[i].winners.length - tills[i].head;
        if (left != 0) _redeem(i, bound(size, 1, left), way);
    }

    function claim(uint256 j) public {
        address payee = payees[j % 6];
        uint256 amount = broker.credit(payee);
        if (amount == 0) return;
        uint256 before = payee.balance + pool.received(payee);
        vm.prank(STRANGER);
        broker.claim(payee);
        if (payee.balance + pool.received(payee) - before != amount) broken[6] = "a claim paid other than the credit";
        claimed[payee] += amount;
        totalPaid += amount;
    }

    function delegate(uint256 j, bool some) external {
        pool.setDelegated(payees[j % 3], some ? 1 : 0);
    }

    /// @notice A stranger carries what a payee holds, and the payer a ticket whose draw it made up.
    function meddle(uint256 i) external {
        i %= 9;
        (address payer, address payee) = pairAt(i);
        bytes32 before = keccak256(abi.encode(broker.pair(payer, payee), broker.credit(payee)));
        Till storage till = tills[i];
        if (till.head < till.winners.length) {
            vm.prank(STRANGER);
            try broker.redeem(payer, payee, till.winners[till.head]) {
                broken[7] = "a stranger redeemed";
            } catch {}
        }
        TicketBroker.Winner memory forged = winner(keys[i / 3], payee, nonceAt(clock + 60, type(uint24).max));
        vm.prank(payer);
        try broker.redeem(payer, payee, forged) {
            broken[7] = "a payer redeemed";
        } catch {}
        if (keccak256(abi.encode(broker.pair(payer, payee), broker.credit(payee))) != before) {
            broken[7] = "a third party changed a pair";
        }
    }

    /// @notice Time passes. A payee waits to the very second at which its oldest winner expires, and redeems all it holds.
    function pass(uint32 time) external {
        uint256 target = clock + bound(time, 1, 48 hours);
        while (true) {
            uint256 due = target;
            uint256 pair = PAIRS;
            for (uint256 i = 0; i < 9; ++i) {
                Till storage till = tills[i];
                if (till.head == till.winners.length) continue;
                uint256 expiry = (uint64(till.winners[till.head].terms >> 32) >> 24) + 24 hours;
                if (expiry < due) (due, pair) = (expiry, i);
            }
            clock = due;
            vm.warp(due);
            if (pair == PAIRS) return;
            _redeem(pair, tills[pair].winners.length - tills[pair].head, due);
        }
    }

    function _issue(uint256 i, uint96 face, uint256 key) private {
        (address payer, address payee) = pairAt(i);
        (TicketBroker.Ticket memory t, bytes32 payeeRand) = winning(payer, payee, nonceAt(clock, ++counter));
        t.faceValue = face;
        tills[i].winners.push(seal(key, t, payeeRand));
        tills[i].outstanding += face;
    }

    /// @param way odd: carried by a carrier (obedient payees only)
    function _redeem(uint256 i, uint256 size, uint256 way) private {
        (address payer, address payee) = pairAt(i);
        Till storage till = tills[i];
        TicketBroker.Winner[] memory winners = new TicketBroker.Winner[](size);
        uint256 sum;
        for (uint256 j = 0; j < size; ++j) {
            winners[j] = till.winners[till.head + j];
            sum += winners[j].terms >> 160;
        }
        uint256[PAIRS] memory locks = locksNow();
        uint64 lastNonce = broker.pair(payer, payee).lastNonce;
        uint256 credit = broker.credit(payee);
        TicketBroker.Batch[] memory batches = batchOf(payer, payee, winners);
        till.head += size;
        till.outstanding -= sum;
        vm.prank(way % 2 == 1 && i < 9 ? CARRIER : payee);
        try broker.redeemBatch(batches) {
            redeemed[i] += sum;
            earned[payee] += sum;
        } catch {
            broken[14] = "a winner of an obedient payee was refused";
            return;
        }
        if (broker.credit(payee) - credit != sum) broken[6] = "credited other than face value";
        if (broker.pair(payer, payee).lastNonce <= lastNonce) broken[5] = "the last nonce did not rise";
        for (uint256 k = 0; k < PAIRS; ++k) {
            (address a, address b) = pairAt(k);
            if (broker.pair(a, b).locked != (k == i ? locks[k] - sum : locks[k])) broken[3] = "another lock changed";
        }
        for (uint256 j = 0; j < size; ++j) {
            vm.prank(payee);
            try broker.redeem(payer, payee, winners[j]) {
                broken[4] = "redeemed twice";
            } catch {}
        }
    }

    function locksNow() private view returns (uint256[PAIRS] memory locks) {
        for (uint256 k = 0; k < PAIRS; ++k) {
            (address a, address b) = pairAt(k);
            locks[k] = broker.pair(a, b).locked;
        }
    }
}
