// Signing in with Ethereum (EIP-4361): the node writes the text, the wallet signs it, the node checks it.
import { type Address, type Hex, toHex } from "viem";
import type { Connector } from "wagmi";
import { ApiError, change, sorry } from "../api";
import { explain } from "../chain/refusal";
import type { Shape } from "../shapes";
import { SESSION, type Session } from "./api";

interface Challenge {
  message: string;
  nonce: string;
}
const CHALLENGE: Shape<Challenge> = { message: "string", nonce: "string" };

/** Asks the node for a text, the wallet for a signature over it, and the node for a session. Signing needs no chain, so the wallet's does not matter. */
export async function signIn(address: Address, connector: Connector): Promise<Session> {
  const { message, nonce } = await change<Challenge>("POST", "session/challenge", { address }, CHALLENGE, null);
  const wallet = (await connector.getProvider()) as { request: (call: { method: string; params: unknown[] }) => Promise<unknown> };
  const signature = (await wallet.request({ method: "personal_sign", params: [toHex(message), address] })) as Hex;
  return change<Session>("POST", "session", { nonce, signature }, SESSION, null);
}

/** Why nobody was signed in, and the way out. */
export function whyNot(error: unknown): string {
  if (error instanceof ApiError) return error.status === 429 ? `${sorry(error)} Wait until then, and try once more.` : sorry(error);
  return explain(error, Date.now() / 1000).replace("nothing was sent", "nobody was signed in");
}
