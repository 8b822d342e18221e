// What the chain's events say, from the first block on: looked through in pieces, a bounded number at a time, and remembered, so that a
// page on a long chain shows what it has found and goes on.
import type { Address, Hex, Log } from "viem";
import type { Chain } from "./facts";

/** Blocks that the node searches at once. */
const WINDOW = 10_000;
/** Searches of one turn: they share the node's requests with the rest of the page. */
const TURN = 60;

/** What was found up to a block. `T` holds nothing but what JSON can. */
export interface Found<T> {
  /** The next block to look at. */
  next: number;
  /** The newest block when it was looked. */
  newest: number;
  facts: T;
}

export interface Search<T> {
  /** Its name in the browser's store. */
  key: string;
  address: Address;
  /** Topics as JSON-RPC has them. */
  topics: (Hex[] | null)[];
  empty: T;
  /** Takes one event in. */
  fold: (facts: T, log: Log) => T;
}

/** Goes on from what was remembered, or from the first block, for one turn. What is final is remembered, the rest looked at again. */
export async function look<T>(chain: Chain, search: Search<T>): Promise<Found<T>> {
  const store = `millrace.history.${await born(chain)}.${chain.facts.contracts.registry}.${search.key}`;
  const newest = Number(await chain.client.getBlockNumber({ cacheTime: 0 }));
  const last = Math.max(0, newest - chain.facts.confirmations);
  let { next, facts } = remembered<T>(store, newest) ?? { next: chain.facts.first_block, facts: search.empty };
  let window = WINDOW;
  for (let turn = 0; turn < TURN && next <= last; turn += 1) {
    const to = Math.min(last, next + window - 1);
    try {
      for (const log of await logs(chain, search, next, to)) facts = search.fold(facts, log);
      next = to + 1;
    } catch (error) {
      // Too many events at once, by the node's measure or its endpoint's.
      if (window === 1) throw error;
      window = Math.max(1, Math.floor(window / 4));
    }
  }
  remember(store, { next, newest, facts });
  if (next <= last) return { next, newest, facts };
  let young = facts;
  if (next <= newest) for (const log of await logs(chain, search, next, newest)) young = search.fold(young, log);
  return { next: newest + 1, newest, facts: young };
}

const births = new WeakMap<Chain, Promise<string>>();

/** What tells a chain from another of the same id: an embedded chain begins anew each time, with the same addresses. */
function born(chain: Chain): Promise<string> {
  const known = births.get(chain);
  if (known) return known;
  const first = chain.client.getBlock({ blockNumber: BigInt(chain.facts.first_block) }).then((block) => block.hash as string);
  first.catch(() => births.delete(chain));
  births.set(chain, first);
  return first;
}

async function logs<T>(chain: Chain, { address, topics }: Search<T>, from: number, to: number): Promise<Log[]> {
  const hex = (n: number) => `0x${n.toString(16)}` as Hex;
  return (await chain.client.request({ method: "eth_getLogs", params: [{ address, topics, fromBlock: hex(from), toBlock: hex(to) }] })) as unknown as Log[];
}

function remembered<T>(store: string, newest: number): Found<T> | null {
  try {
    const found = JSON.parse(localStorage.getItem(store) ?? "null") as Found<T> | null;
    return found && Number.isInteger(found.next) && found.next <= newest + 1 && typeof found.facts === "object" ? found : null;
  } catch {
    return null;
  }
}

function remember<T>(store: string, found: Found<T>): void {
  try {
    localStorage.setItem(store, JSON.stringify(found));
  } catch {
    // Full, or forbidden: the next page looks again.
  }
}
