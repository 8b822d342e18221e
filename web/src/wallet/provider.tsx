// The chain and the browser's wallets for all pages. Until the node has said which chain it is on, there is neither.
import { useQuery } from "@tanstack/react-query";
import { createContext, type ReactNode, useContext, useEffect, useMemo } from "react";
import { get } from "../api";
import { type ChainFacts, FACTS } from "../chain/shape";
import type { Chain } from "../chain/facts";
import type { enter } from "./open";

/** A node that does not answer is asked again like this. */
const RETRY_MS = 3_000;

/** A node does not change its chain while it runs: what was learnt stays. */
const ONCE = { staleTime: Number.POSITIVE_INFINITY, refetchInterval: (query: { state: { data: unknown } }) => (query.state.data ? false : RETRY_MS) } as const;

type Entered = ReturnType<typeof enter>;
interface Known {
  chain: Chain | null;
  wallets: Entered["wallets"] | null;
  /** Why there is no chain. */
  trouble: string | null;
}
const Context = createContext<Known>({ chain: null, wallets: null, trouble: null });

export function WalletProvider({ children }: { children: ReactNode }) {
  const facts = useQuery({
    queryKey: ["facts"],
    queryFn: ({ signal }) => get<ChainFacts>("", "chain", FACTS, signal),
    ...ONCE,
  });
  const libraries = useQuery({
    queryKey: ["libraries"],
    enabled: facts.data !== undefined,
    queryFn: () => import("./open"),
    structuralSharing: false,
    ...ONCE,
  });
  const entered = useMemo(() => (facts.data && libraries.data ? libraries.data.enter(facts.data) : null), [facts.data, libraries.data]);
  useEffect(() => entered?.resume(), [entered]);
  const trouble = entered ? null : (facts.error?.message ?? (libraries.error ? "did not give the rest of this page" : null));
  const value = useMemo<Known>(() => ({ chain: entered?.chain ?? null, wallets: entered?.wallets ?? null, trouble }), [entered, trouble]);
  return <Context value={value}>{children}</Context>;
}

/** The chain, null until it is known; and why it is not. */
export const useChain = (): Known => useContext(Context);
