// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Registry: who works in the network, where it answers, and what it stands to lose
/// @notice An orchestrator or a transcoder puts down a bond in the chain's own coin and publishes its roles, its service URI and the
/// fingerprint of its TLS key. Peers refuse a connection whose key is not the published one. What is not here: delegation and
/// slashing, and any power of anyone over another's bond.
contract Registry {
    /// @notice Roles are a bit mask: a node may have both.
    uint8 public constant ORCHESTRATOR = 1;
    uint8 public constant TRANSCODER = 2;

    /// @notice The least bond, in wei: enough that a thousand sham nodes cost something, little enough for one GPU.
    uint96 public constant MIN_BOND = 0.01 ether;

    /// @notice Seconds between the start of unbonding and the withdrawal: longer than a dispute over the node's last segment can take.
    uint40 public constant UNBONDING_PERIOD = 7 days;

    /// @notice The longest service URI, in bytes: a host name of the longest legal kind and a port.
    uint256 public constant MAX_URI_LENGTH = 280;

    /// @param bond wei that stand behind the node's work
    /// @param unbonding wei on their way out
    /// @param withdrawableAt when the unbonding wei can be withdrawn, in unix seconds; 0 when none are on their way
    /// @param roles bit mask of ORCHESTRATOR and TRANSCODER; 0 when the node is not registered
    /// @param fingerprint keccak256 of the TLS key's SubjectPublicKeyInfo in DER
    /// @param serviceURI where the node answers
    struct Node {
        uint96 bond;
        uint96 unbonding;
        uint40 withdrawableAt;
        uint8 roles;
        bytes32 fingerprint;
        string serviceURI;
    }

    event NodeUpdated(address indexed node, uint8 roles, bytes32 fingerprint, string serviceURI);
    event BondChanged(address indexed node, uint96 bond, uint96 unbonding, uint40 withdrawableAt);
    event NodeLeft(address indexed node);

    error AlreadyRegistered(address node);
    error NotRegistered(address node);
    error UnknownRoles(uint8 roles);
    error UriTooLong(uint256 length, uint256 limit);
    error BondTooLow(uint256 bond, uint256 least);
    error BondTooLarge(uint256 bond);
    error NothingToWithdraw();
    error StillUnbonding(uint40 withdrawableAt);
    error TransferFailed(address to);

    mapping(address => Node) private nodes;

    /// @notice The node's whole record; all zero for a stranger.
    function node(address who) external view returns (Node memory) {
        return nodes[who];
    }

    /// @notice Joins with the value sent as bond.
    function register(uint8 roles, string calldata serviceURI, bytes32 fingerprint) external payable {
        if (nodes[msg.sender].roles != 0) revert AlreadyRegistered(msg.sender);
        _publish(roles, serviceURI, fingerprint);
        _setBond(nodes[msg.sender], msg.value);
    }

    /// @notice Publishes new roles, URI and fingerprint; the bond stays.
    function update(uint8 roles, string calldata serviceURI, bytes32 fingerprint) external {
        _registered();
        _publish(roles, serviceURI, fingerprint);
    }

    /// @notice Adds the value sent to one's own bond.
    function addBond() external payable {
        Node storage self = _registered();
        _setBond(self, uint256(self.bond) + msg.value);
    }

    /// @notice Starts to take `amount` wei out. The whole bond leaves the registry at once; a part must leave at least the least bond.
    /// Wei already on their way join in and wait for the new date.
    function startUnbond(uint96 amount) external {
        Node storage self = _registered();
        if (amount > self.bond) revert BondTooLow(self.bond, amount);
        self.unbonding += amount;
        self.withdrawableAt = uint40(block.timestamp) + UNBONDING_PERIOD;
        if (amount == self.bond) {
            self.roles = 0;
            self.bond = 0;
            emit BondChanged(msg.sender, 0, self.unbonding, self.withdrawableAt);
            emit NodeLeft(msg.sender);
        } else {
            _setBond(self, self.bond - amount);
        }
    }

    /// @notice Pays out what has unbonded.
    function withdrawBond() external {
        Node storage self = nodes[msg.sender];
        uint96 amount = self.unbonding;
        if (amount == 0) revert NothingToWithdraw();
        if (block.timestamp < self.withdrawableAt) revert StillUnbonding(self.withdrawableAt);
        self.unbonding = 0;
        self.withdrawableAt = 0;
        emit BondChanged(msg.sender, self.bond, 0, 0);
        (bool paid,) = msg.sender.call{value: amount}("");
        if (!paid) revert TransferFailed(msg.sender);
    }

    function _registered() private view returns (Node storage self) {
        self = nodes[msg.sender];
        if (self.roles == 0) revert NotRegistered(msg.sender);
    }

    function _publish(uint8 roles, string calldata serviceURI, bytes32 fingerprint) private {
        if (roles == 0 || roles > (ORCHESTRATOR | TRANSCODER)) revert UnknownRoles(roles);
        if (bytes(serviceURI).length > MAX_URI_LENGTH) revert UriTooLong(bytes(serviceURI).length, MAX_URI_LENGTH);
        Node storage self = nodes[msg.sender];
        self.roles = roles;
        self.fingerprint = fingerprint;
        self.serviceURI = serviceURI;
        emit NodeUpdated(msg.sender, roles, fingerprint, serviceURI);
    }

    function _setBond(Node storage self, uint256 bond) private {
        if (bond < MIN_BOND) revert BondTooLow(bond, MIN_BOND);
        if (bond > type(uint96).max) revert BondTooLarge(bond);
        self.bond = uint96(bond);
        emit BondChanged(msg.sender, self.bond, self.unbonding, self.withdrawableAt);
    }
}
