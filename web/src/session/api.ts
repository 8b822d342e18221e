// Who one is to the node, and signing in with Ethereum (EIP-4361): the node writes the text, the wallet signs it, the node checks it.
import { type Address, type Hex, toHex } from "viem";
import type { Connector } from "wagmi";
import { ApiError, change, get, sorry } from "../api";
import { explain } from "../chain/refusal";
import type { Shape } from "../shapes";

export interface Session {
  /** `anyone`, `this_machine`, `owner` or `machine`. */
  who: string;
  /** Of an owner. */
  address: string | null;
  /** Of a token. */
  name: string | null;
  can_read: boolean;
  can_operate: boolean;
  /** What goes with every change. Kept in memory alone. */
  csrf: string | null;
  expires_at: number | null;
}

const SESSION: Shape<Session> = { who: "string", address: { maybe: "string" }, name: { maybe: "string" }, can_read: "boolean", can_operate: "boolean", csrf: { maybe: "string" }, expires_at: { maybe: "number" } };
interface Challenge {
  message: string;
  nonce: string;
}
const CHALLENGE: Shape<Challenge> = { message: "string", nonce: "string" };

export const readSession = (signal?: AbortSignal) => get<Session>("", "session", SESSION, signal);

/** Asks the node for a text, the wallet for a signature over it, and the node for a session. Signing needs no chain, so the wallet's does not matter. */
export async function signIn(address: Address, connector: Connector): Promise<Session> {
  const { message, nonce } = await change<Challenge>("POST", "session/challenge", { address }, CHALLENGE, null);
  const wallet = (await connector.getProvider()) as { request: (call: { method: string; params: unknown[] }) => Promise<unknown> };
  const signature = (await wallet.request({ method: "personal_sign", params: [toHex(message), address] })) as Hex;
  return change<Session>("POST", "session", { nonce, signature }, SESSION, null);
}

export const signOut = (csrf: string | null) => change<void>("DELETE", "session", null, null, csrf);

/** Why nobody was signed in, and the way out. */
export function whyNot(error: unknown): string {
  if (error instanceof ApiError) return error.status === 429 ? `${sorry(error)} Wait until then, and try once more.` : sorry(error);
  return explain(error, Date.now() / 1000).replace("nothing was sent", "nobody was signed in");
}
