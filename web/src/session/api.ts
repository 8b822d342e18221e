// Who one is to the node.
import { change, get } from "../api";
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

export const SESSION: Shape<Session> = { who: "string", address: { maybe: "string" }, name: { maybe: "string" }, can_read: "boolean", can_operate: "boolean", csrf: { maybe: "string" }, expires_at: { maybe: "number" } };

export const readSession = (signal?: AbortSignal) => get<Session>("", "session", SESSION, signal);

export const signOut = (csrf: string | null) => change<void>("DELETE", "session", null, null, csrf);
