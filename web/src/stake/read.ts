// What the registry says of nodes and of those who delegate to them, read from the chain: records, fees, slashes.
import { useQuery } from "@tanstack/react-query";
import { type Address, decodeEventLog, keccak256, toEventSelector, toHex, zeroAddress } from "viem";
import { registryAbi } from "../abi/registry";
import type { Chain } from "../chain/facts";
import { type Found, look } from "../chain/history";
import { clock } from "../wallet/send";

/** A node's record changes when somebody acts. */
const RECORDS_MS = 12_000;
const MINE_MS = 6_000;
/** While a long chain is still being looked through. */
const SEARCHING_MS = 1_000;
/** Nodes whose records are read: each costs three calls. */
export const MAX_OPERATORS = 300;
const MIN_BOND = keccak256(toHex("MIN_BOND"));

export type Record_ = Awaited<ReturnType<typeof record>>;

/** All of a node, and what `me` has there. */
export async function record(chain: Chain, node: Address, me: Address | undefined) {
  const who = me ?? zeroAddress;
  const { client, registry, broker } = chain;
  const [view, [amount, unbonding, withdrawableAt, fees], credit] = await Promise.all([
    client.readContract({ ...registry, functionName: "node", args: [node] }),
    client.readContract({ ...registry, functionName: "delegation", args: [node, who] }),
    client.readContract({ ...broker, functionName: "credit", args: [node] }),
  ]);
  return { address: node, ...view, credit, mine: { amount, unbonding, withdrawableAt, fees } };
}

/** What the events say of each node: wei that were shared out, tokens that were slashed. Decimal, so that it can be stored. */
export interface Life {
  fees: string;
  slashed: string;
  slashes: number;
}
export type Lives = Record<Address, Life>;

const EVENTS = registryAbi.filter((e) => e.type === "event" && (e.name === "NodeUpdated" || e.name === "FeesPaid" || e.name === "Slashed"));
const TOPICS = EVENTS.map((e) => toEventSelector(e as never));

/** One event of the registry, taken into what is known. */
export function fold(lives: Lives, log: { data: unknown; topics: unknown }): Lives {
  const event = decodeEventLog({ abi: registryAbi, data: log.data as never, topics: log.topics as never });
  const node = (event.args as { node: Address }).node;
  const life = lives[node] ?? { fees: "0", slashed: "0", slashes: 0 };
  if (event.eventName === "FeesPaid") return { ...lives, [node]: { ...life, fees: (BigInt(life.fees) + event.args.amount).toString() } };
  if (event.eventName === "Slashed") {
    const taken = event.args.fromBond + event.args.fromUnbonding + event.args.fromDelegated;
    return { ...lives, [node]: { ...life, slashed: (BigInt(life.slashed) + taken).toString(), slashes: life.slashes + 1 } };
  }
  return { ...lives, [node]: life };
}

export function useLives(chain: Chain) {
  return useQuery({
    queryKey: ["chain", "lives"],
    queryFn: () => look<Lives>(chain, { key: "lives", address: chain.registry.address, topics: [TOPICS], empty: {}, fold }),
    refetchInterval: (query) => (searching(query.state.data) ? SEARCHING_MS : RECORDS_MS),
  });
}

/** Whether there is more to look through. */
export function searching<T>(found: Found<T> | undefined): boolean {
  return found !== undefined && found.next <= found.newest;
}

/** The records of these nodes, with what `me` has at each. */
export function useRecords(chain: Chain, nodes: Address[], me: Address | undefined) {
  const asked = nodes.slice(0, MAX_OPERATORS);
  return useQuery({
    queryKey: ["chain", "records", asked.join(" "), me],
    enabled: asked.length > 0,
    placeholderData: (before: Record_[] | undefined) => before,
    queryFn: () => Promise.all(asked.map((node) => record(chain, node, me))),
    refetchInterval: RECORDS_MS,
  });
}

/** The account's own place, what it has, and what the contracts demand. */
export function useMine(chain: Chain, me: Address | undefined) {
  return useQuery({
    queryKey: ["chain", "mine", me],
    queryFn: async () => {
      const { client, parameters, token } = chain;
      const [least, stoppedUntil, now] = await Promise.all([
        client.readContract({ ...parameters, functionName: "get", args: [MIN_BOND] }),
        client.readContract({ ...parameters, functionName: "depositsStoppedUntil" }),
        clock(chain),
      ]);
      const own = me ? await record(chain, me, me) : null;
      const mill = me ? await client.readContract({ ...token, functionName: "balanceOf", args: [me] }) : 0n;
      return { least, stoppedUntil, now, own, mill };
    },
    refetchInterval: MINE_MS,
  });
}
export type Mine = NonNullable<ReturnType<typeof useMine>["data"]>;
