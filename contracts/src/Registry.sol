// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";
import {Bonds} from "./Bonds.sol";
import {IParameters} from "./IParameters.sol";
import {MillraceToken} from "./MillraceToken.sol";

/// @title Registry: who works in the network, where it answers, and what it stands to lose
/// @notice A node puts down a bond and publishes its roles, its service URI and the fingerprint of its TLS key. Peers refuse a
/// connection whose key is not the published one. The money behind it is in Bonds. Several calls in one transaction: `multicall`, for
/// example `permitBond`, `setCommission` and `register`.
contract Registry is Bonds, Multicall {
    /// @notice Role of a node that sells transcoding and answers for its workers. Roles are a bit mask.
    uint8 public constant ORCHESTRATOR = 1;
    /// @notice Role of a node that transcodes.
    uint8 public constant TRANSCODER = 2;
    /// @notice Role of a node that may sit on the committees of Disputes.
    uint8 public constant CHECKER = 4;

    /// @notice The longest service URI, in bytes: a host name of the longest legal kind and a port.
    uint256 public constant MAX_URI_LENGTH = 280;

    /// @notice Seconds for which a node that was a checker, and is none any more, cannot be one again. A committee is drawn from those who
    /// were checkers when its dispute was opened; who could leave and come back before the draw would wipe out the record of that. A
    /// dispute waits at most 260 blocks for its draw, which is less than a day on every chain with blocks shorter than five minutes.
    uint40 public constant CHECKER_PAUSE = 1 days;

    /// @notice A node's whole record.
    /// @param bond tokens of its own that stand behind its work
    /// @param unbonding tokens of its own on their way out
    /// @param withdrawableAt unix second from which those can be withdrawn; 0 when none are on their way
    /// @param delegated tokens delegated to it and bonded
    /// @param delegatedUnbonding tokens delegated to it and on their way out
    /// @param commission its part of all fees before they are shared, in basis points
    /// @param nextCommission the commission that was announced, in basis points
    /// @param nextCommissionAt unix second from which that one holds; 0 when none was announced
    /// @param roles bit mask of ORCHESTRATOR, TRANSCODER and CHECKER; 0 when the node is not registered
    /// @param fingerprint keccak256 of the TLS key's SubjectPublicKeyInfo in DER
    /// @param serviceURI where the node answers
    struct NodeView {
        uint96 bond;
        uint96 unbonding;
        uint40 withdrawableAt;
        uint96 delegated;
        uint96 delegatedUnbonding;
        uint16 commission;
        uint16 nextCommission;
        uint40 nextCommissionAt;
        uint8 roles;
        bytes32 fingerprint;
        string serviceURI;
    }

    /// @dev What a node publishes, besides its roles.
    struct Publication {
        bytes32 fingerprint;
        string serviceURI;
    }

    /// @dev A node's latest time as a checker, in unix seconds. `until` is 0 while it goes on.
    struct Term {
        uint40 since;
        uint40 until;
    }

    /// @dev Written only by nodes that take or lose the role of a checker.
    mapping(address node => Term) private terms;
    /// @dev Kept when a node leaves, so that `update` alone brings it back.
    mapping(address node => Publication) private publications;

    /// @notice A node published itself, or published something new.
    /// @param node the node
    /// @param roles bit mask
    /// @param fingerprint keccak256 of the TLS key's SubjectPublicKeyInfo in DER
    /// @param serviceURI where it answers
    event NodeUpdated(address indexed node, uint8 roles, bytes32 fingerprint, string serviceURI);

    /// @notice Registered nodes use `update` and `addBond`.
    error AlreadyRegistered(address node);
    /// @notice No role, or one that does not exist.
    error UnknownRoles(uint8 roles);
    /// @notice The service URI is too long.
    error UriTooLong(uint256 length, uint256 limit);
    /// @notice The node was a checker until lately: see CHECKER_PAUSE.
    error CheckerTooSoon(address node, uint40 from);
    /// @notice The permit was refused, and what is allowed without it does not suffice.
    error AllowanceTooSmall(uint256 allowance, uint256 amount);

    /// @param token_ what bonds are in
    /// @param parameters_ where governed values are read
    /// @param sampling_ may slash
    /// @param disputes_ may slash
    constructor(MillraceToken token_, IParameters parameters_, address sampling_, address disputes_)
        Bonds(token_, parameters_, sampling_, disputes_)
    {}

    /// @notice The node's whole record; all zero for a stranger.
    function node(address who) external view returns (NodeView memory) {
        Stake storage s = stakes[who];
        uint96 bonded = _worth(s, s.bondedShares);
        uint16 commission = _commission(s);
        bool waiting = block.timestamp < s.nextCommissionAt;
        return NodeView({
            bond: s.bond,
            unbonding: s.unbonding,
            withdrawableAt: s.withdrawableAt,
            delegated: bonded,
            delegatedUnbonding: s.tokens - bonded,
            commission: commission,
            nextCommission: waiting ? s.nextCommission : 0,
            nextCommissionAt: waiting ? s.nextCommissionAt : 0,
            roles: s.roles,
            fingerprint: publications[who].fingerprint,
            serviceURI: publications[who].serviceURI
        });
    }

    /// @notice Joins with `bond` tokens, or comes back with as many more.
    function register(uint8 roles, string calldata serviceURI, bytes32 fingerprint, uint96 bond) external {
        if (stakes[msg.sender].roles != 0) revert AlreadyRegistered(msg.sender);
        _addBond(bond);
        update(roles, serviceURI, fingerprint);
    }

    /// @notice Publishes new roles, URI and fingerprint; the bond stays and must be the least one of the day. This is also how a node
    /// comes back that was slashed below it and has added to its bond.
    function update(uint8 roles, string calldata serviceURI, bytes32 fingerprint) public {
        Stake storage s = stakes[msg.sender];
        _requireLeastBond(s.bond);
        if (roles == 0 || roles > (ORCHESTRATOR | TRANSCODER | CHECKER)) revert UnknownRoles(roles);
        if (bytes(serviceURI).length > MAX_URI_LENGTH) revert UriTooLong(bytes(serviceURI).length, MAX_URI_LENGTH);
        bool was = s.roles & CHECKER != 0;
        if (roles & CHECKER != 0 && !was) _termBegins();
        else if (roles & CHECKER == 0 && was) terms[msg.sender].until = uint40(block.timestamp);
        s.roles = roles;
        publications[msg.sender] = Publication(fingerprint, serviceURI);
        emit NodeUpdated(msg.sender, roles, fingerprint, serviceURI);
    }

    /// @notice Whether `who` became a checker before the second `time` and had not stopped before it. So the answer for the running second
    /// and those before is the same for CHECKER_PAUSE, whatever the node does.
    function wasChecker(address who, uint40 time) external view returns (bool) {
        Term storage t = terms[who];
        return t.since != 0 && t.since < time && (t.until == 0 || t.until >= time);
    }

    /// @notice Allows this contract `amount` of the sender's tokens by a signed permit, for a `multicall` that needs no earlier
    /// transaction. A permit that somebody else has already carried to the token does no harm.
    function permitBond(uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external {
        try token.permit(msg.sender, address(this), amount, deadline, v, r, s) {}
        catch {
            uint256 allowance = token.allowance(msg.sender, address(this));
            if (allowance < amount) revert AllowanceTooSmall(allowance, amount);
        }
    }

    /// @dev The sender becomes a checker.
    function _termBegins() private {
        Term storage t = terms[msg.sender];
        if (t.until != 0 && block.timestamp < t.until + CHECKER_PAUSE) {
            revert CheckerTooSoon(msg.sender, t.until + CHECKER_PAUSE);
        }
        (t.since, t.until) = (uint40(block.timestamp), 0);
    }

    /// @inheritdoc Bonds
    function _rolesEnd(address who, uint8 roles) internal override {
        if (roles & CHECKER != 0) terms[who].until = uint40(block.timestamp);
    }
}
