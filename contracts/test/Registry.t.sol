// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Registry} from "../src/Registry.sol";
import {Base} from "./Base.sol";

contract RegistryTest is Base {
    Registry registry;
    address node = address(0x70DE);
    bytes32 constant KEY = keccak256("a TLS key");

    function setUp() public {
        vm.warp(START);
        registry = new Registry();
        vm.deal(node, 10 ether);
    }

    function join(uint96 bond) internal {
        vm.prank(node);
        registry.register{value: bond}(2, "quic://t1.example:4433", KEY);
    }

    function test_a_node_publishes_roles_address_and_key_behind_a_bond() public {
        join(1 ether);
        Registry.Node memory n = registry.node(node);
        vm.assertEq(n.bond, 1 ether, "bond");
        vm.assertEq(n.roles, registry.TRANSCODER(), "roles");
        vm.assertEq(n.fingerprint, KEY, "key");
        vm.assertEq(keccak256(bytes(n.serviceURI)), keccak256("quic://t1.example:4433"), "uri");
        vm.assertEq(registry.node(address(1)).roles, 0, "stranger");
    }

    function test_a_node_joins_once_and_updates_after() public {
        join(1 ether);
        vm.expectRevert(abi.encodeWithSelector(Registry.AlreadyRegistered.selector, node));
        vm.prank(node);
        registry.register{value: 1 ether}(1, "", KEY);
        vm.prank(node);
        registry.update(3, "quic://moved", bytes32(uint256(1)));
        vm.assertEq(registry.node(node).fingerprint, bytes32(uint256(1)), "key");
        vm.assertEq(registry.node(node).bond, 1 ether, "bond");
    }

    function testFuzz_a_bond_below_the_least_or_unknown_roles_are_refused(uint96 bond, uint8 roles) public {
        bond = uint96(bound(bond, 0, 10 ether));
        if (roles == 0 || roles > 3) {
            vm.expectRevert(abi.encodeWithSelector(Registry.UnknownRoles.selector, roles));
        } else if (bond < 0.01 ether) {
            vm.expectRevert(abi.encodeWithSelector(Registry.BondTooLow.selector, bond, 0.01 ether));
        }
        vm.prank(node);
        registry.register{value: bond}(roles, "", KEY);
    }

    function test_only_a_registered_node_updates_adds_or_unbonds() public {
        bytes memory reason = abi.encodeWithSelector(Registry.NotRegistered.selector, node);
        vm.expectRevert(reason);
        vm.prank(node);
        registry.update(1, "", KEY);
        vm.expectRevert(reason);
        vm.prank(node);
        registry.addBond{value: 1 ether}();
        vm.expectRevert(reason);
        vm.prank(node);
        registry.startUnbond(0);
    }

    function testFuzz_bond_leaves_only_after_the_unbonding_period(uint96 amount, uint40 wait) public {
        join(1 ether);
        amount = uint96(bound(amount, 1, 0.99 ether));
        wait = uint40(bound(wait, 0, 14 days));
        vm.prank(node);
        registry.startUnbond(amount);
        vm.assertEq(registry.node(node).bond, 1 ether - amount, "bond");
        vm.warp(START + wait);
        uint256 before = node.balance;
        if (wait < 7 days) {
            vm.expectRevert(abi.encodeWithSelector(Registry.StillUnbonding.selector, uint40(START + 7 days)));
        }
        vm.prank(node);
        registry.withdrawBond();
        vm.assertEq(node.balance - before, wait < 7 days ? 0 : amount, "withdrawn");
        vm.assertEq(address(registry).balance, 1 ether - (node.balance - before), "funds conserve");
    }

    function test_unbonding_everything_leaves_the_registry_and_one_may_come_back() public {
        join(1 ether);
        vm.prank(node);
        registry.startUnbond(1 ether);
        vm.assertEq(registry.node(node).roles, 0, "left");
        join(2 ether);
        vm.assertEq(registry.node(node).bond, 2 ether, "bond");
        vm.assertEq(registry.node(node).unbonding, 1 ether, "still on its way");
        vm.warp(START + 7 days);
        vm.prank(node);
        registry.withdrawBond();
        vm.assertEq(node.balance, 8 ether, "withdrawn");
        vm.assertEq(address(registry).balance, 2 ether, "bond stays");
    }

    function test_a_part_must_leave_the_least_bond() public {
        join(1 ether);
        vm.expectRevert(abi.encodeWithSelector(Registry.BondTooLow.selector, 0.01 ether - 1, 0.01 ether));
        vm.prank(node);
        registry.startUnbond(0.99 ether + 1);
    }
}
