// The chain's libraries at work: a file of its own, loaded once the node has said which chain it is on, so that no page waits for it.
import { createConfig } from "wagmi";
import { reconnect } from "wagmi/actions";
import { open } from "../chain/facts";
import type { ChainFacts } from "../chain/shape";

/** The chain, and the browser's wallets on it. */
export function enter(facts: ChainFacts) {
  const chain = open(facts);
  // Wallets announce themselves (EIP-6963); what they are told of the chain is ours to say, and not the library's.
  const wallets = createConfig({ chains: [chain.chain], transports: { [chain.chain.id]: chain.transport }, pollingInterval: 2_000, ssr: false });
  /** A wallet that was connected before is so again. */
  const resume = () => void reconnect(wallets);
  return { chain, wallets, resume };
}
