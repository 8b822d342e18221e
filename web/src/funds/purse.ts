// The account that a node spends from, on every page.
import { useQuery } from "@tanstack/react-query";
import type { Address } from "viem";
import type { NodeInfo, Setting } from "../api";
import type { Chain } from "../chain/facts";
import { partOf } from "../later";
import { useConfig } from "../network";
import type { Funds } from "./read";

/** What changes there matters for days. */
const PURSE_MS = 20_000;
const SEARCHING_MS = 1_000;
const ADDRESS = /^0x[0-9a-f]{40}$/i;

/** What the account that a node spends from has locked, and how new the chain is. Times are unix milliseconds. */
export interface Purse {
  /** Whose account it is, where it is not the node's own. The node can lock no more of its coin, and sends no transaction. */
  payer: Address | null;
  /** Null while the chain is still searched for locks. */
  locked: bigint | null;
  unlocking: { payee: string; name: string | null; wei: bigint; at: number }[];
  /** Of the newest block. */
  blockAt: number;
}

const isSearching = ({ found }: Funds) => found.next <= found.newest;

/** Whose money a broadcaster's configuration says that it spends, as it is written there; null for its own. */
export function payerOf(settings: Setting[]): string | null {
  const value = settings.find((s) => s.key === "broadcaster.payer")?.value;
  return typeof value === "string" && ADDRESS.test(value) ? value : null;
}

const reader = partOf("the reader of funds", () => import("./read"));

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
    enabled: chain !== null && me !== undefined && ADDRESS.test(me),
    queryFn: async ({ signal }) => (await reader.get(signal)).read(chain!, me!),
    refetchInterval: ({ state }) => (state.data && isSearching(state.data) ? SEARCHING_MS : PURSE_MS),
  });
  if (!funds) return null;
  const leaving = funds.locks.filter((lock) => lock.unlockAt > 0 && lock.pendingUnlock > 0n);
  return {
    payer: payer === null ? null : funds.me,
    locked: isSearching(funds) ? null : funds.locks.reduce((sum, lock) => sum + lock.locked, 0n),
    unlocking: leaving.map((lock) => ({ payee: lock.payee, name: names.get(lock.payee.toLowerCase()) ?? null, wei: lock.pendingUnlock, at: lock.unlockAt * 1000 })),
    blockAt: funds.now * 1000,
  };
}
