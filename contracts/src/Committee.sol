// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {
    CHECKER_FINE,
    COMMITTEE_SIZE,
    DISPUTE_DEPOSIT,
    IParameters,
    PERCEPTUAL_BPS,
    VOTE_WINDOW
} from "./IParameters.sol";
import {MillraceToken} from "./MillraceToken.sol";
import {Registry} from "./Registry.sol";

/// @title Committee: bonded checkers find whether disputed renditions look like their source
/// @notice Conformant decoding is exact to the sample, so a pinned program of integers only gives every checker the same finding on the
/// same bytes. A dispute names the hash of that program and of the evidence. A committee is drawn among the checkers who had enlisted
/// before the dispute; each commits to its finding, then reveals it. Two thirds of those drawn for Fail slash the worker; otherwise
/// the opener's deposit is the worker's and the checkers'. Whoever does not reveal, or stands against two thirds, is fined, out of what
/// is its own: delegators do not vote. The checkers of the majority are paid alike for each finding.
/// Every call is O(committee size), however many checkers are enlisted.
///
/// Everything that the draw depends on is settled by the opening, but for the hash of one block: the block DRAW_DELAY after that of the
/// opening, whenever and by whomever `draw` is called. While a dispute waits for its draw, nobody is taken off the list, and who enlists
/// comes after the part of it from which that dispute is drawn; a checker that leaves the registry keeps its place in the draw. So who
/// knows the hash can do nothing about the committee but draw it. Not to draw an unlucky one costs the deposit, and anyone can draw.
/// Who makes that block can still throw it away and try another: on a chain where one party makes all blocks, the draw trusts it. Where
/// the chain's block numbers are not those of its blocks, as with some L2s, the hash must be checked to exist before these contracts go there.
abstract contract Committee {
    using SafeERC20 for MillraceToken;

    /// @notice One in basis points.
    uint256 public constant BPS = 10_000;

    /// @notice Checkers looked at for each seat until a draw gives up: with most of the enlisted ones eligible it never does, and with few
    /// of them the draw's gas stays bounded.
    uint256 public constant PROBES_PER_SEAT = 4;

    /// @notice Blocks from that of the opening to the one whose hash draws the committee: enough that whoever makes the opening's block, or
    /// sees it undone by a short reorganisation, does not know the hash.
    uint256 public constant DRAW_DELAY = 4;

    /// @notice How far a dispute is.
    enum Status {
        None,
        Opened,
        Drawn,
        Failed,
        Dismissed,
        Cancelled
    }

    /// @notice What a checker finds.
    enum Finding {
        None,
        Pass,
        Fail,
        Unavailable
    }

    /// @notice A dispute. Five slots.
    /// @param opener who assigned the work and put the deposit down
    /// @param openedAt unix second
    /// @param seats size of the committee
    /// @param status how far it is
    /// @param worker whose work it is
    /// @param deposit tokens
    /// @param openedIn number of the block of the opening
    /// @param listed how many were on the list then: the committee is drawn from them
    /// @param commitUntil unix second before which votes are committed; 0 until the draw
    /// @param revealUntil unix second before which they are revealed
    /// @param checker hash of the program that decides
    /// @param receipt EIP-712 digest of the worker's receipt
    /// @param evidence keccak256 of what is to be looked at
    struct Dispute {
        // slot 0
        address opener;
        uint40 openedAt;
        uint8 seats;
        Status status;
        // slot 1
        address worker;
        uint96 deposit;
        // slot 2
        uint64 openedIn;
        uint64 listed;
        uint40 commitUntil;
        uint40 revealUntil;
        // slots 3 to 5
        bytes32 checker;
        bytes32 receipt;
        bytes32 evidence;
    }

    /// @notice A seat on a committee. One slot.
    /// @param checker who sits there
    /// @param finding what it revealed
    struct Seat {
        address checker;
        Finding finding;
    }

    /// @dev An enlisted checker. One slot.
    /// @param lastDispute the last dispute for which it can be drawn, once it has resigned; 0 before
    struct Member {
        address checker;
        uint64 lastDispute;
    }

    /// @notice Where governed values are read.
    IParameters public immutable parameters;
    /// @notice Where bonds are.
    Registry public immutable registry;
    /// @notice What deposits are in.
    MillraceToken public immutable token;
    /// @dev The registry's constant.
    uint8 private immutable checkerRole;

    /// @notice Hash of the program by which new disputes are decided.
    bytes32 public checker;
    /// @notice How many disputes were opened; the last one's number.
    uint256 public disputeCount;

    /// @notice How many disputes wait for their draw. The list does not get shorter while there is one.
    uint256 public undrawn;

    Member[] private members;
    /// @dev Position in `members`, plus one.
    mapping(address who => uint256) private position;
    mapping(uint256 id => Dispute) private disputes;
    mapping(uint256 id => Seat[]) private committees;
    /// @notice What a checker committed to in a dispute.
    mapping(uint256 id => mapping(address who => bytes32)) public commitment;
    /// @notice Disputes by the receipt that they are about, unless they were cancelled: there is one for each.
    mapping(bytes32 receipt => uint256 id) public disputeOf;

    /// @notice New disputes are decided by another program.
    /// @param checker its hash
    event CheckerChanged(bytes32 checker);
    /// @notice A checker may be drawn for disputes that are opened from now on.
    /// @param who the checker
    event Enlisted(address indexed who);
    /// @notice A checker is drawn for no later dispute. Seats that it has, it keeps, and those of disputes that wait for their draw.
    /// @param who the checker
    event Resigned(address indexed who);
    /// @notice A dispute was opened.
    /// @param id its number
    /// @param opener who assigned the work
    /// @param worker who did it
    /// @param receipt EIP-712 digest of the worker's receipt
    /// @param checker hash of the program that decides
    /// @param evidence keccak256 of what is to be looked at
    /// @param uri where that is
    /// @param deposit tokens
    event Opened(
        uint256 indexed id,
        address indexed opener,
        address indexed worker,
        bytes32 receipt,
        bytes32 checker,
        bytes32 evidence,
        string uri,
        uint96 deposit
    );
    /// @notice A committee was drawn.
    /// @param id the dispute
    /// @param committee who sits on it
    /// @param commitUntil unix second before which votes are committed
    /// @param revealUntil unix second before which they are revealed
    event Drawn(uint256 indexed id, address[] committee, uint40 commitUntil, uint40 revealUntil);
    /// @notice No committee came about; the dispute may be opened anew.
    /// @param id the dispute
    /// @param refunded tokens that went back to the opener: the deposit when there were too few checkers, nothing when nobody drew in time
    event Cancelled(uint256 indexed id, uint256 refunded);
    /// @notice A checker committed to a finding.
    /// @param id the dispute
    /// @param who the checker
    /// @param commitment keccak256(id, who, finding, salt)
    event Voted(uint256 indexed id, address indexed who, bytes32 commitment);
    /// @notice A checker revealed its finding.
    /// @param id the dispute
    /// @param who the checker
    /// @param finding what it found
    event FindingRevealed(uint256 indexed id, address indexed who, Finding finding);
    /// @notice A checker was fined: it did not reveal, or stood against two thirds.
    /// @param id the dispute
    /// @param who the checker
    /// @param taken tokens
    event CheckerFined(uint256 indexed id, address indexed who, uint96 taken);
    /// @notice A dispute is over.
    /// @param id its number
    /// @param status Failed or Dismissed
    /// @param slashed tokens taken from the worker
    /// @param toWorker tokens of the deposit for the worker; with none, the opener got all of it back but for what checkers got
    /// @param toEachChecker tokens for each checker in the majority, of the prover's part of the slash and of the deposit
    event Settled(uint256 indexed id, Status status, uint256 slashed, uint256 toWorker, uint256 toEachChecker);

    /// @notice Only the governor names another program.
    error NotGovernor(address sender);
    /// @notice The node is not registered as a checker.
    error NotChecker(address who);
    /// @notice The checker is enlisted already.
    error AlreadyEnlisted(address who);
    /// @notice The checker is not enlisted.
    error NotEnlisted(address who);
    /// @notice It is a checker, and has not resigned: only it can take itself off the list.
    error StillChecker(address who);
    /// @notice It has resigned, and leaves the list once no dispute waits for its draw.
    error ListFrozen(address who, uint256 undrawn);
    /// @notice No program is named by which disputes are decided.
    error NoChecker();
    /// @notice Fewer checkers are enlisted than a committee has seats.
    error TooFewCheckers(uint256 enlisted, uint256 seats);
    /// @notice There is a dispute about this receipt.
    error AlreadyDisputed(bytes32 receipt, uint256 id);
    /// @notice The dispute is not in the state in which this can be done.
    error WrongStatus(uint256 id, Status status);
    /// @notice The committee is drawn in a later block than `drawBlock`, whose hash draws it.
    error TooEarlyToDraw(uint256 id, uint256 drawBlock);
    /// @notice The sender has no seat on the committee.
    error NotSeated(uint256 id, address who);
    /// @notice The commitment is zero.
    error NoCommitment();
    /// @notice A checker votes once.
    error AlreadyVoted(uint256 id, address who);
    /// @notice Votes were due before.
    error VotingOver(uint256 id, uint40 commitUntil);
    /// @notice Findings are revealed from `from` on, and before `until`.
    error NotRevealTime(uint256 id, uint40 from, uint40 until);
    /// @notice Not a finding, or not what was committed to.
    error WrongReveal(uint256 id, address who);
    /// @notice Findings can still be revealed.
    error TooEarlyToSettle(uint256 id, uint40 revealUntil);

    /// @param parameters_ where governed values are read
    /// @param registry_ where bonds are
    /// @param checker_ hash of the checker's program, to begin with
    constructor(IParameters parameters_, Registry registry_, bytes32 checker_) {
        (parameters, registry, token) = (parameters_, registry_, registry_.token());
        checkerRole = registry_.CHECKER();
        _setChecker(checker_);
    }

    /// @notice A dispute's record; all zero when there is none.
    function dispute(uint256 id) external view returns (Dispute memory) {
        return disputes[id];
    }

    /// @notice A dispute's committee and what was revealed; empty until the draw.
    function committee(uint256 id) external view returns (Seat[] memory) {
        return committees[id];
    }

    /// @notice How many are on the list, with those who left it or the registry and were not yet taken off.
    function memberCount() external view returns (uint256) {
        return members.length;
    }

    /// @notice Whether `who` is enlisted.
    function isMember(address who) external view returns (bool) {
        uint256 place = position[who];
        return place != 0 && members[place - 1].lastDispute == 0;
    }

    /// @notice What `who` votes with: a finding under a salt, bound to the dispute and to the checker, so that nobody can copy it.
    function commitmentOf(uint256 id, address who, Finding finding, bytes32 salt) public pure returns (bytes32) {
        return keccak256(abi.encode(id, who, finding, salt));
    }

    /// @notice Names the program by which disputes that are opened from now on are decided. Only the governor can.
    function setChecker(bytes32 checker_) external {
        if (msg.sender != parameters.governor()) revert NotGovernor(msg.sender);
        _setChecker(checker_);
    }

    /// @notice Enlists the sender, a registered checker, for the committees of later disputes.
    function enlist() external {
        if (!_isChecker(msg.sender)) revert NotChecker(msg.sender);
        uint256 place = position[msg.sender];
        if (place != 0) {
            if (members[place - 1].lastDispute == 0) revert AlreadyEnlisted(msg.sender);
            _remove(place);
        }
        members.push(Member(msg.sender, 0));
        position[msg.sender] = members.length;
        emit Enlisted(msg.sender);
    }

    /// @notice Ends the sender's service: it is drawn for no dispute that is opened from now on. Seats that it has, it keeps, and it can
    /// still be drawn for disputes that wait for their draw: else who knows a hash could change the list under it.
    function resign() external {
        uint256 place = position[msg.sender];
        // slither-disable-next-line incorrect-equality (a position, not a balance)
        if (place == 0) revert NotEnlisted(msg.sender);
        _resign(place);
    }

    /// @notice Takes off the list who is a checker no more, or has resigned. Anyone may call: what is left of those whose bonds are gone
    /// would make draws fail.
    function evict(address who) external {
        uint256 place = position[who];
        // slither-disable-next-line incorrect-equality (a position, not a balance)
        if (place == 0) revert NotEnlisted(who);
        if (members[place - 1].lastDispute == 0 && _isChecker(who)) revert StillChecker(who);
        _resign(place);
    }

    /// @notice Draws the committee of a dispute. Anyone may call, in any block after the one DRAW_DELAY after the opening's, and should while
    /// the chain knows the hash of that one, for 256 blocks. Afterwards the dispute is cancelled and the deposit lost, half of it burned and
    /// half the treasury's: not to draw an unlucky committee must cost as much as to lose. With too few checkers the dispute is cancelled
    /// and the deposit goes back.
    function draw(uint256 id) external {
        Dispute storage d = disputes[id];
        if (d.status != Status.Opened) revert WrongStatus(id, d.status);
        uint256 drawBlock = d.openedIn + DRAW_DELAY;
        if (block.number <= drawBlock) revert TooEarlyToDraw(id, drawBlock);
        --undrawn;
        bytes32 beacon = blockhash(drawBlock);
        if (beacon == 0) {
            _cancel(id, d, 0);
            // The caller gets nothing of it: the caller may be the opener.
            uint256 burned = d.deposit / 2;
            token.burn(burned);
            token.safeTransfer(parameters.treasury(), d.deposit - burned);
            return;
        }
        address[] memory drawn = _draw(id, d, keccak256(abi.encode(beacon, address(this), id)));
        if (drawn.length < d.seats) {
            _cancel(id, d, d.deposit);
            token.safeTransfer(d.opener, d.deposit);
            return;
        }
        for (uint256 i = 0; i < drawn.length; ++i) {
            committees[id].push(Seat(drawn[i], Finding.None));
        }
        uint40 window = uint40(parameters.get(VOTE_WINDOW));
        d.status = Status.Drawn;
        d.commitUntil = uint40(block.timestamp) + window;
        d.revealUntil = d.commitUntil + window;
        emit Drawn(id, drawn, d.commitUntil, d.revealUntil);
    }

    /// @notice Commits to a finding: see `commitmentOf`.
    function vote(uint256 id, bytes32 commitment_) external {
        Dispute storage d = disputes[id];
        if (d.status != Status.Drawn) revert WrongStatus(id, d.status);
        if (block.timestamp >= d.commitUntil) revert VotingOver(id, d.commitUntil);
        if (commitment_ == 0) revert NoCommitment();
        _seat(id);
        if (commitment[id][msg.sender] != 0) revert AlreadyVoted(id, msg.sender);
        commitment[id][msg.sender] = commitment_;
        emit Voted(id, msg.sender, commitment_);
    }

    /// @notice Reveals the finding that was committed to.
    function reveal(uint256 id, Finding finding, bytes32 salt) external {
        Dispute storage d = disputes[id];
        if (d.status != Status.Drawn) revert WrongStatus(id, d.status);
        if (block.timestamp < d.commitUntil || block.timestamp >= d.revealUntil) {
            revert NotRevealTime(id, d.commitUntil, d.revealUntil);
        }
        Seat storage seat = _seat(id);
        bytes32 expected = commitmentOf(id, msg.sender, finding, salt);
        if (finding == Finding.None || commitment[id][msg.sender] != expected) revert WrongReveal(id, msg.sender);
        delete commitment[id][msg.sender];
        seat.finding = finding;
        emit FindingRevealed(id, msg.sender, finding);
    }

    /// @notice Ends a dispute once the time to reveal is over. Anyone may call, and is the prover of the checkers' fines.
    function settle(uint256 id) external {
        Dispute storage d = disputes[id];
        if (d.status != Status.Drawn) revert WrongStatus(id, d.status);
        if (block.timestamp < d.revealUntil) revert TooEarlyToSettle(id, d.revealUntil);
        Seat[] memory seats = committees[id];
        (uint256[4] memory count, uint256 best, uint256 winners) = _tally(seats);
        bool decided = best * 3 >= seats.length * 2;
        bool failed = decided && count[uint256(Finding.Fail)] == best;
        d.status = failed ? Status.Failed : Status.Dismissed;

        // The prover's part of the slash comes here, with the deposit: the checkers are paid of both before the opener is.
        uint256 purse = token.balanceOf(address(this));
        uint256 slashed = failed ? _slashOwn(d.worker, parameters.get(PERCEPTUAL_BPS), address(this)) : 0;
        purse = token.balanceOf(address(this)) - purse + d.deposit;
        // The same for every finding: a checker that is paid for Pass alone would say Pass without looking.
        uint256 toEach = winners == 0 ? 0 : d.deposit / (2 * winners);
        // The worker gets what the division leaves.
        // slither-disable-next-line divide-before-multiply
        uint256 toWorker = failed || toEach == 0 ? 0 : d.deposit - toEach * winners;
        // The registry calls nobody but the token, and the dispute is over; so it is with the fines below.
        // slither-disable-next-line reentrancy-events
        emit Settled(id, d.status, slashed, toWorker, toEach);

        uint256 fine = parameters.get(CHECKER_FINE);
        for (uint256 i = 0; i < seats.length; ++i) {
            (address who, Finding finding) = (seats[i].checker, seats[i].finding);
            bool atTop = finding != Finding.None && count[uint256(finding)] == best;
            if (finding == Finding.None || (decided && !atTop)) {
                // As many calls as there are seats, 21 at the most.
                // slither-disable-next-line calls-loop,reentrancy-events
                emit CheckerFined(id, who, _fine(who, fine));
            }
            if (atTop && toEach != 0) {
                purse -= toEach;
                token.safeTransfer(who, toEach);
            }
        }
        token.safeTransfer(toWorker != 0 ? d.worker : d.opener, purse);
    }

    /// @dev Takes the deposit and opens a dispute about work that is proved to be the worker's and the sender's.
    function _open(address worker, bytes32 receipt, bytes32 evidence, string calldata uri)
        internal
        returns (uint256 id)
    {
        if (disputeOf[receipt] != 0) revert AlreadyDisputed(receipt, disputeOf[receipt]);
        uint256 seats = parameters.get(COMMITTEE_SIZE);
        if (checker == 0) revert NoChecker();
        if (members.length < seats) revert TooFewCheckers(members.length, seats);
        uint96 deposit = uint96(parameters.get(DISPUTE_DEPOSIT));
        id = ++disputeCount;
        ++undrawn;
        disputeOf[receipt] = id;
        Dispute storage d = disputes[id];
        (d.opener, d.openedAt, d.seats, d.status) = (msg.sender, uint40(block.timestamp), uint8(seats), Status.Opened);
        (d.worker, d.deposit, d.openedIn, d.listed) = (worker, deposit, uint64(block.number), uint64(members.length));
        (d.checker, d.receipt, d.evidence) = (checker, receipt, evidence);
        emit Opened(id, msg.sender, worker, receipt, checker, evidence, uri, deposit);
        token.safeTransferFrom(msg.sender, address(this), deposit);
    }

    /// @dev Fines a checker, and no delegator of it: they did not choose to stay away. They would pay for a checker that sits on more
    /// committees than its bond can answer for, and whoever settles, be it the checker, would be paid for it.
    function _fine(address who, uint256 fine) private returns (uint96) {
        // slither-disable-next-line calls-loop
        return registry.slash(who, uint96(Math.min(fine, registry.ownStake(who))), msg.sender);
    }

    /// @dev Ends a dispute without a committee.
    function _cancel(uint256 id, Dispute storage d, uint256 refunded) private {
        d.status = Status.Cancelled;
        delete disputeOf[d.receipt];
        emit Cancelled(id, refunded);
    }

    /// @dev Takes who is at a place off the list, or when a dispute waits for its draw, marks it to be taken off by `evict`.
    function _resign(uint256 place) private {
        Member storage m = members[place - 1];
        if (m.lastDispute == 0) {
            emit Resigned(m.checker);
            if (undrawn != 0) {
                m.lastDispute = uint64(disputeCount);
                return;
            }
        }
        _remove(place);
    }

    /// @dev The last of the list takes the place.
    function _remove(uint256 place) private {
        address who = members[place - 1].checker;
        if (undrawn != 0) revert ListFrozen(who, undrawn);
        Member memory last = members[members.length - 1];
        members[place - 1] = last;
        position[last.checker] = place;
        members.pop();
        delete position[who];
    }

    /// @dev How often each finding was revealed, how often the most frequent one, and how many stand at the top: with a tie, all who
    /// found one of the most frequent.
    function _tally(Seat[] memory seats) private pure returns (uint256[4] memory count, uint256 best, uint256 winners) {
        for (uint256 i = 0; i < seats.length; ++i) {
            ++count[uint256(seats[i].finding)];
        }
        for (uint256 finding = uint256(Finding.Pass); finding < count.length; ++finding) {
            if (count[finding] > best) (best, winners) = (count[finding], 0);
            if (count[finding] == best) winners += best;
        }
    }

    /// @dev Slashes a part of all that is a node's own, bonded or on its way out: to unbond first does not help.
    /// @param bps the part, in basis points
    function _slashOwn(address node, uint256 bps, address prover) internal returns (uint96 taken) {
        return registry.slash(node, uint96(registry.ownStake(node) * bps / BPS), prover);
    }

    /// @dev Shuffles the list as far as it takes to fill the seats (Fisher and Yates), without writing to it: what was moved is kept in
    /// memory. Returns fewer than the seats when the probes or the list end before.
    function _draw(uint256 id, Dispute storage d, bytes32 seed) private view returns (address[] memory drawn) {
        uint256 left = d.listed;
        uint256 probes = Math.min(d.seats * PROBES_PER_SEAT, left);
        uint256[] memory from = new uint256[](probes);
        uint256[] memory to = new uint256[](probes);
        drawn = new address[](d.seats);
        uint256 filled = 0;
        for (uint256 i = 0; i < probes && filled < drawn.length; ++i) {
            // The seed comes of a block's hash: the title says what that is worth, and why it cannot be chosen.
            // slither-disable-next-line weak-prng
            uint256 place = uint256(keccak256(abi.encode(seed, i))) % left;
            --left;
            Member memory m = members[_moved(from, to, i, place)];
            (from[i], to[i]) = (place, _moved(from, to, i, left));
            bool eligible =
                (m.lastDispute == 0 || id <= m.lastDispute) && m.checker != d.opener && m.checker != d.worker;
            // As many calls as there are probes. Not whether it is a checker now: that can be changed when the hash is known.
            // slither-disable-next-line calls-loop
            if (eligible && registry.wasChecker(m.checker, d.openedAt)) drawn[filled++] = m.checker;
        }
        // The list cannot be shortened otherwise.
        assembly ("memory-safe") {
            mstore(drawn, filled)
        }
    }

    /// @dev What lies at a position after `moves` moves.
    function _moved(uint256[] memory from, uint256[] memory to, uint256 moves, uint256 place)
        private
        pure
        returns (uint256)
    {
        // The last move to a position counts.
        for (uint256 i = moves; i != 0; --i) {
            // slither-disable-next-line incorrect-equality (positions, not balances)
            if (from[i - 1] == place) return to[i - 1];
        }
        return place;
    }

    function _isChecker(address who) private view returns (bool) {
        return registry.rolesOf(who) & checkerRole != 0;
    }

    /// @dev The sender's seat.
    function _seat(uint256 id) private view returns (Seat storage) {
        Seat[] storage seats = committees[id];
        for (uint256 i = 0; i < seats.length; ++i) {
            if (seats[i].checker == msg.sender) return seats[i];
        }
        revert NotSeated(id, msg.sender);
    }

    function _setChecker(bytes32 checker_) private {
        checker = checker_;
        emit CheckerChanged(checker_);
    }
}
