// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Bonds} from "../src/Bonds.sol";
import {DepositsStopped, MIN_BOND} from "../src/IParameters.sol";
import {Registry} from "../src/Registry.sol";
import {StakeBase} from "./StakeBase.sol";

/// @notice What a node publishes, its own bond and its commission.
contract RegistryTest is StakeBase {
    uint256 constant NODE_KEY = 0x70DE;
    address node = vm.addr(NODE_KEY);

    function setUp() public {
        deployAll();
    }

    function test_a_node_publishes_roles_address_and_key_behind_a_bond() public {
        join(node, 5, 150e18);
        Registry.NodeView memory n = registry.node(node);
        vm.assertEq(n.bond, 150e18, "bond");
        vm.assertEq(n.roles, 5, "roles");
        vm.assertEq(n.fingerprint, TLS_KEY, "key");
        vm.assertEq(keccak256(bytes(n.serviceURI)), keccak256("quic://t1.example:4433"), "uri");
        vm.assertEq(registry.node(address(1)).roles, 0, "stranger");
        vm.assertEq(token.balanceOf(address(registry)), 150e18, "tokens");
    }

    function test_a_node_joins_once_and_updates_after() public {
        join(node, 2, LEAST);
        vm.expectRevert(abi.encodeWithSelector(Registry.AlreadyRegistered.selector, node));
        vm.prank(node);
        registry.register(1, "", TLS_KEY, LEAST);
        vm.prank(node);
        registry.update(3, "quic://moved", bytes32(uint256(1)));
        vm.assertEq(registry.node(node).fingerprint, bytes32(uint256(1)), "key");
        vm.assertEq(registry.node(node).bond, LEAST, "bond");
    }

    function testFuzz_a_bond_below_the_least_or_unknown_roles_are_refused(uint96 bond, uint8 roles) public {
        bond = uint96(bound(bond, 0, 2 * LEAST));
        give(node, bond);
        if (bond < LEAST) {
            vm.expectRevert(abi.encodeWithSelector(Bonds.BondTooLow.selector, bond, LEAST));
        } else if (roles == 0 || roles > 7) {
            vm.expectRevert(abi.encodeWithSelector(Registry.UnknownRoles.selector, roles));
        }
        vm.prank(node);
        registry.register(roles, "", TLS_KEY, bond);
    }

    function test_a_uri_has_a_longest_length() public {
        join(node, 1, LEAST);
        string memory longest = string(new bytes(280));
        vm.prank(node);
        registry.update(1, longest, TLS_KEY);
        vm.expectRevert(abi.encodeWithSelector(Registry.UriTooLong.selector, 281, 280));
        vm.prank(node);
        registry.update(1, string(new bytes(281)), TLS_KEY);
    }

    function test_one_transaction_joins_with_a_permit_and_a_commission() public {
        require(token.transfer(node, LEAST));
        bytes[] memory calls = new bytes[](3);
        calls[0] = permit(LEAST);
        calls[1] = abi.encodeCall(Bonds.setCommission, (2000));
        calls[2] = abi.encodeCall(Registry.register, (1, "quic://t1", TLS_KEY, LEAST));
        vm.prank(node);
        registry.multicall(calls);
        vm.assertEq(registry.node(node).bond, LEAST, "bond");
        vm.assertEq(registry.node(node).commission, 2000, "commission");
    }

    function test_a_permit_that_another_carried_before_does_no_harm() public {
        require(token.transfer(node, LEAST));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(NODE_KEY, permitDigest(LEAST));
        token.permit(node, address(registry), LEAST, START, v, r, s);
        vm.prank(node);
        registry.permitBond(LEAST, START, v, r, s);
        vm.expectRevert(abi.encodeWithSelector(Registry.AllowanceTooSmall.selector, LEAST, uint256(LEAST) + 1));
        vm.prank(node);
        registry.permitBond(uint256(LEAST) + 1, START, v, r, s);
    }

    function permit(uint256 amount) internal view returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(NODE_KEY, permitDigest(amount));
        return abi.encodeCall(Registry.permitBond, (amount, START, v, r, s));
    }

    function permitDigest(uint256 amount) internal view returns (bytes32) {
        bytes32 kind = keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        bytes32 hash = keccak256(abi.encode(kind, node, address(registry), amount, uint256(0), START));
        return keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), hash));
    }

    function testFuzz_bond_leaves_only_after_the_unbonding_period(uint96 amount, uint40 wait) public {
        join(node, 1, 10 * LEAST);
        amount = uint96(bound(amount, 1, 9 * LEAST));
        wait = uint40(bound(wait, 0, 14 days));
        vm.prank(node);
        registry.startUnbond(amount);
        vm.assertEq(registry.node(node).bond, 10 * LEAST - amount, "bond");
        vm.warp(START + wait);
        if (wait < 7 days) {
            vm.expectRevert(abi.encodeWithSelector(Bonds.StillUnbonding.selector, uint40(START + 7 days)));
        }
        vm.prank(node);
        registry.withdrawBond();
        uint256 got = wait < 7 days ? 0 : amount;
        vm.assertEq(token.balanceOf(node), got, "withdrawn");
        vm.assertEq(token.balanceOf(address(registry)), 10 * LEAST - got, "tokens conserve");
    }

    function test_unbonding_everything_leaves_the_registry_and_one_may_come_back() public {
        join(node, 2, LEAST);
        vm.prank(node);
        registry.startUnbond(LEAST);
        vm.assertEq(registry.node(node).roles, 0, "left");
        join(node, 2, 2 * LEAST);
        vm.assertEq(registry.node(node).bond, 2 * LEAST, "bond");
        vm.assertEq(registry.node(node).unbonding, LEAST, "still on its way");
        vm.warp(START + 7 days);
        vm.prank(node);
        registry.withdrawBond();
        vm.assertEq(token.balanceOf(node), LEAST, "withdrawn");
        vm.expectRevert(abi.encodeWithSelector(Bonds.NothingToWithdraw.selector));
        vm.prank(node);
        registry.withdrawBond();
    }

    function test_a_part_must_leave_the_least_bond_and_not_more_leaves_than_there_is() public {
        join(node, 2, 2 * LEAST);
        vm.expectRevert(abi.encodeWithSelector(Bonds.BondTooLow.selector, LEAST - 1, LEAST));
        vm.prank(node);
        registry.startUnbond(LEAST + 1);
        vm.expectRevert(abi.encodeWithSelector(Bonds.BondTooSmall.selector, 2 * LEAST, 2 * LEAST + 1));
        vm.prank(node);
        registry.startUnbond(2 * LEAST + 1);
        vm.expectRevert(abi.encodeWithSelector(Bonds.NoAmount.selector));
        vm.prank(node);
        registry.startUnbond(0);
    }

    function test_a_higher_least_bond_lets_a_node_work_on_leave_and_publish_only_with_more() public {
        join(node, 2, LEAST);
        vm.prank(GOVERNOR);
        parameters.set(MIN_BOND, 3 * LEAST);
        vm.assertEq(registry.node(node).roles, 2, "still there");
        vm.expectRevert(abi.encodeWithSelector(Bonds.BondTooLow.selector, LEAST, 3 * LEAST));
        vm.prank(node);
        registry.update(2, "", TLS_KEY);
        vm.prank(node);
        registry.startUnbond(LEAST);
        vm.assertEq(registry.node(node).unbonding, LEAST, "on its way");
    }

    function test_a_node_slashed_below_the_least_bond_has_left_and_comes_back_with_more() public {
        join(node, 3, LEAST);
        slash(node, 1);
        vm.assertEq(registry.node(node).roles, 0, "left");
        vm.expectRevert(abi.encodeWithSelector(Bonds.BondTooLow.selector, LEAST - 1, LEAST));
        vm.prank(node);
        registry.update(3, "", TLS_KEY);
        give(node, 1);
        vm.prank(node);
        registry.addBond(1);
        vm.prank(node);
        registry.update(3, "", TLS_KEY);
        vm.assertEq(registry.node(node).roles, 3, "back");
    }

    function test_what_is_left_of_a_slashed_bond_can_be_taken_out_in_parts() public {
        join(node, 3, LEAST);
        slash(node, LEAST / 2);
        vm.prank(node);
        registry.startUnbond(1);
        vm.prank(node);
        registry.startUnbond(LEAST / 2 - 1);
        vm.warp(START + 7 days);
        vm.prank(node);
        registry.withdrawBond();
        vm.assertEq(token.balanceOf(node), LEAST / 2, "withdrawn");
    }

    function test_a_commission_is_free_before_joining_falls_at_once_and_rises_with_notice() public {
        commission(5000);
        join(node, 1, LEAST);
        commission(1000);
        vm.assertEq(registry.node(node).commission, 1000, "fell");
        vm.expectRevert(abi.encodeWithSelector(Bonds.CommissionRiseTooLarge.selector, 1501, 1500));
        commission(1501);
        commission(1500);
        vm.warp(START + 7 days - 1);
        Registry.NodeView memory n = registry.node(node);
        vm.assertEq(n.commission, 1000, "before");
        vm.assertEq(n.nextCommission, 1500, "announced");
        vm.assertEq(n.nextCommissionAt, START + 7 days, "when");
        vm.warp(START + 7 days);
        n = registry.node(node);
        vm.assertEq(n.commission, 1500, "after");
        vm.assertEq(n.nextCommissionAt, 0, "nothing announced");
        commission(2000);
        vm.assertEq(registry.node(node).commission, 1500, "the next rise waits anew");
        vm.expectRevert(abi.encodeWithSelector(Bonds.CommissionTooHigh.selector, 5001, 5000));
        commission(5001);
    }

    function testFuzz_a_commission_never_rises_without_notice(uint16[8] memory wanted, uint32[8] memory waits) public {
        commission(uint16(bound(wanted[0], 0, 5000)));
        join(node, 1, LEAST);
        uint256 clock = START;
        for (uint256 i = 1; i < 8; ++i) {
            uint256 before = registry.node(node).commission;
            uint16 next = uint16(bound(wanted[i], 0, before + 500 < 5000 ? before + 500 : 5000));
            commission(next);
            vm.assertEq(registry.node(node).commission, next < before ? next : before, "at once");
            uint256 wait = bound(waits[i], 0, 14 days);
            clock += wait;
            vm.warp(clock);
            uint256 then_ = next < before || wait >= 7 days ? next : before;
            vm.assertEq(registry.node(node).commission, then_, "later");
        }
    }

    function test_leaving_does_not_free_the_commission_before_the_bond_is_out() public {
        join(node, 1, LEAST);
        vm.prank(node);
        registry.startUnbond(LEAST);
        vm.expectRevert(abi.encodeWithSelector(Bonds.CommissionRiseTooLarge.selector, 5000, 500));
        commission(5000);
        vm.warp(START + 7 days);
        vm.prank(node);
        registry.withdrawBond();
        commission(5000);
        vm.assertEq(registry.node(node).commission, 5000, "free");
    }

    function commission(uint16 bps) internal {
        vm.prank(node);
        registry.setCommission(bps);
    }

    function test_the_guardian_stops_what_comes_in_and_no_exit() public {
        address who = address(0xDE1);
        join(node, 1, 2 * LEAST);
        delegateTo(node, who, LEAST);
        give(node, LEAST);
        give(who, LEAST);
        vm.prank(GUARDIAN);
        parameters.stopDeposits();
        bytes memory reason = abi.encodeWithSelector(DepositsStopped.selector, uint40(START + 14 days));
        vm.expectRevert(reason);
        vm.prank(node);
        registry.addBond(1);
        vm.expectRevert(reason);
        vm.prank(who);
        registry.delegate(node, 1);
        vm.expectRevert(reason);
        vm.prank(who);
        registry.register(1, "", TLS_KEY, LEAST);

        vm.prank(node);
        registry.startUnbond(2 * LEAST);
        undelegateFrom(node, who, ALL);
        registry.payFees{value: 1 ether}(node);
        vm.prank(node);
        registry.claimFees(node);
        vm.warp(START + 7 days);
        vm.prank(node);
        registry.withdrawBond();
        vm.prank(who);
        registry.withdrawDelegation(node);
        vm.assertEq(token.balanceOf(address(registry)), 0, "all out");
    }
}
