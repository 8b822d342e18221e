// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Bonds} from "../src/Bonds.sol";
import {TicketBroker} from "../src/TicketBroker.sol";
import {StakeBase} from "./StakeBase.sol";

/// @notice Delegations, the fees that they earn, and slashes through them.
contract DelegationTest is StakeBase {
    address node = address(0x70DE);
    address ann = address(0xA44);
    address bob = address(0xB0B);
    address eve = address(0xE7E);
    uint96 constant BOND = 1000e18;

    function setUp() public {
        deployAll();
        join(node, 1, BOND);
    }

    function withdraw(address who) internal returns (uint256) {
        uint256 before = token.balanceOf(who);
        vm.prank(who);
        registry.withdrawDelegation(node);
        return token.balanceOf(who) - before;
    }

    function claim(address who) internal returns (uint256) {
        uint256 before = who.balance;
        vm.prank(who);
        registry.claimFees(node);
        return who.balance - before;
    }

    function test_a_delegation_leaves_whole_after_the_unbonding_period() public {
        delegateTo(node, ann, 300e18);
        vm.assertEq(registry.delegated(node), 300e18, "delegated");
        undelegateFrom(node, ann, 100e18);
        (uint96 amount, uint96 unbonding, uint40 due,) = registry.delegation(node, ann);
        vm.assertEq(amount, 200e18, "bonded");
        vm.assertEq(unbonding, 100e18, "unbonding");
        vm.assertEq(due, START + 7 days, "when");
        vm.warp(START + 7 days - 1);
        vm.expectRevert(abi.encodeWithSelector(Bonds.StillUnbonding.selector, uint40(START + 7 days)));
        vm.prank(ann);
        registry.withdrawDelegation(node);
        vm.warp(START + 7 days);
        vm.assertEq(withdraw(ann), 100e18, "withdrawn");
        vm.expectRevert(abi.encodeWithSelector(Bonds.NothingToWithdraw.selector));
        vm.prank(ann);
        registry.withdrawDelegation(node);
        vm.assertEq(registry.node(node).delegated, 200e18, "stays");
        vm.assertEq(registry.node(node).delegatedUnbonding, 0, "nothing on its way");
    }

    function test_what_can_not_be_delegated_or_undelegated() public {
        delegateTo(node, ann, 1e18);
        give(ann, 100_000e18);
        refuse(abi.encodeWithSelector(Bonds.NoAmount.selector));
        registry.delegate(node, 0);
        refuse(abi.encodeWithSelector(Bonds.NotRegistered.selector, bob));
        registry.delegate(bob, 1);
        refuse(abi.encodeWithSelector(Bonds.DelegationTooLarge.selector, node, 10 * BOND + 1, 10 * BOND));
        registry.delegate(node, 10 * BOND - 1e18 + 1);
        refuse(abi.encodeWithSelector(Bonds.DelegationTooSmall.selector, node, 1e18, 1e18 + 1));
        registry.undelegate(node, 1e18 + 1);
        refuse(abi.encodeWithSelector(Bonds.NoAmount.selector));
        registry.undelegate(node, 0);
        refuse(abi.encodeWithSelector(Bonds.NoAmount.selector));
        registry.undelegate(bob, ALL);
        vm.prank(ann);
        registry.delegate(node, 10 * BOND - 1e18);
    }

    function refuse(bytes memory reason) internal {
        vm.expectRevert(reason);
        vm.prank(ann);
    }

    function test_an_operator_that_leaves_holds_nobody_back() public {
        delegateTo(node, ann, 1e18);
        vm.prank(node);
        registry.startUnbond(BOND);
        refuse(abi.encodeWithSelector(Bonds.NotRegistered.selector, node));
        registry.delegate(node, 1);
        undelegateFrom(node, ann, ALL);
        vm.warp(START + 7 days);
        vm.assertEq(withdraw(ann), 1e18, "withdrawn");
    }

    function testFuzz_rounding_never_favours_the_one_who_exits(uint96 a, uint96 b, uint96 lost, uint96 part) public {
        a = uint96(bound(a, 1, 5 * BOND));
        b = uint96(bound(b, 1, 5 * BOND));
        delegateTo(node, ann, a);
        delegateTo(node, bob, b);
        uint256 all = uint256(a) + b;
        lost = uint96(bound(lost, 0, all));
        slash(node, BOND + lost);
        uint256 right = a * (all - lost) / all;
        uint256 others = stakeOf(node, bob);

        (uint96 worth,,,) = registry.delegation(node, ann);
        vm.assertEq(worth, right, "worth");
        part = uint96(bound(part, 0, worth));
        if (part != 0) {
            undelegateFrom(node, ann, part);
            (, uint96 unbonding,,) = registry.delegation(node, ann);
            vm.assertEq(unbonding, part, "just what was asked for");
        }
        vm.warp(START + 7 days);
        uint256 got = part == 0 ? 0 : withdraw(ann);
        (uint96 rest,,,) = registry.delegation(node, ann);
        if (rest != 0) {
            undelegateFrom(node, ann, ALL);
            vm.warp(START + 14 days);
            got += withdraw(ann);
        }
        vm.assertLe(got, right, "not more than the right part");
        vm.assertLe(right, got + 2, "less by rounding only");
        vm.assertLe(others, stakeOf(node, bob), "not at the expense of who stays");
    }

    function testFuzz_a_slash_lands_in_full_whatever_was_undelegated_before(
        uint96[3] memory stakes,
        uint96[3] memory parts,
        uint96 ownPart,
        uint96 amount
    ) public {
        address[3] memory who = [ann, bob, eve];
        uint256 all = BOND;
        for (uint256 i = 0; i < 3; ++i) {
            stakes[i] = uint96(bound(stakes[i], 1, 3 * BOND));
            delegateTo(node, who[i], stakes[i]);
            all += stakes[i];
        }
        for (uint256 i = 0; i < 3; ++i) {
            parts[i] = uint96(bound(parts[i], 0, stakes[i]));
            if (parts[i] != 0) undelegateFrom(node, who[i], parts[i]);
        }
        ownPart = uint96(bound(ownPart, 0, BOND));
        if (ownPart != 0 && (ownPart == BOND || ownPart <= BOND - LEAST)) {
            vm.prank(node);
            registry.startUnbond(ownPart);
        }
        amount = uint96(bound(amount, 0, 2 * all));
        uint256 supply = token.totalSupply();
        uint256 taken = slash(node, amount);
        vm.assertEq(taken, amount < all ? amount : all, "taken");
        vm.assertEq(token.balanceOf(address(registry)), all - taken, "left");
        uint256 burned = taken / 2;
        uint256 reward = taken * 3 / 10;
        vm.assertEq(supply - token.totalSupply(), burned, "burned");
        vm.assertEq(token.balanceOf(PROVER), reward, "prover");
        vm.assertEq(token.balanceOf(TREASURY), taken - burned - reward, "treasury");

        uint256 fromPool = taken > BOND ? taken - BOND : 0;
        vm.assertEq(registry.node(node).bond + registry.node(node).unbonding, BOND - (taken - fromPool), "own first");
        for (uint256 i = 0; i < 3; ++i) {
            uint256 right = stakes[i] * (all - BOND - fromPool) / (all - BOND);
            uint256 has = stakeOf(node, who[i]);
            vm.assertLe(has, right, "all lose alike");
            vm.assertLe(right, has + 1, "but for rounding");
        }
    }

    function test_a_slash_takes_own_bond_then_own_unbonding_then_delegations() public {
        delegateTo(node, ann, 100e18);
        vm.prank(node);
        registry.startUnbond(400e18);
        slash(node, 500e18);
        vm.assertEq(registry.node(node).bond, 100e18, "bond");
        slash(node, 200e18);
        vm.assertEq(registry.node(node).unbonding, 300e18, "unbonding");
        vm.assertEq(registry.delegated(node), 100e18, "delegated");
        slash(node, 350e18);
        vm.assertEq(registry.node(node).unbonding, 0, "unbonding");
        vm.assertEq(registry.delegated(node), 50e18, "delegated");
    }

    function test_only_sampling_and_disputes_slash() public {
        address[4] memory others = [address(this), node, GOVERNOR, address(broker)];
        for (uint256 i = 0; i < 4; ++i) {
            vm.expectRevert(abi.encodeWithSelector(Bonds.NotSlasher.selector, others[i]));
            vm.prank(others[i]);
            registry.slash(node, 1, PROVER);
        }
        vm.prank(address(sampling));
        registry.slash(node, 1, PROVER);
    }

    function test_slashing_oneself_costs() public {
        vm.prank(address(disputes));
        uint96 taken = registry.slash(node, BOND, node);
        vm.assertEq(token.balanceOf(node), taken * 3 / 10, "seven tenths are lost");
    }

    function test_a_pool_slashed_to_nothing_refuses_delegations_and_everybody_leaves() public {
        delegateTo(node, ann, 30e18);
        delegateTo(node, bob, 70e18);
        undelegateFrom(node, ann, 10e18);
        slash(node, BOND + 100e18);
        join(node, 1, BOND);
        give(eve, 1e18);
        vm.expectRevert(abi.encodeWithSelector(Bonds.PoolSlashed.selector, node, 0, 100e18));
        vm.prank(eve);
        registry.delegate(node, 1e18);
        vm.deal(address(this), 1 ether);
        registry.payFees{value: 1 ether}(node);
        vm.assertEq(feesOf(node, node), 1 ether, "a pool of nothing earns nothing");

        undelegateFrom(node, ann, ALL);
        undelegateFrom(node, bob, ALL);
        vm.warp(START + 7 days);
        vm.assertEq(withdraw(ann) + withdraw(bob), 0, "nothing is left");
        vm.prank(eve);
        registry.delegate(node, 1e18);
        vm.assertEq(stakeOf(node, eve), 1e18, "a new pool");
    }

    function testFuzz_a_pool_slashed_to_next_to_nothing_is_closed_before_shares_overflow(uint96 left) public {
        delegateTo(node, ann, 10 * BOND);
        left = uint96(bound(left, 1, 10 * BOND));
        slash(node, 11 * BOND - left);
        join(node, 1, 1_000_000e18);
        give(bob, 9_000_000e18);
        bool closed = uint256(left) * 512 < 10 * BOND;
        if (closed) {
            vm.expectRevert(abi.encodeWithSelector(Bonds.PoolSlashed.selector, node, left, 10 * BOND));
        }
        vm.prank(bob);
        registry.delegate(node, 9_000_000e18);
        if (!closed) vm.assertLe(9_000_000e18, stakeOf(node, bob) + 1, "worth what was paid, but for rounding");
        vm.assertLe(stakeOf(node, ann), left, "who was slashed has not gained");
    }

    function testFuzz_fees_are_shared_by_commission_own_bond_and_shares(
        uint96 a,
        uint96 b,
        uint96 fees,
        uint16 commission
    ) public {
        a = uint96(bound(a, 1, 5 * BOND));
        b = uint96(bound(b, 1, 5 * BOND));
        fees = uint96(bound(fees, 0, 1000 ether));
        commission = uint16(bound(commission, 0, 5000));
        address operator = address(0x09E4);
        vm.prank(operator);
        registry.setCommission(commission);
        join(operator, 1, BOND);
        delegateTo(operator, ann, a);
        delegateTo(operator, bob, b);
        vm.deal(address(this), fees);
        registry.payFees{value: fees}(operator);

        uint256 rest = fees - uint256(fees) * commission / 10_000;
        uint256 all = uint256(BOND) + a + b;
        uint256 dust = 2 + (uint256(a) + b) / 1e18;
        closeBelow(feesOf(operator, ann), rest * a / all, dust);
        closeBelow(feesOf(operator, bob), rest * b / all, dust);
        uint256 sum = feesOf(operator, ann) + feesOf(operator, bob) + feesOf(operator, operator);
        vm.assertLe(sum, fees, "not more than came in");
        vm.assertLe(fees, sum + 2, "dust");
    }

    function closeBelow(uint256 got, uint256 right, uint256 dust) internal pure {
        vm.assertLe(got, right, "not more than its part");
        vm.assertLe(right, got + dust, "but for rounding");
    }

    function test_fees_belong_to_those_who_were_bonded_when_they_came() public {
        delegateTo(node, ann, BOND);
        vm.deal(address(this), 10 ether);
        registry.payFees{value: 2 ether}(node);
        delegateTo(node, bob, BOND);
        vm.assertEq(feesOf(node, bob), 0, "came later");
        undelegateFrom(node, ann, ALL);
        registry.payFees{value: 2 ether}(node);
        vm.assertEq(claim(ann), 1 ether, "left before the second");
        vm.assertEq(claim(bob), 1 ether, "half of the second");
        vm.assertEq(claim(node), 2 ether, "half of both");
        vm.assertEq(address(registry).balance, 0, "all is shared");
        vm.expectRevert(abi.encodeWithSelector(Bonds.NothingToClaim.selector));
        vm.prank(ann);
        registry.claimFees(node);
    }

    function test_fees_of_a_node_without_delegators_are_its_own() public {
        vm.deal(address(this), 1 ether);
        registry.payFees{value: 1 ether}(node);
        vm.assertEq(claim(node), 1 ether, "operator");
    }

    function test_while_the_operator_leaves_fees_are_shared_as_before() public {
        delegateTo(node, ann, BOND);
        vm.deal(address(this), 4 ether);
        registry.payFees{value: 1 ether}(node);
        vm.prank(node);
        registry.startUnbond(BOND);
        registry.payFees{value: 1 ether}(node);
        vm.assertEq(claim(ann), 1 ether, "half of both");
        vm.assertEq(claim(node), 1 ether, "half of both");
        vm.warp(START + 7 days);
        vm.prank(node);
        registry.withdrawBond();
        registry.payFees{value: 2 ether}(node);
        vm.assertEq(feesOf(node, ann), 0, "nothing of the operator's own to share by");
        vm.assertEq(claim(node), 2 ether, "operator");
    }

    function test_one_unit_of_the_token_takes_nothing_of_what_a_leaver_has_earned() public {
        delegateTo(node, eve, 1);
        credit(node, 5 ether);
        vm.prank(node);
        registry.startUnbond(BOND);
        broker.claim(node); // by anyone
        vm.assertEq(feesOf(node, eve), 0, "one unit of 1000 MILL");
        vm.assertLe(5 ether - 1, claim(node), "the operator");
        credit(node, 5 ether);
        vm.warp(START + 7 days);
        vm.prank(node);
        registry.withdrawBond();
        broker.claim(node);
        vm.assertEq(feesOf(node, eve), 0, "nor when the bond is gone");
        vm.assertEq(claim(node), 5 ether, "the operator");
    }

    uint256 private winners;

    /// @notice A winner for the node, redeemed.
    function credit(address payee, uint96 amount) internal {
        uint256 key = 0xB0B;
        vm.deal(vm.addr(key), amount);
        vm.prank(vm.addr(key));
        broker.fund{value: amount}(payee);
        (TicketBroker.Ticket memory t, bytes32 rand) = winning(vm.addr(key), payee, nonceAt(START, winners++));
        t.faceValue = amount;
        TicketBroker.Winner memory w = seal(key, t, rand);
        vm.prank(payee);
        broker.redeem(vm.addr(key), payee, w);
    }

    /// @notice The smallest pool and the largest fees: what is kept per share still fits.
    function test_a_share_of_one_unit_can_earn_half_of_all_the_coins_there_are() public {
        delegateTo(node, ann, 1);
        slash(node, BOND - 1);
        uint256 all = 1_000_000_000 ether;
        vm.deal(address(this), all);
        registry.payFees{value: all}(node);
        vm.assertEq(claim(ann), all / 2, "delegator");
    }

    function test_who_refuses_its_wei_keeps_its_claim() public {
        vm.deal(address(this), 1 ether);
        registry.payFees{value: 1 ether}(address(this));
        vm.expectRevert(abi.encodeWithSelector(Bonds.TransferFailed.selector, address(this)));
        registry.claimFees(address(this));
        vm.assertEq(feesOf(address(this), address(this)), 1 ether, "still there");
    }

    function test_who_calls_back_in_is_paid_once() public {
        Greedy greedy = new Greedy(registry);
        vm.deal(address(this), 3 ether);
        registry.payFees{value: 2 ether}(node);
        registry.payFees{value: 1 ether}(address(greedy));
        greedy.claim();
        vm.assertEq(address(greedy).balance, 1 ether, "paid");
        vm.assertTrue(greedy.refused(), "the second claim");
    }
}

/// @notice An operator that claims again while it is being paid.
contract Greedy {
    Bonds immutable registry;
    bool public refused;

    constructor(Bonds registry_) {
        registry = registry_;
    }

    function claim() external {
        registry.claimFees(address(this));
    }

    receive() external payable {
        try registry.claimFees(address(this)) {}
        catch {
            refused = true;
        }
    }
}
