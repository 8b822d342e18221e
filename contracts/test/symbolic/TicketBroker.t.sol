// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {TicketBroker} from "../../src/TicketBroker.sol";
import {Base} from "../Base.sol";

/// @notice The cheat codes of halmos that these lemmas use.
interface Svm {
    function enableSymbolicStorage(address who) external;
}

/// @notice Lemmas that halmos proves for every state of the broker's storage, every time and every argument; `contracts/audit` runs them.
/// Hashes and recovered signers are arbitrary to it, so a lemma holds whoever signed what.
contract TicketBrokerLemmas is Base {
    Svm constant svm = Svm(address(uint160(uint256(keccak256("svm cheat code")))));

    address constant PAYER = address(0xB0B);
    address constant PAYEE = address(0xA11CE);

    function setUp() public {
        deployBroker();
    }

    /// @dev Any storage, and any time that fits the contract's 40 bits.
    function anyState(uint256 time) internal {
        vm.assume(time < 2 ** 40 - 72 hours);
        vm.warp(time);
        svm.enableSymbolicStorage(address(broker));
    }

    /// @notice A redemption takes its face value from its own lock, which has as much, and credits its payee with it; P3, P6. Its nonce
    /// is above the last and becomes the last, and is at most a minute ahead; P5, P17. The timer of the lock stays.
    function check_P3_P5_P6_P17_a_redemption_moves_its_face_value_and_raises_the_nonce(
        address sender,
        TicketBroker.Winner calldata w,
        uint256 time
    ) public {
        anyState(time);
        TicketBroker.Pair memory p = broker.pair(PAYER, PAYEE);
        uint256 credit = broker.credit(PAYEE);
        vm.prank(sender);
        (bool done,) = address(broker).call(abi.encodeCall(TicketBroker.redeem, (PAYER, PAYEE, w)));
        vm.assume(done);

        TicketBroker.Pair memory q = broker.pair(PAYER, PAYEE);
        uint256 faceValue = w.terms >> 160;
        assert(faceValue <= p.locked);
        assert(q.locked == p.locked - faceValue);
        assert(broker.credit(PAYEE) == credit + faceValue);
        assert(q.lastNonce > p.lastNonce);
        assert(q.lastNonce == uint64(w.terms >> 32));
        assert(q.lastNonce >> 24 <= time + 60);
        assert(q.pendingUnlock == p.pendingUnlock && q.unlockAt == p.unlockAt);
    }

    /// @notice No redemption changes another pair; P3.
    function check_P3_a_redemption_leaves_every_other_pair_as_it_is(
        address payer,
        address payee,
        TicketBroker.Winner calldata w,
        uint256 time
    ) public {
        vm.assume(payer != PAYER || payee != PAYEE);
        anyState(time);
        bytes32 before = keccak256(abi.encode(broker.pair(PAYER, PAYEE)));
        vm.prank(payee);
        (bool done,) = address(broker).call(abi.encodeCall(TicketBroker.redeem, (payer, payee, w)));
        vm.assume(done);
        assert(keccak256(abi.encode(broker.pair(PAYER, PAYEE))) == before);
    }

    /// @notice A withdrawal comes at or after the time announced, and takes at most what was announced and what is there; P8.
    function check_P8_no_withdrawal_before_unlock(uint256 time) public {
        anyState(time);
        TicketBroker.Pair memory p = broker.pair(PAYER, PAYEE);
        vm.deal(address(broker), type(uint96).max);
        vm.prank(PAYER);
        (bool done,) = address(broker).call(abi.encodeCall(TicketBroker.withdraw, (PAYEE)));
        vm.assume(done);

        TicketBroker.Pair memory q = broker.pair(PAYER, PAYEE);
        assert(p.unlockAt != 0 && time >= p.unlockAt);
        assert(p.locked - q.locked <= p.pendingUnlock);
        assert(PAYER.balance == p.locked - q.locked);
        assert(q.unlockAt == 0 && q.pendingUnlock == 0 && q.lastNonce == p.lastNonce);
    }

    /// @notice Whoever funds a lock adds what it sends, and changes neither timer nor nonce; P7.
    function check_P7_funding_by_anyone_only_adds(address sender, uint256 value, uint256 time) public {
        anyState(time);
        TicketBroker.Pair memory p = broker.pair(PAYER, PAYEE);
        vm.deal(sender, value);
        vm.prank(sender);
        (bool done,) = address(broker).call{value: value}(abi.encodeCall(TicketBroker.fundFor, (PAYER, PAYEE)));
        vm.assume(done);

        TicketBroker.Pair memory q = broker.pair(PAYER, PAYEE);
        assert(q.locked == p.locked + value);
        assert(q.lastNonce == p.lastNonce && q.pendingUnlock == p.pendingUnlock && q.unlockAt == p.unlockAt);
    }

    /// @notice Nobody but the payee and its carriers redeems; P7.
    function check_P7_a_stranger_cannot_redeem(address sender, TicketBroker.Winner calldata w, uint256 time) public {
        vm.assume(sender != PAYEE);
        anyState(time);
        vm.assume(!broker.isCarrier(PAYEE, sender));
        vm.prank(sender);
        (bool done,) = address(broker).call(abi.encodeCall(TicketBroker.redeem, (PAYER, PAYEE, w)));
        assert(!done);
    }

    /// @notice An announced withdrawal is never due sooner than the unlock delay after it was announced; P8.
    function check_P8_an_unlock_is_announced_the_whole_delay_ahead(uint96 amount, uint256 time) public {
        anyState(time);
        vm.prank(PAYER);
        (bool done,) = address(broker).call(abi.encodeCall(TicketBroker.requestUnlock, (PAYEE, amount)));
        vm.assume(done);
        assert(broker.pair(PAYER, PAYEE).unlockAt == time + 72 hours);
    }
}
