// The chain and the browser's wallets for all pages. Until the node has said which chain it is on, there is neither.
import { useQuery } from "@tanstack/react-query";
import { createContext, type ReactNode, useContext, useMemo } from "react";
import { createConfig, WagmiProvider } from "wagmi";
import { type ApiError, get } from "../api";
import { type Chain, type ChainFacts, FACTS, open } from "../chain/facts";

/** A node that does not answer is asked again like this. */
const RETRY_MS = 3_000;

const Context = createContext<{ chain: Chain | null; trouble: string | null }>({ chain: null, trouble: null });

export function WalletProvider({ children }: { children: ReactNode }) {
  const facts = useQuery({
    queryKey: ["facts"],
    queryFn: ({ signal }) => get<ChainFacts>("", "chain", FACTS, signal),
    // A node does not change its chain while it runs; what was learnt stays.
    staleTime: Number.POSITIVE_INFINITY,
    refetchInterval: (query) => (query.state.data ? false : RETRY_MS),
  });
  const made = useMemo(() => {
    if (!facts.data) return null;
    const chain = open(facts.data);
    // Wallets announce themselves (EIP-6963); what they are told of the chain is ours to say, and not the library's.
    return { chain, config: createConfig({ chains: [chain.chain], transports: { [chain.chain.id]: chain.transport }, pollingInterval: 2_000, ssr: false }) };
  }, [facts.data]);
  const trouble = made ? null : ((facts.error as ApiError | null)?.message ?? null);
  const value = useMemo(() => ({ chain: made?.chain ?? null, trouble }), [made, trouble]);
  return <Context value={value}>{made ? <WagmiProvider config={made.config}>{children}</WagmiProvider> : children}</Context>;
}

/** The chain, null until it is known; and why it is not. */
export function useChain() {
  return useContext(Context);
}
