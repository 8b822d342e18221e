// What the tests of the console's wallet pages stand on: a wallet in a page (EIP-6963) whose key and whose will are here, and the embedded chain.
import { createPublicClient, createWalletClient, defineChain, encodeFunctionData, http, numberToHex, parseAbi, parseEther } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";

/** The embedded chain's treasury: play money under a key that everybody knows. */
const TREASURY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

export const REGISTRY = parseAbi([
  "function payFees(address node) payable",
  "function undelegate(address node, uint96 amount)",
  "function delegation(address node, address who) view returns (uint96, uint96, uint40, uint256)",
]);
export const TOKEN = parseAbi(["function transfer(address to, uint256 value) returns (bool)"]);
export const BROKER = parseAbi([
  "struct Winner { uint256 terms; bytes32 payeeRand; bytes32 payerRand; bytes32 workHash; bytes32 r; bytes32 vs; }",
  "function fund(address payee) payable",
  "function redeem(address payer, address payee, Winner winner)",
]);

/** The embedded chain, and its treasury. */
export async function open(consoleUrl) {
  const facts = await (await fetch(new URL("/api/v1/chain", consoleUrl))).json();
  const chain = defineChain({ id: facts.id, name: facts.name, nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 }, rpcUrls: { default: { http: [facts.rpc_url] } } });
  const transport = http(facts.rpc_url);
  const client = createPublicClient({ chain, transport, pollingInterval: 100 });
  const signer = (key) => createWalletClient({ chain, transport, account: privateKeyToAccount(key) });
  const treasury = signer(TREASURY);
  const mined = async (hash) => client.waitForTransactionReceipt({ hash, timeout: 20_000 });
  /** Calls a contract, as `who`, and waits for its block. */
  const call = async (who, address, abi, functionName, args, value = 0n) => mined(await who.sendTransaction({ to: address, data: encodeFunctionData({ abi, functionName, args }), value }));
  const rpc = (method, ...params) => client.request({ method, params });
  return { facts, chain, client, signer, treasury, call, mined, rpc };
}

/** A new account with coin and MILL. */
export async function newAccount(net, coin, mill) {
  const key = generatePrivateKey();
  const account = net.signer(key);
  await net.mined(await net.treasury.sendTransaction({ to: account.account.address, value: parseEther(coin) }));
  await net.call(net.treasury, net.facts.contracts.token, TOKEN, "transfer", [account.account.address, parseEther(mill)]);
  return account;
}

/**
 * Puts a wallet into every page of the context. What it is told to do next is in the object that comes back: `declines` the next request
 * that asks its owner, `chainId` is the chain that it is on, `knows` the chains that it knows.
 */
export async function install(context, net, signer, name = "Scripted wallet") {
  const wallet = { signer, chainId: net.facts.id, knows: new Set([net.facts.id]), declines: false, permitted: false, asked: [], sent: [], added: null };
  const rejected = (code, message) => ({ error: { code, message } });
  const owner = async (act) => {
    if (!wallet.declines) return { result: await act() };
    wallet.declines = false;
    return rejected(4001, "User rejected the request.");
  };
  const methods = {
    eth_requestAccounts: () => owner(() => ((wallet.permitted = true), [wallet.signer.account.address])),
    eth_accounts: () => ({ result: wallet.permitted ? [wallet.signer.account.address] : [] }),
    eth_chainId: () => ({ result: numberToHex(wallet.chainId) }),
    wallet_switchEthereumChain: ([{ chainId }]) => {
      if (!wallet.knows.has(Number(chainId))) return rejected(4902, "Unrecognized chain ID");
      return owner(() => ((wallet.chainId = Number(chainId)), null));
    },
    wallet_addEthereumChain: ([chain]) => owner(() => ((wallet.added = chain), wallet.knows.add(Number(chain.chainId)), (wallet.chainId = Number(chain.chainId)), null)),
    wallet_revokePermissions: () => ((wallet.permitted = false), { result: null }),
    personal_sign: ([message]) => owner(() => wallet.signer.signMessage({ message: { raw: message } })),
    eth_signTypedData_v4: ([, data]) => owner(() => wallet.signer.signTypedData(typed(JSON.parse(data)))),
    eth_sendTransaction: ([tx]) =>
      owner(async () => {
        const hash = await wallet.signer.sendTransaction({ to: tx.to, data: tx.data, value: BigInt(tx.value ?? 0), gas: tx.gas && BigInt(tx.gas) });
        wallet.sent.push(hash);
        return hash;
      }),
  };
  await context.exposeFunction("walletRequest", async ({ method, params }) => {
    wallet.asked.push(method);
    if (!methods[method]) return rejected(4200, `the wallet has no ${method}`);
    try {
      const before = wallet.chainId;
      const answer = await methods[method](params ?? []);
      return { ...answer, chainChanged: before === wallet.chainId ? null : numberToHex(wallet.chainId) };
    } catch (error) {
      return rejected(-32603, String(error.details ?? error.shortMessage ?? error.message));
    }
  });
  await context.addInitScript((name) => {
    const listeners = new Map();
    const provider = {
      request: async (call) => {
        const { result, error, chainChanged } = await window.walletRequest(call);
        if (chainChanged) for (const listener of listeners.get("chainChanged") ?? []) listener(chainChanged);
        if (error) throw Object.assign(new Error(error.message), { code: error.code });
        return result;
      },
      on: (event, listener) => listeners.set(event, [...(listeners.get(event) ?? []), listener]),
      removeListener: (event, listener) => listeners.set(event, (listeners.get(event) ?? []).filter((l) => l !== listener)),
    };
    window.scriptedWallet = { emit: (event, value) => (listeners.get(event) ?? []).forEach((l) => l(value)) };
    const info = { uuid: "4c7d7c9e-0a0f-4a53-9d4c-5a1f3f6f2b11", name, icon: "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E", rdns: "test.scripted" };
    const announce = () => window.dispatchEvent(new CustomEvent("eip6963:announceProvider", { detail: Object.freeze({ info, provider }) }));
    window.addEventListener("eip6963:requestProvider", announce);
    announce();
  }, name);
  return wallet;
}

/** Typed data as JSON has it, with what viem wants. */
function typed({ types, primaryType, domain, message }) {
  const { EIP712Domain, ...rest } = types;
  return { types: rest, primaryType, domain, message };
}
