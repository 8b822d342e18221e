// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Disputes} from "../src/Disputes.sol";
import {MillraceToken} from "../src/MillraceToken.sol";
import {Parameters} from "../src/Parameters.sol";
import {Registry} from "../src/Registry.sol";
import {Sampling} from "../src/Sampling.sol";
import {TicketBroker} from "../src/TicketBroker.sol";
import {Base} from "./Base.sol";

/// @notice The cheat codes about blocks and contract addresses.
interface ChainVm {
    function computeCreateAddress(address deployer, uint256 nonce) external pure returns (address);
    function getNonce(address who) external view returns (uint64);
    function prevrandao(bytes32 value) external;
    function roll(uint256 number) external;
    function setBlockhash(uint256 number, bytes32 hash) external;
}

/// @notice All contracts as they are deployed, and hands that give out tokens, bond, delegate and slash.
abstract contract StakeBase is Base {
    ChainVm internal constant chainVm = ChainVm(address(vm));

    bytes32 internal constant TLS_KEY = keccak256("a TLS key");
    bytes32 internal constant CHECKER_HASH = keccak256("a checker");
    address internal constant PROVER = address(0x9407E4);
    uint96 internal constant LEAST = 100e18;
    uint96 internal constant ALL = type(uint96).max;

    MillraceToken internal token;
    Registry internal registry;
    Sampling internal sampling;
    Disputes internal disputes;

    function deployAll() internal {
        vm.warp(START);
        chainVm.roll(1000);
        token = new MillraceToken(address(this));
        parameters = new Parameters(GOVERNOR, GUARDIAN, TREASURY);
        uint256 nonce = chainVm.getNonce(address(this));
        registry = new Registry(
            token,
            parameters,
            chainVm.computeCreateAddress(address(this), nonce + 2),
            chainVm.computeCreateAddress(address(this), nonce + 3)
        );
        broker = new TicketBroker(parameters, registry);
        sampling = new Sampling(parameters, registry);
        disputes = new Disputes(parameters, registry, broker, CHECKER_HASH);
    }

    function give(address who, uint256 amount) internal {
        require(token.transfer(who, amount));
        vm.prank(who);
        token.approve(address(registry), type(uint256).max);
    }

    function join(address node, uint8 roles, uint96 bond) internal {
        give(node, bond);
        vm.prank(node);
        registry.register(roles, "quic://t1.example:4433", TLS_KEY, bond);
    }

    function delegateTo(address node, address who, uint96 amount) internal {
        give(who, amount);
        vm.prank(who);
        registry.delegate(node, amount);
    }

    function undelegateFrom(address node, address who, uint96 amount) internal {
        vm.prank(who);
        registry.undelegate(node, amount);
    }

    function slash(address node, uint96 amount) internal returns (uint96) {
        vm.prank(address(disputes));
        return registry.slash(node, amount, PROVER);
    }

    /// @notice What a delegator has, bonded and on its way out.
    function stakeOf(address node, address who) internal view returns (uint256) {
        (uint96 amount, uint96 unbonding,,) = registry.delegation(node, who);
        return uint256(amount) + unbonding;
    }

    function feesOf(address node, address who) internal view returns (uint256 fees) {
        (,,, fees) = registry.delegation(node, who);
    }

    function signed(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }
}
