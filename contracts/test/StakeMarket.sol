// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {MillraceToken} from "../src/MillraceToken.sol";
import {Registry} from "../src/Registry.sol";
import {StakeBase} from "./StakeBase.sol";

/// @notice Two operators and four delegators that do at random all that the registry lets them, are slashed at random, and every call of
/// which is held against the rules.
contract StakeMarket is StakeBase {
    address[2] nodes = [address(0x70DE1), address(0x70DE2)];
    address[4] people = [address(0xDE11), address(0xDE12), address(0xDE13), address(0xDE14)];
    uint256 clock = START;

    uint256 public burned;
    uint256 public paidIn;
    uint256 public paidOut;
    /// @notice How often fees were rounded down.
    uint256 public roundings;
    /// @notice Set by the first call after which a rule no longer held.
    string public broken;

    /// @dev Share price before a call, as a fraction.
    uint96[2] private tokensBefore;
    uint96[2] private sharesBefore;

    constructor() {
        deployAll();
        for (uint256 i = 0; i < 2; ++i) {
            give(nodes[i], 10_000_000e18);
            vm.prank(nodes[i]);
            registry.register(1, "", TLS_KEY, 1000e18);
        }
        for (uint256 i = 0; i < 4; ++i) {
            give(people[i], 10_000_000e18);
        }
    }

    function registry_() external view returns (Registry) {
        return registry;
    }

    function token_() external view returns (MillraceToken) {
        return token;
    }

    modifier checked() {
        for (uint256 i = 0; i < 2; ++i) {
            (tokensBefore[i], sharesBefore[i],) = registry.pool(nodes[i]);
        }
        _;
        for (uint256 i = 0; i < 2; ++i) {
            (uint256 tokens, uint256 shares,) = registry.pool(nodes[i]);
            if (tokens > shares) broken = "a share is worth more than one";
            if (shares == 0 || sharesBefore[i] == 0) continue;
            // tokens / shares has risen by less than one unit of the token over all shares.
            if (tokens * sharesBefore[i] >= tokensBefore[i] * shares + sharesBefore[i]) {
                broken = "the share price rose";
            }
        }
    }

    function addBond(uint256 n, uint96 amount) external checked {
        address node = nodes[n % 2];
        amount = uint96(bound(amount, 1, 10_000e18));
        vm.prank(node);
        registry.addBond(amount);
        if (registry.node(node).roles != 0 || registry.node(node).bond < LEAST) return;
        vm.prank(node);
        registry.update(1, "", TLS_KEY);
    }

    function startUnbond(uint256 n, uint96 amount, bool whole) external checked {
        address node = nodes[n % 2];
        uint96 bond = registry.node(node).bond;
        if (bond == 0) return;
        bool left = registry.node(node).roles == 0;
        if (whole || (!left && bond <= LEAST)) amount = bond;
        else amount = uint96(bound(amount, 1, left ? bond : bond - LEAST));
        vm.prank(node);
        registry.startUnbond(amount);
    }

    function withdrawBond(uint256 n) external checked {
        address node = nodes[n % 2];
        Registry.NodeView memory v = registry.node(node);
        if (v.unbonding == 0) return;
        vm.prank(node);
        try registry.withdrawBond() {
            if (clock < v.withdrawableAt) broken = "a bond left before its time";
        } catch {
            if (clock >= v.withdrawableAt) broken = "a bond was held back";
        }
    }

    function setCommission(uint256 n, uint16 bps) external checked {
        address node = nodes[n % 2];
        uint256 most = registry.node(node).commission + 500;
        vm.prank(node);
        registry.setCommission(uint16(bound(bps, 0, most < 5000 ? most : 5000)));
    }

    function delegate(uint256 n, uint256 p, uint96 amount) external checked {
        (address node, address who) = (nodes[n % 2], people[p % 4]);
        Registry.NodeView memory v = registry.node(node);
        (uint256 tokens, uint256 shares,) = registry.pool(node);
        uint256 room = uint256(v.bond) * 10 > v.delegated ? uint256(v.bond) * 10 - v.delegated : 0;
        // One for the rounding of what is delegated.
        if (v.roles == 0 || room < 2 || shares > tokens * 512) return;
        if (room > 100_000e18) room = 100_000e18;
        amount = uint96(bound(amount, 1, room - 1));
        uint256 before = stakeOf(node, who);
        vm.prank(who);
        registry.delegate(node, amount);
        uint256 got = stakeOf(node, who) - before;
        if (got > amount + 1 || got + 2 < amount) broken = "a delegation is not worth what was paid";
        ++roundings;
    }

    function undelegate(uint256 n, uint256 p, uint96 amount, bool whole) external checked {
        (address node, address who) = (nodes[n % 2], people[p % 4]);
        (uint96 bonded, uint96 unbonding,,) = registry.delegation(node, who);
        if (bonded == 0) return;
        amount = uint96(bound(amount, 1, bonded));
        vm.prank(who);
        registry.undelegate(node, whole ? ALL : amount);
        (, uint96 next,,) = registry.delegation(node, who);
        // Rounded once together, where the two were rounded apart.
        uint256 wanted = uint256(unbonding) + (whole ? bonded : amount);
        if (next > wanted + 1 || next < wanted) broken = "another amount is on its way than was asked for";
        ++roundings;
    }

    function withdrawDelegation(uint256 n, uint256 p) external checked {
        (address node, address who) = (nodes[n % 2], people[p % 4]);
        (, uint96 unbonding, uint40 due,) = registry.delegation(node, who);
        if (due == 0) return;
        uint256 before = token.balanceOf(who);
        vm.prank(who);
        try registry.withdrawDelegation(node) {
            if (clock < due) broken = "a delegation left before its time";
            if (token.balanceOf(who) - before != unbonding) broken = "another amount left than was shown";
        } catch {
            if (clock >= due) broken = "a delegation was held back";
        }
    }

    function slashAtRandom(uint256 n, uint96 amount, uint8 depth) external checked {
        address node = nodes[n % 2];
        (uint256 tokens,,) = registry.pool(node);
        uint256 own = uint256(registry.node(node).bond) + registry.node(node).unbonding;
        // Most slashes are small, as they are in life; some reach the pool, few empty it.
        uint256 most = depth < 200 ? own / 10 : depth < 250 ? own + tokens / 3 : 2 * (own + tokens);
        uint96 wanted = uint96(bound(amount, 0, most));
        uint256 supply = token.totalSupply();
        uint256 before = token.balanceOf(address(registry));
        uint256 taken = slash(node, wanted);
        if (taken != (wanted < own + tokens ? wanted : own + tokens)) broken = "a slash did not land in full";
        if (before - token.balanceOf(address(registry)) != taken) broken = "a slash took another amount";
        burned += supply - token.totalSupply();
    }

    function payFees(uint256 n, uint96 amount) external checked {
        amount = uint96(bound(amount, 0, 1000 ether));
        vm.deal(address(this), amount);
        registry.payFees{value: amount}(nodes[n % 2]);
        paidIn += amount;
        roundings += 2;
    }

    function claimFees(uint256 n, uint256 p) external checked {
        (address node, address who) = (nodes[n % 2], p % 5 == 4 ? nodes[n % 2] : people[p % 5]);
        uint256 fees = feesOf(node, who);
        if (fees == 0) return;
        uint256 before = who.balance;
        vm.prank(who);
        registry.claimFees(node);
        if (who.balance - before != fees) broken = "another claim was paid than was shown";
        paidOut += fees;
        ++roundings;
    }

    function pass(uint32 time) external {
        clock += bound(time, 1, 5 days);
        vm.warp(clock);
    }

    /// @notice All tokens and wei that the registry's records show as somebody's.
    function owed() external view returns (uint256 tokens, uint256 fees) {
        for (uint256 n = 0; n < 2; ++n) {
            Registry.NodeView memory v = registry.node(nodes[n]);
            (uint256 pooled,,) = registry.pool(nodes[n]);
            tokens += uint256(v.bond) + v.unbonding + pooled;
            fees += feesOf(nodes[n], nodes[n]);
            for (uint256 p = 0; p < 4; ++p) {
                fees += feesOf(nodes[n], people[p]);
            }
        }
    }

    /// @notice What delegators can take out of a pool, against what is in it.
    function poolOf(uint256 n) external view returns (uint256 worth, uint256 tokens) {
        (tokens,,) = registry.pool(nodes[n]);
        for (uint256 p = 0; p < 4; ++p) {
            worth += stakeOf(nodes[n], people[p]);
        }
    }

    /// @notice In the order of the lists.
    function everybodyLeaves() external {
        for (uint256 n = 0; n < 2; ++n) {
            uint96 bond = registry.node(nodes[n]).bond;
            if (bond != 0) {
                vm.prank(nodes[n]);
                registry.startUnbond(bond);
            }
            for (uint256 p = 0; p < 4; ++p) {
                vm.prank(people[p]);
                // Fails for who has nothing bonded, which is no failure.
                try registry.undelegate(nodes[n], ALL) {} catch {}
            }
        }
        vm.warp(clock + 7 days);
        for (uint256 n = 0; n < 2; ++n) {
            if (registry.node(nodes[n]).unbonding != 0) {
                vm.prank(nodes[n]);
                registry.withdrawBond();
            }
            for (uint256 p = 0; p < 4; ++p) {
                (,, uint40 due,) = registry.delegation(nodes[n], people[p]);
                if (due == 0) continue;
                vm.prank(people[p]);
                registry.withdrawDelegation(nodes[n]);
            }
        }
    }
}
