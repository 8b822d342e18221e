// Who has signed an assignment or a receipt, found from the signature itself: EIP-712, as crates/tickets has it.
import { type Hex, hashTypedData, recoverTypedDataAddress } from "viem";
import type { NodeInfo } from "../api";
import type { Evidence } from "./evidence";

const TYPES = {
  Assignment: [
    { name: "streamId", type: "bytes32" },
    { name: "seq", type: "uint64" },
    { name: "attempt", type: "uint32" },
    { name: "sourceHash", type: "bytes32" },
    { name: "profileHash", type: "bytes32" },
    { name: "price", type: "uint256" },
    { name: "deadline", type: "uint40" },
    { name: "payer", type: "address" },
    { name: "worker", type: "address" },
    { name: "sampleCommit", type: "bytes32" },
  ],
  SegmentReceipt: [
    { name: "assignmentHash", type: "bytes32" },
    { name: "renditionRoot", type: "bytes32" },
    { name: "hashRoot", type: "bytes32" },
    { name: "pixels", type: "uint64" },
    { name: "frames", type: "uint32" },
    { name: "duration", type: "uint64" },
    { name: "time", type: "uint40" },
  ],
} as const;

export interface Signers {
  assignment: string;
  receipt: string;
  /** The receipt names this very assignment. */
  linked: boolean;
}

/** Fails where something is no signature, or no number. */
export async function signers({ assignment: a, receipt: r }: Evidence, chain: NodeInfo["chain"]): Promise<Signers> {
  const domain = { name: "Millrace", version: "1", chainId: chain.id, verifyingContract: chain.broker as Hex } as const;
  const assignment = {
    domain,
    types: TYPES,
    primaryType: "Assignment",
    message: {
      streamId: a.body.streamId as Hex,
      seq: BigInt(a.body.seq),
      attempt: a.body.attempt,
      sourceHash: a.body.sourceHash as Hex,
      profileHash: a.body.profileHash as Hex,
      price: BigInt(a.body.price),
      deadline: Number(a.body.deadline),
      payer: a.body.payer as Hex,
      worker: a.body.worker as Hex,
      sampleCommit: a.body.sampleCommit as Hex,
    },
  } as const;
  const receipt = {
    domain,
    types: TYPES,
    primaryType: "SegmentReceipt",
    message: {
      assignmentHash: r.body.assignmentHash as Hex,
      renditionRoot: r.body.renditionRoot as Hex,
      hashRoot: r.body.hashRoot as Hex,
      pixels: BigInt(r.body.pixels),
      frames: r.body.frames,
      duration: BigInt(r.body.duration),
      time: Number(r.body.time),
    },
  } as const;
  return {
    assignment: await recoverTypedDataAddress({ ...assignment, signature: a.signature as Hex }),
    receipt: await recoverTypedDataAddress({ ...receipt, signature: r.signature as Hex }),
    linked: hashTypedData(assignment) === r.body.assignmentHash.toLowerCase(),
  };
}
