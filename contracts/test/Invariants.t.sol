// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {TicketBroker} from "../src/TicketBroker.sol";
import {Base} from "./Base.sol";

/// @notice Three payers and three payees that do at random all that the broker lets them, and books kept beside it.
contract Market is Base {
    uint256[3] keys = [uint256(0xA1), 0xA2, 0xA3];
    address[3] payers = [vm.addr(0xA1), vm.addr(0xA2), vm.addr(0xA3)];
    address[3] payees = [address(0xE1), address(0xE2), address(0xE3)];
    uint24 counter;
    uint256 clock = START;

    mapping(address => mapping(address => uint256)) public funded;
    mapping(address => mapping(address => uint256)) public redeemed;
    mapping(address => mapping(address => uint256)) public withdrawn;
    mapping(address => mapping(address => uint256)) announcedAt;
    uint256 public totalFunded;
    uint256 public totalPaid;
    /// @notice Set by the first call after which a rule no longer held.
    string public broken;

    constructor(TicketBroker broker_) {
        broker = broker_;
    }

    function pairAt(uint256 i) public view returns (address, address) {
        return (payers[i / 3], payees[i % 3]);
    }

    function fund(uint256 i, uint96 amount, bool byStranger) external {
        (address payer, address payee) = pairAt(i % 9);
        amount = uint96(bound(amount, 1, 10 ether));
        address sender = byStranger ? address(0x57A6) : payer;
        vm.deal(sender, amount);
        vm.prank(sender);
        broker.fundFor{value: amount}(payer, payee);
        funded[payer][payee] += amount;
        totalFunded += amount;
    }

    function requestUnlock(uint256 i, uint96 amount) external {
        (address payer, address payee) = pairAt(i % 9);
        uint96 locked = broker.pair(payer, payee).locked;
        if (locked == 0) return;
        vm.prank(payer);
        broker.requestUnlock(payee, uint96(bound(amount, 1, locked)));
        announcedAt[payer][payee] = clock;
    }

    function withdraw(uint256 i) external {
        (address payer, address payee) = pairAt(i % 9);
        if (announcedAt[payer][payee] == 0) return;
        uint256 before = payer.balance;
        vm.prank(payer);
        try broker.withdraw(payee) {
            if (clock < announcedAt[payer][payee] + 72 hours) broken = "P8: withdrawn before the unlock";
            withdrawn[payer][payee] += payer.balance - before;
            totalPaid += payer.balance - before;
            announcedAt[payer][payee] = 0;
        } catch {
            if (clock >= announcedAt[payer][payee] + 72 hours) broken = "a due unlock was refused";
        }
    }

    function redeem(uint256 i, uint96 face, uint256 size) external {
        (address payer, address payee) = pairAt(i % 9);
        TicketBroker.Pair memory p = broker.pair(payer, payee);
        size = bound(size, 1, 4);
        if (p.locked < size) return;
        TicketBroker.Winner[] memory winners = new TicketBroker.Winner[](size);
        uint256 sum;
        for (uint256 j = 0; j < size; ++j) {
            (TicketBroker.Ticket memory t, bytes32 payeeRand) = winning(payer, payee, nonceAt(clock, ++counter));
            t.faceValue = uint96(bound(face, 1, p.locked / size));
            sum += t.faceValue;
            winners[j] = seal(keys[(i % 9) / 3], t, payeeRand);
        }
        uint256[9] memory locks = snapshot();
        uint256 before = payee.balance;
        TicketBroker.Batch[] memory batches = batchOf(payer, payee, winners);
        vm.prank(payee);
        broker.redeemBatch(batches);

        TicketBroker.Pair memory next = broker.pair(payer, payee);
        if (payee.balance - before != sum) broken = "P6: paid other than face value";
        if (next.lastNonce <= p.lastNonce) broken = "P5: the last nonce did not rise";
        for (uint256 k = 0; k < 9; ++k) {
            (address a, address b) = pairAt(k);
            if (k != i % 9 && broker.pair(a, b).locked != locks[k]) broken = "P3: another lock changed";
        }
        vm.prank(payee);
        try broker.redeemBatch(batches) {
            broken = "P4: redeemed twice";
        } catch {}
        redeemed[payer][payee] += sum;
        totalPaid += sum;
    }

    function pass(uint32 time) external {
        clock += bound(time, 1, 48 hours);
        vm.warp(clock);
    }

    function now_() external view returns (uint256) {
        return clock;
    }

    function snapshot() internal view returns (uint256[9] memory locks) {
        for (uint256 k = 0; k < 9; ++k) {
            (address a, address b) = pairAt(k);
            locks[k] = broker.pair(a, b).locked;
        }
    }
}

contract InvariantsTest is Base {
    Market market;

    function setUp() public {
        vm.warp(START);
        broker = new TicketBroker();
        market = new Market(broker);
    }

    /// @notice Read by forge: the only contract that its random calls go to.
    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(market);
    }

    function invariant_P1_funds_conserve() public view {
        uint256 locked;
        for (uint256 i = 0; i < 9; ++i) {
            (address payer, address payee) = market.pairAt(i);
            locked += broker.pair(payer, payee).locked;
        }
        vm.assertEq(address(broker).balance, locked, "balance is the sum of the locks");
        vm.assertEq(market.totalFunded(), locked + market.totalPaid(), "what came in is locked or was paid out");
    }

    function invariant_P2_redeemed_is_at_most_ever_funded() public view {
        for (uint256 i = 0; i < 9; ++i) {
            (address payer, address payee) = market.pairAt(i);
            vm.assertLe(
                market.redeemed(payer, payee) + market.withdrawn(payer, payee), market.funded(payer, payee), "pair"
            );
        }
    }

    function invariant_P3_P4_P5_P6_P8_held_at_every_call() public view {
        vm.assertEq(bytes(market.broken()).length, 0, market.broken());
    }

    function invariant_P17_the_last_nonce_is_never_ahead_of_the_clock() public view {
        for (uint256 i = 0; i < 9; ++i) {
            (address payer, address payee) = market.pairAt(i);
            vm.assertLe(broker.pair(payer, payee).lastNonce >> 24, market.now_() + 60, "pair");
        }
    }
}
