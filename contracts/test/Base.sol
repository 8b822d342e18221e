// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IFeePool} from "../src/IFeePool.sol";
import {Parameters} from "../src/Parameters.sol";
import {TicketBroker} from "../src/TicketBroker.sol";

/// @notice The cheat codes that these tests use, of the many that forge has.
interface Vm {
    struct Wallet {
        address addr;
        uint256 publicKeyX;
        uint256 publicKeyY;
        uint256 privateKey;
    }

    function addr(uint256 privateKey) external pure returns (address);
    function assume(bool condition) external pure;
    function chainId(uint256 id) external;
    function createWallet(uint256 privateKey) external returns (Wallet memory);
    function deal(address who, uint256 balance) external;
    function expectEmit(address emitter) external;
    function expectRevert(bytes calldata reason) external;
    function prank(address sender) external;
    function revertToState(uint256 snapshot) external returns (bool);
    function setEvmVersion(string calldata version) external;
    function sign(uint256 privateKey, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function snapshotGasLastCall(string calldata group, string calldata name) external returns (uint256 gas);
    function snapshotState() external returns (uint256 snapshot);
    function warp(uint256 timestamp) external;
    function assertEq(uint256 a, uint256 b, string calldata reason) external pure;
    function assertEq(address a, address b, string calldata reason) external pure;
    function assertEq(bytes32 a, bytes32 b, string calldata reason) external pure;
    function assertEq(string calldata a, string calldata b) external pure;
    function assertLe(uint256 a, uint256 b, string calldata reason) external pure;
    function assertTrue(bool a, string calldata reason) external pure;
}

/// @notice A registry as far as the broker sees one: who has delegators is set by hand, and what comes in is counted.
contract Pool is IFeePool {
    mapping(address => uint256) public delegated;
    mapping(address => uint256) public received;

    function setDelegated(address node, uint256 amount) external {
        delegated[node] = amount;
    }

    function payFees(address node) external payable {
        received[node] += msg.value;
    }
}

/// @notice What every test of the broker needs: a clock, keys, and a hand that signs tickets.
abstract contract Base {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    /// @notice Order of secp256k1: private keys and s live below it.
    uint256 internal constant ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
    /// @notice 08:00 UTC.
    uint256 internal constant START = 1_800_000_000;
    uint64 internal constant ALWAYS = type(uint64).max;
    uint96 internal constant FACE = 0.001 ether;

    address internal constant GOVERNOR = address(0x60);
    address internal constant GUARDIAN = address(0x6A);
    address internal constant TREASURY = address(0x7E);

    Parameters internal parameters;
    Pool internal pool;
    TicketBroker internal broker;

    function deployBroker() internal {
        vm.warp(START);
        parameters = new Parameters(GOVERNOR, GUARDIAN, TREASURY);
        pool = new Pool();
        broker = new TicketBroker(parameters, pool);
    }

    function bound(uint256 x, uint256 low, uint256 high) internal pure returns (uint256) {
        return low + x % (high - low + 1);
    }

    function nonceAt(uint256 time, uint256 counter) internal pure returns (uint64) {
        return uint64(time << 24 | counter);
    }

    /// @notice A ticket that wins but for one draw in 2^64, with all of its random words derived from its nonce.
    function winning(address payer, address payee, uint64 nonce)
        internal
        pure
        returns (TicketBroker.Ticket memory ticket, bytes32 payeeRand)
    {
        payeeRand = keccak256(abi.encode("payee", payer, payee, nonce));
        ticket = TicketBroker.Ticket({
            payer: payer,
            payee: payee,
            faceValue: FACE,
            winProb: ALWAYS,
            nonce: nonce,
            expiry: uint40((nonce >> 24) + 24 hours),
            payeeCommit: keccak256(abi.encode(payeeRand)),
            payerRand: keccak256(abi.encode("payer", nonce)),
            workHash: keccak256(abi.encode("work", nonce))
        });
    }

    function packed(TicketBroker.Ticket memory t) internal pure returns (uint256) {
        uint256 life = t.expiry - (t.nonce >> 24);
        return uint256(t.faceValue) << 160 | uint256(t.winProb) << 96 | uint256(t.nonce) << 32 | life;
    }

    function seal(uint256 key, TicketBroker.Ticket memory ticket, bytes32 payeeRand)
        internal
        view
        returns (TicketBroker.Winner memory)
    {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, broker.digest(ticket));
        return TicketBroker.Winner({
            terms: packed(ticket),
            payeeRand: payeeRand,
            payerRand: ticket.payerRand,
            workHash: ticket.workHash,
            r: r,
            vs: bytes32(uint256(s) | uint256(v - 27) << 255)
        });
    }

    function winner(uint256 key, address payee, uint64 nonce) internal view returns (TicketBroker.Winner memory) {
        return winnerBy(key, vm.addr(key), payee, nonce);
    }

    /// @notice A winner that another key than the payer's signed.
    function winnerBy(uint256 key, address payer, address payee, uint64 nonce)
        internal
        view
        returns (TicketBroker.Winner memory)
    {
        (TicketBroker.Ticket memory ticket, bytes32 payeeRand) = winning(payer, payee, nonce);
        return seal(key, ticket, payeeRand);
    }

    function batchOf(address payer, address payee, TicketBroker.Winner[] memory winners)
        internal
        pure
        returns (TicketBroker.Batch[] memory batches)
    {
        batches = new TicketBroker.Batch[](1);
        batches[0] = TicketBroker.Batch(payer, payee, winners);
    }
}

/// @notice One payer, one payee, one ether locked between them.
abstract contract PairBase is Base {
    uint256 constant PAYER_KEY = 0xB0B;
    uint256 constant SESSION_KEY = 0x5E55;
    address payer = vm.addr(PAYER_KEY);
    address session = vm.addr(SESSION_KEY);
    address payee = address(0xA11CE);
    address stranger = address(0x57A6);
    uint64 first = nonceAt(START, 0);

    function setUp() public virtual {
        deployBroker();
        vm.deal(payer, 100 ether);
        vm.deal(stranger, 100 ether);
        vm.prank(payer);
        broker.fund{value: 1 ether}(payee);
    }

    function redeem(TicketBroker.Winner memory w) internal {
        vm.prank(payee);
        broker.redeem(payer, payee, w);
    }

    function refuse(TicketBroker.Winner memory w, bytes memory reason) internal {
        vm.expectRevert(reason);
        redeem(w);
    }

    /// @dev The recovered address is anyone's: only the error's name is asserted.
    function refuseSigner(TicketBroker.Winner memory w) internal {
        vm.prank(payee);
        (bool done, bytes memory reason) = address(broker).call(abi.encodeCall(TicketBroker.redeem, (payer, payee, w)));
        vm.assertTrue(!done, "redeemed");
        vm.assertEq(bytes32(bytes4(reason)), bytes32(TicketBroker.WrongSigner.selector), "reason");
    }
}
