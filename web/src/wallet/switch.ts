// Asks a wallet to change to the node's chain, or to learn of it.
import { numberToHex } from "viem";
import type { Connector } from "wagmi";
import type { ChainFacts } from "../chain/shape";

interface Provider {
  request: (call: { method: string; params: unknown[] }) => Promise<unknown>;
}

/** The wallet does not know the chain (EIP-3326); some put the code a level deeper. */
function isUnknown(error: unknown): boolean {
  const e = error as { code?: number; message?: string; data?: { originalError?: { code?: number } } };
  return e?.code === 4902 || e?.data?.originalError?.code === 4902 || /unrecognized chain|unknown chain/i.test(e?.message ?? "");
}

/** Changes the wallet's chain. Rejects in words, where the wallet does not know it and may not be told an endpoint. */
export async function switchTo(facts: ChainFacts, connector: Connector): Promise<void> {
  const provider = (await connector.getProvider()) as Provider;
  const chainId = numberToHex(facts.id);
  try {
    await provider.request({ method: "wallet_switchEthereumChain", params: [{ chainId }] });
  } catch (error) {
    if (!isUnknown(error)) throw error;
    if (!facts.rpc_url) {
      throw new Error(`The wallet does not know chain ${facts.id} (${facts.name}), and this node names no public endpoint of it. Add the chain in the wallet's settings, with an endpoint of your own or of a provider`);
    }
    const nativeCurrency = { name: "Ether", symbol: "ETH", decimals: 18 };
    await provider.request({ method: "wallet_addEthereumChain", params: [{ chainId, chainName: facts.name, nativeCurrency, rpcUrls: [facts.rpc_url] }] });
  }
}
