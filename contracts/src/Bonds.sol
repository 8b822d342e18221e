// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {IFeePool} from "./IFeePool.sol";
import {DepositsStopped, IParameters, MIN_BOND} from "./IParameters.sol";
import {MillraceToken} from "./MillraceToken.sol";

/// @title Bonds: what stands behind a node, who earns from it, and how it is slashed
/// @notice A node has a bond of its own and a pool of delegations. A delegation is a number of shares of the pool, bonded or on their
/// way out; both kinds are shares of the same tokens, so a slash is one subtraction from the pool, whatever the number of delegators,
/// and nobody escapes it by undelegating first. Fees are counted per bonded share. No loop, no round, no seat: every call is O(1).
///
/// Rounding: a share is worth tokens / shares of the pool, rounded down, and never more than one unit of the token. What rounding
/// leaves, less than one unit for each exit, belongs to those who stay; the last one out takes all that is there.
/// What is not here: what a node publishes (Registry), and why somebody is slashed (Sampling, Disputes).
abstract contract Bonds is IFeePool {
    using SafeCast for uint256;
    using SafeERC20 for MillraceToken;

    /// @notice One in fixed point, here and wherever else a fraction is kept: fees per share.
    uint256 public constant SCALE = 1e18;

    /// @notice One in basis points: commission and the split of a slash.
    uint256 public constant BPS = 10_000;

    /// @notice Seconds from the start of an exit to the withdrawal, for operators and delegators alike: longer than a dispute over the
    /// last segment takes (two votes of 3 days at the most), so that whoever worked can still be slashed for it.
    uint40 public constant UNBONDING_PERIOD = 7 days;

    /// @notice The most that is delegated to a node, in multiples of its own bond: an operator must stand for what it manages. It
    /// is asked when a delegation comes, never of an exit.
    uint256 public constant MAX_LEVERAGE = 10;

    /// @notice The highest commission, in basis points.
    uint16 public constant MAX_COMMISSION = 5000;

    /// @notice The most that a commission rises at once, in basis points.
    uint16 public constant MAX_COMMISSION_RISE = 500;

    /// @notice Seconds from the notice of a higher commission to its effect: as long as a delegator needs to leave.
    uint40 public constant COMMISSION_NOTICE = 7 days;

    /// @notice The most shares for one unit of the token at which a pool takes delegations: one that was slashed to less than 1/512 has
    /// to be left by all first. With the token's supply below 2^87, this keeps shares below 2^96.
    uint256 public constant MAX_DILUTION = 512;

    /// @notice Parts of a slash, in basis points: burned, and for the prover. The treasury gets the rest. With more for the prover,
    /// slashing oneself would cost too little.
    uint256 public constant BURNED_BPS = 5000;
    /// @notice The prover's part of a slash, in basis points.
    uint256 public constant PROVER_BPS = 3000;

    /// @dev One node. Slot 0 is all that a slash within the own bond writes; slots 0 to 2 are all that a delegation reads.
    struct Stake {
        // slot 0: the operator's own tokens
        uint96 bond;
        uint96 unbonding;
        uint40 withdrawableAt;
        uint8 roles;
        uint16 commission;
        // slot 1: the delegators' tokens and the shares of them, bonded and unbonding together
        uint96 tokens;
        uint96 shares;
        uint16 nextCommission;
        uint40 nextCommissionAt;
        // slot 2: the bonded ones of the shares, and the wei that one of them has earned since the beginning, times SCALE. It cannot
        // overflow: it grows by at most SCALE (below 2^60) for each wei paid in, and there are less than 2^96 wei.
        uint96 bondedShares;
        uint160 feesPerShare;
    }

    /// @dev One delegator at one node, or the operator at its own. A first delegation writes slot 0 only.
    struct Delegation {
        // slot 0: bonded shares, and feesPerShare when their fees were last counted
        uint96 shares;
        uint160 feesPerShare;
        // slot 1: shares on their way out, and wei that were counted and not claimed; commission and the own bond's fees are among
        // them in the operator's own record
        uint96 unbondingShares;
        uint40 withdrawableAt;
        uint96 fees;
    }

    /// @notice What bonds and delegations are in.
    MillraceToken public immutable token;
    /// @notice Where the least bond, the treasury and the guardian's stop are read.
    IParameters public immutable parameters;
    /// @notice One of the two contracts that may slash; both are fixed for ever. A slasher that governance could add would be a way to
    /// take every bond.
    address public immutable sampling;
    /// @notice The other contract that may slash.
    address public immutable disputes;

    /// @dev The record of each node.
    mapping(address node => Stake) internal stakes;
    /// @dev The record of each delegator at each node.
    mapping(address node => mapping(address who => Delegation)) private delegations;

    /// @notice A node's own tokens changed by its own doing; all figures are what is there now.
    /// @param node the node
    /// @param bond bonded tokens
    /// @param unbonding tokens on their way out
    /// @param withdrawableAt unix second from which those can be withdrawn
    event BondChanged(address indexed node, uint96 bond, uint96 unbonding, uint40 withdrawableAt);

    /// @notice A node has no role any more: it took its bond out, or was slashed below the least one.
    /// @param node the node
    event NodeLeft(address indexed node);

    /// @notice Commission now, and the one that follows.
    /// @param node the node
    /// @param commission in basis points, now
    /// @param next in basis points, from `nextAt` on
    /// @param nextAt unix second; 0 when nothing follows
    event CommissionChanged(address indexed node, uint16 commission, uint16 next, uint40 nextAt);

    /// @notice Tokens were delegated.
    /// @param node the node
    /// @param who the delegator
    /// @param amount tokens
    /// @param shares shares of the node's pool that they bought
    event Delegated(address indexed node, address indexed who, uint96 amount, uint96 shares);

    /// @notice A delegation is on its way out.
    /// @param node the node
    /// @param who the delegator
    /// @param amount what the shares are worth now; a slash until the withdrawal makes it less
    /// @param shares shares of the node's pool
    /// @param withdrawableAt unix second from which they can be withdrawn
    event Undelegated(address indexed node, address indexed who, uint96 amount, uint96 shares, uint40 withdrawableAt);

    /// @notice A delegation was paid out.
    /// @param node the node
    /// @param who the delegator
    /// @param amount tokens
    event DelegationWithdrawn(address indexed node, address indexed who, uint96 amount);

    /// @notice Fees were shared out.
    /// @param node the node
    /// @param from who brought them
    /// @param amount wei, all
    /// @param pooled wei of them for the delegators; the rest is the operator's
    event FeesPaid(address indexed node, address indexed from, uint256 amount, uint256 pooled);

    /// @notice Fees were claimed.
    /// @param node the node that earned them
    /// @param who the operator or the delegator who was paid
    /// @param amount wei
    event FeesClaimed(address indexed node, address indexed who, uint256 amount);

    /// @notice A node was slashed: 50 % burned, 30 % to the prover, 20 % to the treasury.
    /// @param node the node
    /// @param slasher Sampling or Disputes
    /// @param prover who gets the prover's part
    /// @param fromBond tokens out of its own bond
    /// @param fromUnbonding tokens out of its own unbonding ones
    /// @param fromDelegated tokens out of its pool, bonded and unbonding shares alike
    event Slashed(
        address indexed node,
        address indexed slasher,
        address indexed prover,
        uint96 fromBond,
        uint96 fromUnbonding,
        uint96 fromDelegated
    );

    /// @notice The amount is zero.
    error NoAmount();
    /// @notice The node has no role, so it takes no delegation.
    error NotRegistered(address node);
    /// @notice A bond would be, or is, below the least one. Take all of it out, or add to it.
    error BondTooLow(uint256 bond, uint256 least);
    /// @notice More is to be taken out than there is.
    error BondTooSmall(uint256 bond, uint256 amount);
    /// @notice More would be delegated to the node than its own bond allows.
    error DelegationTooLarge(address node, uint256 delegated, uint256 limit);
    /// @notice More is to be undelegated than is delegated.
    error DelegationTooSmall(address node, uint256 delegated, uint256 amount);
    /// @notice The pool was slashed to next to nothing, and takes delegations again once everybody has left it.
    error PoolSlashed(address node, uint256 tokens, uint256 shares);
    /// @notice Nothing is on its way out.
    error NothingToWithdraw();
    /// @notice The unbonding period is not over.
    error StillUnbonding(uint40 withdrawableAt);
    /// @notice No fees are there to be claimed.
    error NothingToClaim();
    /// @notice The commission is above the highest one.
    error CommissionTooHigh(uint16 commission, uint16 limit);
    /// @notice The commission would rise by more than is allowed at once.
    error CommissionRiseTooLarge(uint16 commission, uint16 limit);
    /// @notice Only Sampling and Disputes slash.
    error NotSlasher(address sender);
    /// @notice The receiver refused its wei.
    error TransferFailed(address to);

    /// @param token_ what bonds are in
    /// @param parameters_ where governed values are read
    /// @param sampling_ may slash
    /// @param disputes_ may slash
    constructor(MillraceToken token_, IParameters parameters_, address sampling_, address disputes_) {
        (token, parameters, sampling, disputes) = (token_, parameters_, sampling_, disputes_);
    }

    /// @inheritdoc IFeePool
    function delegated(address node) public view returns (uint256) {
        return _worth(stakes[node], stakes[node].bondedShares);
    }

    /// @notice A node's roles, a bit mask; 0 when it is not registered.
    function rolesOf(address node) external view returns (uint8) {
        return stakes[node].roles;
    }

    /// @notice A node's own tokens, bonded or on their way out: what a slash in parts of it counts, since to unbond first must not help.
    function ownStake(address node) external view returns (uint256) {
        return uint256(stakes[node].bond) + stakes[node].unbonding;
    }

    /// @notice The delegators' pool of a node. A share is worth tokens / shares.
    /// @return tokens all delegated tokens, bonded and unbonding
    /// @return shares all shares of them
    /// @return bondedShares those that earn fees
    function pool(address node) external view returns (uint96 tokens, uint96 shares, uint96 bondedShares) {
        Stake storage s = stakes[node];
        return (s.tokens, s.shares, s.bondedShares);
    }

    /// @notice What `who` has at `node`.
    /// @return amount tokens that are bonded, as they are worth now
    /// @return unbonding tokens on their way out, as they are worth now
    /// @return withdrawableAt unix second from which those can be withdrawn; 0 when there are none
    /// @return fees wei that can be claimed; the operator's at its own node are its commission and its bond's share
    function delegation(address node, address who)
        external
        view
        returns (uint96 amount, uint96 unbonding, uint40 withdrawableAt, uint256 fees)
    {
        Stake storage s = stakes[node];
        Delegation storage d = delegations[node][who];
        return (_worth(s, d.shares), _worth(s, d.unbondingShares), d.withdrawableAt, d.fees + _uncounted(s, d));
    }

    /// @notice Adds `amount` tokens to one's own bond.
    function addBond(uint96 amount) external {
        if (amount == 0) revert NoAmount();
        _addBond(amount);
    }

    /// @notice Starts to take `amount` tokens of one's own bond out. The whole bond leaves the registry at once; a part must leave the
    /// least bond, unless the node has left already. Tokens already on their way join in and wait for the new date.
    function startUnbond(uint96 amount) external {
        Stake storage s = stakes[msg.sender];
        if (amount == 0) revert NoAmount();
        if (amount > s.bond) revert BondTooSmall(s.bond, amount);
        uint96 left = s.bond - amount;
        s.bond = left;
        s.unbonding += amount;
        s.withdrawableAt = uint40(block.timestamp) + UNBONDING_PERIOD;
        emit BondChanged(msg.sender, left, s.unbonding, s.withdrawableAt);
        if (left == 0 && s.roles != 0) {
            _leave(msg.sender, s);
        } else if (s.roles != 0) {
            _requireLeastBond(left);
        }
    }

    /// @notice Pays out what has unbonded of one's own bond.
    function withdrawBond() external {
        Stake storage s = stakes[msg.sender];
        uint96 amount = s.unbonding;
        if (amount == 0) revert NothingToWithdraw();
        if (block.timestamp < s.withdrawableAt) revert StillUnbonding(s.withdrawableAt);
        s.unbonding = 0;
        s.withdrawableAt = 0;
        emit BondChanged(msg.sender, s.bond, 0, 0);
        token.safeTransfer(msg.sender, amount);
    }

    /// @notice Sets one's commission, in basis points of all fees. A lower one holds at once; a higher one after COMMISSION_NOTICE and
    /// by at most MAX_COMMISSION_RISE, and replaces one that waits. Free for a node that has nothing in the registry yet: set it
    /// before, or in the same multicall as, `register`.
    function setCommission(uint16 commission) external {
        Stake storage s = stakes[msg.sender];
        if (commission > MAX_COMMISSION) revert CommissionTooHigh(commission, MAX_COMMISSION);
        uint16 current = _commission(s);
        bool isNew = s.bond == 0 && s.unbonding == 0 && s.shares == 0;
        if (commission <= current || isNew) {
            (s.commission, s.nextCommission, s.nextCommissionAt) = (commission, 0, 0);
        } else {
            if (commission > current + MAX_COMMISSION_RISE) {
                revert CommissionRiseTooLarge(commission, current + MAX_COMMISSION_RISE);
            }
            s.commission = current;
            s.nextCommission = commission;
            s.nextCommissionAt = uint40(block.timestamp) + COMMISSION_NOTICE;
        }
        emit CommissionChanged(msg.sender, s.commission, s.nextCommission, s.nextCommissionAt);
    }

    /// @notice Delegates `amount` tokens to a node: they earn its fees and are slashed with it, after its own bond.
    function delegate(address node, uint96 amount) external {
        Stake storage s = stakes[node];
        if (amount == 0) revert NoAmount();
        if (s.roles == 0) revert NotRegistered(node);
        (uint256 tokens, uint256 all, uint256 bonded) = (s.tokens, s.shares, s.bondedShares);
        if (all > tokens * MAX_DILUTION) revert PoolSlashed(node, tokens, all);
        uint256 shares = all == 0 ? amount : amount * all / tokens;
        uint256 sum = (all == 0 ? 0 : bonded * tokens / all) + amount;
        uint256 limit = s.bond * MAX_LEVERAGE;
        if (sum > limit) revert DelegationTooLarge(node, sum, limit);

        Delegation storage d = delegations[node][msg.sender];
        _count(s, d);
        // Below 2^96: see MAX_DILUTION.
        d.shares += uint96(shares);
        s.tokens = uint96(tokens + amount);
        s.shares = uint96(all + shares);
        s.bondedShares = uint96(bonded + shares);
        emit Delegated(node, msg.sender, amount, uint96(shares));
        _receive(amount);
    }

    /// @notice Starts to take `amount` tokens of one's delegation out, type(uint96).max for all of it. They earn nothing from now on and
    /// are slashed like bonded ones until they are withdrawn. Tokens already on their way join in and wait for the new date.
    function undelegate(address node, uint96 amount) external {
        Stake storage s = stakes[node];
        Delegation storage d = delegations[node][msg.sender];
        uint96 shares = d.shares;
        if (amount != type(uint96).max) {
            uint96 worth = _worth(s, shares);
            if (amount > worth) revert DelegationTooSmall(node, worth, amount);
            // Rounded up: just as many shares as are worth `amount`. Not more than there are, since those are worth as much.
            if (amount != 0) shares = uint96(Math.ceilDiv(uint256(amount) * s.shares, s.tokens));
            else shares = 0;
        }
        if (shares == 0) revert NoAmount();
        _count(s, d);
        d.shares -= shares;
        s.bondedShares -= shares;
        d.unbondingShares += shares;
        d.withdrawableAt = uint40(block.timestamp) + UNBONDING_PERIOD;
        emit Undelegated(node, msg.sender, _worth(s, shares), shares, d.withdrawableAt);
    }

    /// @notice Pays out what has unbonded of one's delegation to `node`.
    function withdrawDelegation(address node) external {
        Stake storage s = stakes[node];
        Delegation storage d = delegations[node][msg.sender];
        uint96 shares = d.unbondingShares;
        if (shares == 0) revert NothingToWithdraw();
        if (block.timestamp < d.withdrawableAt) revert StillUnbonding(d.withdrawableAt);
        uint96 amount = _worth(s, shares);
        s.tokens -= amount;
        s.shares -= shares;
        d.unbondingShares = 0;
        d.withdrawableAt = 0;
        emit DelegationWithdrawn(node, msg.sender, amount);
        token.safeTransfer(msg.sender, amount);
    }

    /// @inheritdoc IFeePool
    /// @dev The operator's part is what the pool's leaves, so nothing of the value sent is lost but the rounding of each claim.
    function payFees(address node) external payable {
        Stake storage s = stakes[node];
        uint256 worth = delegated(node);
        // What is on its way out counts: it can still be slashed for the work that these fees are for, and most of what a leaver claims
        // was earned before it left. With nothing of the operator's own there is no measure of what a delegation adds: one unit of the
        // token must not take all that a node has earned, so all is the operator's then.
        uint256 own = uint256(s.bond) + s.unbonding;
        uint256 pooled = 0;
        if (worth != 0 && own != 0) {
            uint256 bonded = s.bondedShares;
            uint256 rest = msg.value - msg.value * _commission(s) / BPS;
            // Below 2^256: wei and tokens are below 2^96 each, SCALE below 2^60.
            uint256 perShare = rest * worth * SCALE / ((own + worth) * bonded);
            // What all shares together can claim of it, so that the claims are covered: not what went into the division.
            // slither-disable-next-line divide-before-multiply
            pooled = Math.ceilDiv(perShare * bonded, SCALE);
            s.feesPerShare += perShare.toUint160();
        }
        delegations[node][node].fees += (msg.value - pooled).toUint96();
        emit FeesPaid(node, msg.sender, msg.value, pooled);
    }

    /// @notice Pays the sender the wei that it earned at `node`, as a delegator or as its operator.
    function claimFees(address node) external {
        Delegation storage d = delegations[node][msg.sender];
        _count(stakes[node], d);
        uint96 amount = d.fees;
        if (amount == 0) revert NothingToClaim();
        d.fees = 0;
        emit FeesClaimed(node, msg.sender, amount);
        // A plain transfer's 2,300 gas would shut contract accounts out; the state is written before.
        (bool paid,) = msg.sender.call{value: amount}("");
        if (!paid) revert TransferFailed(msg.sender);
    }

    /// @notice Takes up to `amount` tokens from a node: its own bond first, then its own unbonding tokens, then its pool. A node left
    /// with less than the least bond has left the registry.
    /// @param prover who gets the prover's part
    /// @return taken tokens; less than `amount` when there is no more
    function slash(address node, uint96 amount, address prover) external returns (uint96 taken) {
        if (msg.sender != sampling && msg.sender != disputes) revert NotSlasher(msg.sender);
        Stake storage s = stakes[node];
        (uint256 bond, uint256 unbonding) = (s.bond, s.unbonding);
        uint256 fromBond = Math.min(amount, bond);
        uint256 fromUnbonding = Math.min(amount - fromBond, unbonding);
        uint256 fromDelegated = amount - fromBond - fromUnbonding;
        s.bond = uint96(bond - fromBond);
        s.unbonding = uint96(unbonding - fromUnbonding);
        if (fromDelegated != 0) {
            uint256 tokens = s.tokens;
            fromDelegated = Math.min(fromDelegated, tokens);
            s.tokens = uint96(tokens - fromDelegated);
        }
        taken = uint96(fromBond + fromUnbonding + fromDelegated);
        emit Slashed(node, msg.sender, prover, uint96(fromBond), uint96(fromUnbonding), uint96(fromDelegated));
        if (s.roles != 0 && bond - fromBond < parameters.get(MIN_BOND)) _leave(node, s);
        if (taken != 0) {
            uint256 burned = taken * BURNED_BPS / BPS;
            uint256 reward = taken * PROVER_BPS / BPS;
            token.burn(burned);
            token.safeTransfer(prover, reward);
            token.safeTransfer(parameters.treasury(), taken - burned - reward);
        }
    }

    /// @dev Takes tokens from the sender into its bond.
    function _addBond(uint96 amount) internal {
        Stake storage s = stakes[msg.sender];
        s.bond += amount;
        emit BondChanged(msg.sender, s.bond, s.unbonding, s.withdrawableAt);
        _receive(amount);
    }

    function _requireLeastBond(uint256 bond) internal view {
        uint256 least = parameters.get(MIN_BOND);
        if (bond < least) revert BondTooLow(bond, least);
    }

    /// @dev Takes all roles from a node.
    function _leave(address node, Stake storage s) private {
        _rolesEnd(node, s.roles);
        s.roles = 0;
        emit NodeLeft(node);
    }

    /// @dev Called before a node loses all its roles.
    function _rolesEnd(address node, uint8 roles) internal virtual;

    /// @dev The commission that holds now.
    function _commission(Stake storage s) internal view returns (uint16) {
        bool due = s.nextCommissionAt != 0 && block.timestamp >= s.nextCommissionAt;
        return due ? s.nextCommission : s.commission;
    }

    /// @dev What shares of a pool are worth, rounded down. Not more than the pool has, so it fits.
    function _worth(Stake storage s, uint96 shares) internal view returns (uint96) {
        uint256 all = s.shares;
        return all == 0 ? 0 : uint96(uint256(shares) * s.tokens / all);
    }

    /// @dev The one way in for tokens, which the guardian can stop for a while.
    function _receive(uint96 amount) private {
        if (parameters.depositsStopped()) revert DepositsStopped(parameters.depositsStoppedUntil());
        token.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @dev Wei that bonded shares have earned since their fees were last counted, rounded down.
    function _uncounted(Stake storage s, Delegation storage d) private view returns (uint256) {
        return uint256(d.shares) * (s.feesPerShare - d.feesPerShare) / SCALE;
    }

    /// @dev To be called before the number of bonded shares changes.
    function _count(Stake storage s, Delegation storage d) private {
        uint256 fees = _uncounted(s, d);
        d.feesPerShare = s.feesPerShare;
        if (fees != 0) d.fees += fees.toUint96();
    }
}
