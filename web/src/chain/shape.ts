// Which chain a node is on, as it says it.
import type { Shape } from "../shapes";

/** What GET /api/v1/chain says. */
export interface ChainFacts {
  id: number;
  /** The network's name for people. */
  name: string;
  contracts: { token: string; parameters: string; registry: string; broker: string; sampling: string; disputes: string };
  /** The block before which nothing of them happened. */
  first_block: number;
  /** Blocks that follow a transaction before it is final. */
  confirmations: number;
  /** An endpoint that wallets may be told of; null where the operator names none. */
  rpc_url: string | null;
}

export const FACTS: Shape<ChainFacts> = {
  id: "number",
  name: "string",
  contracts: { token: "string", parameters: "string", registry: "string", broker: "string", sampling: "string", disputes: "string" },
  first_block: "number",
  confirmations: "number",
  rpc_url: { maybe: "string" },
};
