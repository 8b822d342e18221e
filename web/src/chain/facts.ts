// Which chain the node is on, and reading it: by the node's own /api/v1/rpc, so that this page asks its own origin only.
import { type Address, createPublicClient, defineChain, http, type PublicClient } from "viem";
import { brokerAbi } from "../abi/broker";
import { parametersAbi } from "../abi/parameters";
import { registryAbi } from "../abi/registry";
import { tokenAbi } from "../abi/token";
import type { ChainFacts } from "./shape";

/** Requests that the node takes in one batch. */
const BATCH = 20;
/** Longer than the node itself waits for its endpoints. */
const TIMEOUT_MS = 18_000;

/** A contract of the network: where it is and how it is spoken to. */
const contract = <T>(address: string, abi: T) => ({ address: address as Address, abi });

export type Chain = ReturnType<typeof open>;

/** The chain that these facts are of. */
export function open(facts: ChainFacts) {
  const proxy = `${location.origin}/api/v1/rpc`;
  const chain = defineChain({
    id: facts.id,
    name: facts.name,
    nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 },
    rpcUrls: { default: { http: [facts.rpc_url ?? proxy] } },
  });
  const transport = http(proxy, { batch: { batchSize: BATCH, wait: 5 }, retryCount: 1, timeout: TIMEOUT_MS });
  const client = createPublicClient({ chain, transport, pollingInterval: 2_000 }) as PublicClient;
  const { token, parameters, registry, broker } = facts.contracts;
  return {
    facts,
    chain,
    transport,
    client,
    token: contract(token, tokenAbi),
    parameters: contract(parameters, parametersAbi),
    registry: contract(registry, registryAbi),
    broker: contract(broker, brokerAbi),
  };
}
