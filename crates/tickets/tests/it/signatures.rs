use alloy::primitives::{Address, B256, FixedBytes, Signature, U256, keccak256};
use alloy::sol_types::{SolStruct, SolValue};
use millrace_tickets::{Assignment, Domain, SegmentReceipt, Signature65, SignatureError, Signed, Ticket, Verdict};
use proptest::prelude::*;

use crate::{DOMAIN, LOCKED, NOW, due, pair, random, sign, signer};

fn some_ticket() -> Ticket {
    let (mut payer, _, _) = pair();
    payer.issue(NOW, &due(1), random(1)).unwrap()
}

/// The other `s` for the same message: r, n - s, v flipped.
fn flipped(signature: Signature65) -> Signature65 {
    let low = Signature::from_bytes_and_parity(&signature.0[..64], signature.0[64] == 28);
    let n = U256::from_str_radix("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 16).unwrap();
    Signature65(FixedBytes(Signature::new(low.r(), n - low.s(), !low.v()).as_bytes()))
}

#[test]
fn p9_every_other_encoding_of_a_signature_is_refused() {
    let signed = sign(some_ticket(), &signer(1));
    let digest = signed.digest(&DOMAIN);
    assert_eq!(signed.recover(&DOMAIN), Ok(signer(1).address()));
    assert_eq!(flipped(signed.signature).recover(&digest), Err(SignatureError::HighS));
    for v in (0..=u8::MAX).filter(|v| !matches!(v, 27 | 28)) {
        let mut other = signed.signature;
        other.0[64] = v;
        assert_eq!(other.recover(&digest), Err(SignatureError::RecoveryByte(v)));
    }
    let mut other = signed.signature;
    other.0[64] ^= 27 ^ 28;
    assert_ne!(other.recover(&digest), Ok(signer(1).address()));
}

#[test]
fn p9_one_digest_is_drawn_once_whatever_its_signature() {
    let (mut payer, mut payee, key) = pair();
    let first = sign(payer.issue(NOW, &due(1), random(1)).unwrap(), &key);
    let accepted = payee.accept(NOW, &first, &due(1), LOCKED).unwrap();
    payee.confirm(&first.body, accepted);
    let again = payee.accept(NOW, &first, &due(1), LOCKED).unwrap();
    assert!(again.again);
    assert_eq!((again.winner, again.digest, again.index), (accepted.winner, accepted.digest, accepted.index));
    let other = Signed { body: first.body.clone(), signature: flipped(first.signature) };
    assert!(payee.accept(NOW, &other, &due(1), LOCKED).is_err());
}

#[test]
fn p10_a_signature_for_another_chain_or_contract_names_no_one_we_know() {
    let signed = sign(some_ticket(), &signer(1));
    for other in [Domain { chain_id: 1, ..DOMAIN }, Domain { broker: Address::ZERO, ..DOMAIN }] {
        assert_ne!(signed.recover(&other), Ok(signer(1).address()));
        assert_ne!(signed.digest(&other), signed.digest(&DOMAIN));
    }
}

#[test]
fn signing_again_gives_the_same_bytes() {
    assert_eq!(sign(some_ticket(), &signer(1)), sign(some_ticket(), &signer(1)));
}

#[test]
fn the_digest_is_eip712_written_out_by_hand() {
    let t = some_ticket();
    let ticket_type = "Ticket(address payer,address payee,uint96 faceValue,uint64 winProb,uint64 nonce,uint40 expiry,\
                       bytes32 payeeCommit,bytes32 payerRand,bytes32 workHash)";
    let words = (t.payer, t.payee, U256::from(t.faceValue), U256::from(t.winProb), U256::from(t.nonce));
    let more = (U256::from(t.expiry), t.payeeCommit, t.payerRand, t.workHash);
    let body = keccak256([keccak256(ticket_type).to_vec(), words.abi_encode(), more.abi_encode()].concat());
    let domain_type = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
    let domain =
        (keccak256(domain_type), keccak256("Millrace"), keccak256("1"), U256::from(DOMAIN.chain_id), DOMAIN.broker);
    let digest = keccak256([&[0x19, 0x01], keccak256(domain.abi_encode()).as_slice(), body.as_slice()].concat());
    assert_eq!(sign(t, &signer(1)).digest(&DOMAIN), digest);
}

#[test]
fn the_types_are_those_that_the_contracts_hash() {
    assert_eq!(
        Assignment::eip712_encode_type(),
        "Assignment(bytes32 streamId,uint64 seq,uint32 attempt,bytes32 sourceHash,bytes32 profileHash,uint256 price,\
         uint40 deadline,address payer,address worker,bytes32 sampleCommit)"
    );
    assert_eq!(
        SegmentReceipt::eip712_encode_type(),
        "SegmentReceipt(bytes32 assignmentHash,bytes32 renditionRoot,bytes32 hashRoot,uint64 pixels,uint32 frames,\
         uint64 duration,uint40 time)"
    );
    assert_eq!(Verdict::eip712_encode_type(), "Verdict(bytes32 receiptHash,bool pass,uint16 code)");
}

#[test]
fn signed_objects_survive_json_and_postcard() {
    let signed = sign(some_ticket(), &signer(1));
    let json = serde_json::to_string(&signed).unwrap();
    assert_eq!(serde_json::from_str::<Signed<Ticket>>(&json).unwrap(), signed);
    let bytes = postcard::to_stdvec(&signed).unwrap();
    assert_eq!(postcard::from_bytes::<Signed<Ticket>>(&bytes).unwrap(), signed);
    let receipt = Signed::sign(SegmentReceipt::default(), &DOMAIN, &signer(2)).unwrap();
    let bytes = postcard::to_stdvec(&receipt).unwrap();
    assert_eq!(postcard::from_bytes::<Signed<SegmentReceipt>>(&bytes).unwrap(), receipt);
}

proptest! {
    #[test]
    fn random_bytes_are_no_ones_signature_and_never_panic(bytes: [u8; 32], more: [u8; 32], v in 26u8..30, digest: [u8; 32]) {
        let mut raw = [0; 65];
        raw[..32].copy_from_slice(&bytes);
        raw[32..64].copy_from_slice(&more);
        raw[64] = v;
        let recovered = Signature65(raw.into()).recover(&B256::from(digest));
        prop_assert_ne!(recovered, Ok(signer(1).address()));
    }
}
