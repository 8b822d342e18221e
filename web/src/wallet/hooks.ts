// wagmi's hooks, at the wallets that this page has: for what is drawn once the chain is known.
import { type Config, useConnect as ofConnect, useConnection as ofConnection, useConnectors as ofConnectors, useDisconnect as ofDisconnect } from "wagmi";
import { useChain } from "./provider";

export function useWallets(): Config {
  const { wallets } = useChain();
  if (!wallets) throw new Error("a wallet was asked for before the chain was known");
  return wallets;
}
export const useConnection = () => ofConnection({ config: useWallets() });
export const useConnectors = () => ofConnectors({ config: useWallets() });
export const useConnect = () => ofConnect({ config: useWallets() });
export const useDisconnect = () => ofDisconnect({ config: useWallets() });
