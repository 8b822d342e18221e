// What this browser has sent and what became of it, kept for each chain and account, so that a page that is loaded anew goes on
// watching. Only hashes and words are kept; the chain is asked for the rest.
import { useSyncExternalStore } from "react";
import type { Address, Hex } from "viem";

/** A transaction that this browser sent. */
export interface Sent {
  hash: Hex;
  /** What it does, in words. */
  what: string;
  /** When it was sent, unix milliseconds. */
  at: number;
  /** Its number among the account's transactions; null while not known. */
  nonce: number | null;
  state: State;
  /** The block that it is in. */
  block: number | null;
  /** What is to be said of its state. */
  why: string | null;
}
export type State = "waiting" | "mined" | "final" | "reverted" | "replaced" | "dropped";

/** Kept of each account: a person does not have more on the way. */
const KEPT = 20;
/** What is over is shown for a day. */
const SHOWN_MS = 86_400_000;
/** Dropped ones are still looked for: a wallet may send them again. */
export const isOver = (sent: Sent) => sent.state === "final" || sent.state === "reverted" || sent.state === "replaced";

const STATES: State[] = ["waiting", "mined", "final", "reverted", "replaced", "dropped"];
const keyOf = (chain: number, account: Address) => `millrace.sent.${chain}.${account.toLowerCase()}`;
const listeners = new Set<() => void>();
/** The text that was read last and what it says: a snapshot must be the same object while nothing changes. */
const read = new Map<string, { text: string | null; sent: Sent[] }>();

function load(key: string): Sent[] {
  const text = localStorage.getItem(key);
  const before = read.get(key);
  if (before && before.text === text) return before.sent;
  const sent = parse(text);
  read.set(key, { text, sent });
  return sent;
}

/** Whatever is in the browser's store may be of another version, or anything: what does not fit is left out. */
export function parse(text: string | null): Sent[] {
  let all: unknown = null;
  try {
    all = JSON.parse(text ?? "[]");
  } catch {
    return [];
  }
  const fits = (s: Partial<Sent> | null): s is Sent => typeof s === "object" && s !== null && /^0x[0-9a-f]{64}$/i.test(s.hash ?? "") && typeof s.what === "string" && typeof s.at === "number" && STATES.includes(s.state as State);
  return Array.isArray(all) ? all.filter(fits).slice(0, KEPT) : [];
}

function save(key: string, sent: Sent[]): void {
  try {
    localStorage.setItem(key, JSON.stringify(sent.slice(0, KEPT)));
  } catch {
    // A browser that keeps nothing, as in some private windows: the list then lives as long as the page.
    read.set(key, { text: localStorage.getItem(key), sent });
  }
  for (const listener of listeners) listener();
}

export function add(chain: number, account: Address, sent: Pick<Sent, "hash" | "what" | "nonce">): void {
  const key = keyOf(chain, account);
  const now = Date.now();
  const before = load(key).filter((s) => !isOver(s) || now - s.at < SHOWN_MS);
  save(key, [{ ...sent, at: now, state: "waiting", block: null, why: null }, ...before]);
}

export function change(chain: number, account: Address, hash: Hex, change: Partial<Sent>): void {
  const key = keyOf(chain, account);
  save(key, load(key).map((s) => (s.hash === hash ? { ...s, ...change } : s)));
}

export function forget(chain: number, account: Address, hash: Hex): void {
  const key = keyOf(chain, account);
  save(key, load(key).filter((s) => s.hash !== hash));
}

const NONE: Sent[] = [];

/** What an account has sent, newest first; other tabs' transactions too. */
export function useSent(chain: number, account: Address | undefined): Sent[] {
  const subscribe = (listener: () => void) => {
    listeners.add(listener);
    globalThis.addEventListener?.("storage", listener);
    return () => {
      listeners.delete(listener);
      globalThis.removeEventListener?.("storage", listener);
    };
  };
  return useSyncExternalStore(subscribe, () => (account ? load(keyOf(chain, account)) : NONE), () => NONE);
}
