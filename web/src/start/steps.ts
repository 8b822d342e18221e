// What a guide is made of: steps, each judged by what a node and the chain have answered. Pure: nothing is ticked off, nothing stored.
import type { Address } from "viem";
import { formatEth, short } from "../format";

/** `next`: the reader's turn; `waiting`: somebody else's, or it is not its turn yet. */
export type State = "done" | "next" | "waiting" | "wrong";

/** What a step offers to do. The page draws it. */
export type Offer =
  | { do: "connect" }
  | { do: "switch" }
  | { do: "send-mill"; to: Address; amount: bigint }
  | { do: "send-coin"; to: Address; amount: bigint }
  | { do: "lock"; payee: Address; amount: bigint; payer: Address | null }
  | { do: "session-key"; key: Address }
  | { do: "run"; command: string }
  | { do: "keys" }
  | { do: "publish" }
  | { do: "watch"; stream: string }
  | { do: "choose" }
  | { do: "choose-again" }
  | { do: "delegate"; node: Address };

export interface Judged {
  state: State;
  /** How it stands, and what there is to do, in a sentence or two. */
  words: string;
  offers?: Offer[];
}

export interface Step extends Judged {
  /** For tests and links. */
  name: string;
  title: string;
  /** Nothing keeps a trace of it, so a guide whose other steps are done is finished without it. */
  momentary?: true;
  /** Its facts are not there. */
  unknown?: true;
}

/** Something that was asked for: no answer yet, none to be had, or the answer. */
export type Told<T> = { is: "asked" } | { is: "failed"; why: string } | { is: "known"; value: T };

export const known = <T>(told: Told<T>): T | undefined => (told.is === "known" ? told.value : undefined);

export const done = (words: string): Judged => ({ state: "done", words });
export const next = (words: string, ...offers: Offer[]): Judged => ({ state: "next", words, offers });
export const waiting = (words: string): Judged => ({ state: "waiting", words });
export const wrong = (words: string, ...offers: Offer[]): Judged => ({ state: "wrong", words, offers });

/** A step judged by facts, once they are all there. */
export function step<T extends unknown[]>(name: string, title: string, facts: { [K in keyof T]: Told<T[K]> }, judge: (...values: T) => Judged): Step {
  const all = facts as Told<unknown>[];
  for (const fact of all) if (fact.is === "failed") return { name, title, unknown: true, ...wrong(fact.why) };
  if (all.some((fact) => fact.is === "asked")) return { name, title, unknown: true, ...waiting("Asking.") };
  return { name, title, ...judge(...(all.map(known) as T)) };
}

/** One thing after the other: what could be done later waits for what is before it. */
export function inOrder(steps: Step[]): Step[] {
  const first = steps.findIndex((s) => s.state !== "done");
  return steps.map((s, i) => (first >= 0 && i > first && s.state === "next" ? { ...s, state: "waiting" } : s));
}

export function progress(steps: Step[]): { done: number; of: number; finished: boolean } {
  return {
    done: steps.filter((s) => s.state === "done").length,
    of: steps.length,
    finished: steps.every((s) => s.state === "done" || s.momentary),
  };
}

/** The browser's wallet, as far as a page sees it. */
export interface Wallet {
  address: Address | null;
  /** As it was before: nobody is asked for that. */
  connecting: boolean;
  /** The chain that it is on. */
  chain: number | null;
  /** The chain of this network. */
  wanted: { id: number; name: string };
  /** What it has; null while that is not known. */
  coin: bigint | null;
  mill: bigint | null;
}

/** Nodes call a chain by its number where it has no other name. */
const called = ({ id, name }: Wallet["wanted"]) => (name === `chain ${id}` ? name : `chain ${id} (${name})`);

/** `spare` says why no wallet is needed, where none is. */
export function walletStep(wallet: Wallet, spare: string | null = null): Step {
  const judge = (): Judged => {
    const { address, chain, wanted } = wallet;
    if (address && chain === wanted.id) return done(`${short(address)} on ${called(wanted)}.`);
    if (spare) return done(spare);
    if (wallet.connecting) return waiting("Connecting.");
    if (!address) return next("Connect the wallet that has your money. The page sees its address, never its key.", { do: "connect" });
    return wrong(`The wallet is on chain ${chain ?? "unknown"}, and this network is on ${called(wanted)}.`, { do: "switch" });
  };
  return { name: "wallet", title: "Connect a wallet", ...judge() };
}

/** A line of the node's log, and the reason that it gives. */
export interface Line {
  at: number;
  message: string;
  why: string;
}

/** What is said in the log longer ago than this is over: nodes try again every ten seconds at least, and say so each time. */
const RECENT_MS = 15_000;

/** The reason in the newest line of these, if it was just said. */
export function said(log: Told<Line[]>, now: number, ...messages: string[]): string | null {
  const line = (known(log) ?? []).findLast((l) => messages.includes(l.message));
  return line && now - line.at < RECENT_MS ? line.why || line.message : null;
}

/** Whether a reason is the lack of money: once that is there, what was said before is over. */
export const isPoverty = (why: string) => /send it|lack of funds|insufficient funds/.test(why);

/** What the node was configured with, of what the guides ask. */
export interface Settings {
  /** The file that it was started from. */
  file: string | null;
  /** Whom it works for, or has work for it. */
  orchestrators: Address[];
  /** The bond that it takes, in units of 10^-18 MILL. */
  bond: bigint;
  /** What it locks for each orchestrator, wei. */
  lock: bigint;
  /** Whose money it spends; null for its own. */
  payer: Address | null;
  /** A program of the operator's decides who may publish. */
  hook: boolean;
}

/** The file's name for a sentence or a command. */
export const fileOf = (settings: Settings | undefined, role: string) => settings?.file ?? `${role}.toml`;

/** Gas that a node begins with: its registration or its locks, of some 200,000 together, and a dozen redemptions of 50,000 (docs/gas.md). */
const GAS = 800_000n;

/** Coin for the gas of a node that begins, with room for a price that doubles. */
export const gasMoney = (price: bigint) => roundUp(price * GAS * 2n);

/** To two digits, up: nobody sends 0.0123456789 ETH. */
export function roundUp(wei: bigint): bigint {
  const unit = 10n ** BigInt(Math.max(0, wei.toString().length - 2));
  return ((wei + unit - 1n) / unit) * unit;
}

export const eth = (wei: bigint) => formatEth(wei.toString());
