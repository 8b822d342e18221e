// When each node came into the registry: the block of its first event, and that block's time.
import { useQueries, useQuery } from "@tanstack/react-query";
import { type Address, decodeEventLog, toEventSelector } from "viem";
import { registryAbi } from "../abi/registry";
import type { Chain } from "../chain/facts";
import { look } from "../chain/history";
import { MAX_OPERATORS, searching } from "../stake/read";

const SEARCHING_MS = 1_000;
const LATER_MS = 60_000;

const EVENT = registryAbi.find((e) => e.type === "event" && e.name === "NodeUpdated");
const TOPICS = EVENT ? [toEventSelector(EVENT as never)] : [];

/** The block in which each node was first published. */
export type Births = Record<Address, number>;

export function fold(births: Births, log: { data: unknown; topics: unknown; blockNumber: unknown }): Births {
  const { node } = decodeEventLog({ abi: registryAbi, data: log.data as never, topics: log.topics as never }).args as { node: Address };
  return node in births ? births : { ...births, [node]: Number(log.blockNumber) };
}

/** Unix milliseconds by node, as far as they are known. */
export function useBirths(chain: Chain): Map<Address, number> {
  const found = useQuery({
    queryKey: ["chain", "births"],
    queryFn: () => look<Births>(chain, { key: "births", address: chain.registry.address, topics: [TOPICS], empty: {}, fold }),
    refetchInterval: (query) => (searching(query.state.data) ? SEARCHING_MS : LATER_MS),
  });
  const nodes = Object.entries(found.data?.facts ?? {}).slice(0, MAX_OPERATORS) as [Address, number][];
  const blocks = [...new Set(nodes.map(([, block]) => block))];
  const times = useQueries({
    queries: blocks.map((block) => ({
      queryKey: ["chain", "time", block],
      queryFn: async () => Number((await chain.client.getBlock({ blockNumber: BigInt(block) })).timestamp) * 1000,
      staleTime: Number.POSITIVE_INFINITY,
    })),
  });
  const at = new Map(blocks.map((block, i) => [block, times[i]?.data]));
  return new Map(nodes.flatMap(([node, block]) => (at.get(block) === undefined ? [] : [[node, at.get(block)!] as const])));
}
