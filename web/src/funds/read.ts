// An account's coin at the ticket broker, read from the chain: locks by payee, session keys, carriers, credit.
import { useQuery } from "@tanstack/react-query";
import { type Address, decodeEventLog, getAddress, type Hex, isAddress, pad, toEventSelector } from "viem";
import { brokerAbi } from "../abi/broker";
import type { NodeInfo, Setting } from "../api";
import type { Chain } from "../chain/facts";
import { look } from "../chain/history";
import { useConfig } from "../network";
import { searching } from "../stake/read";
import { clock } from "../wallet/send";

const POLL_MS = 6_000;
const SEARCHING_MS = 1_000;
/** Of the account that the node spends from, on every page: what changes there matters for days. */
const PURSE_MS = 20_000;
/** Of each: an account with more has a program to look after them. */
const KEPT = 200;

const NAMES = ["Funded", "SessionKeySet", "CarrierSet"];
const EVENTS = brokerAbi.filter((e) => e.type === "event" && NAMES.includes(e.name));
const TOPICS = EVENTS.map((e) => toEventSelector(e as never));

/** Whom an account has ever had to do with. */
export interface Names {
  payees: Address[];
  keys: Address[];
  carriers: Address[];
}

export function fold(names: Names, log: { data: unknown; topics: unknown }): Names {
  const event = decodeEventLog({ abi: brokerAbi, data: log.data as never, topics: log.topics as never });
  const add = (all: Address[], one: Address) => (all.includes(one) ? all : [...all, one].slice(-KEPT));
  if (event.eventName === "Funded") return { ...names, payees: add(names.payees, event.args.payee) };
  if (event.eventName === "SessionKeySet") return { ...names, keys: add(names.keys, event.args.key) };
  if (event.eventName === "CarrierSet") return { ...names, carriers: add(names.carriers, event.args.carrier) };
  return names;
}

async function read(chain: Chain, me: Address) {
  const { client, broker, parameters, token } = chain;
  const topics: (Hex[] | null)[] = [TOPICS, [pad(me)]];
  const found = await look<Names>(chain, { key: `funds.${me.toLowerCase()}`, address: broker.address, topics, empty: { payees: [], keys: [], carriers: [] }, fold });
  const { payees, keys, carriers } = found.facts;
  const [pairs, terms, allowed, credit, coin, mill, stoppedUntil, now] = await Promise.all([
    Promise.all(payees.map((payee) => client.readContract({ ...broker, functionName: "pair", args: [me, payee] }))),
    Promise.all(keys.map((key) => client.readContract({ ...broker, functionName: "sessionKey", args: [me, key] }))),
    Promise.all(carriers.map((carrier) => client.readContract({ ...broker, functionName: "isCarrier", args: [me, carrier] }))),
    client.readContract({ ...broker, functionName: "credit", args: [me] }),
    client.getBalance({ address: me }),
    client.readContract({ ...token, functionName: "balanceOf", args: [me] }),
    client.readContract({ ...parameters, functionName: "depositsStoppedUntil" }),
    clock(chain),
  ]);
  return {
    found,
    now,
    coin,
    mill,
    credit,
    stoppedUntil,
    locks: payees.map((payee, i) => ({ payee, ...pairs[i]! })),
    keys: keys.map((key, i) => ({ key, expiry: terms[i]![0], dailyCap: terms[i]![1] })),
    carriers: carriers.filter((_, i) => allowed[i]),
  };
}
export type Funds = Awaited<ReturnType<typeof read>>;
export type Lock = Funds["locks"][number];

export function useFunds(chain: Chain, me: Address) {
  return useQuery({
    queryKey: ["chain", "funds", me],
    refetchInterval: (query) => (query.state.data && searching(query.state.data.found) ? SEARCHING_MS : POLL_MS),
    queryFn: () => read(chain, me),
  });
}

/** What the account that a node spends from has locked, and how new the chain is. Times are unix milliseconds. */
export interface Purse {
  /** Whose account it is, where it is not the node's own. The node can lock no more of its coin, and sends no transaction. */
  payer: Address | null;
  locked: bigint;
  unlocking: { payee: string; name: string | null; wei: bigint; at: number }[];
  /** Of the newest block. */
  blockAt: number;
}

/** Whose money a broadcaster's configuration says that it spends; null for its own. */
export function payerOf(settings: Setting[]): Address | null {
  const value = settings.find((s) => s.key === "broadcaster.payer")?.value;
  return typeof value === "string" && isAddress(value, { strict: false }) ? getAddress(value) : null;
}

/** The purse of a node, null until it is known, as it stays for whom a broadcaster does not tell whose it is; `names` are those of nodes, by
 * address in lower case. */
export function usePurse(chain: Chain | null, node: NodeInfo | undefined, mayRead: boolean, names: Map<string, string>): Purse | null {
  const spends = node?.role === "broadcaster";
  const settings = useConfig(spends && mayRead);
  const named = spends && settings.state === "ready" ? payerOf(settings.data) : null;
  const payer = named?.toLowerCase() === node?.address.toLowerCase() ? null : named;
  const me = !spends || (mayRead && settings.state === "ready") ? (payer ?? node?.address) : undefined;
  const { data: funds } = useQuery({
    queryKey: ["chain", "purse", me],
    enabled: chain !== null && me !== undefined && isAddress(me),
    refetchInterval: PURSE_MS,
    queryFn: () => read(chain!, me as Address),
  });
  if (!funds) return null;
  const leaving = funds.locks.filter((lock) => lock.unlockAt > 0 && lock.pendingUnlock > 0n);
  return {
    payer,
    locked: funds.locks.reduce((sum, lock) => sum + lock.locked, 0n),
    unlocking: leaving.map((lock) => ({ payee: lock.payee, name: names.get(lock.payee.toLowerCase()) ?? null, wei: lock.pendingUnlock, at: lock.unlockAt * 1000 })),
    blockAt: funds.now * 1000,
  };
}
