// A transaction from what is asked for to the wallet's hand: the permission for tokens, the simulation with its cost, and sending.
// Nothing is sent that the contract would refuse now.
import { type Address, encodeFunctionData, type Hex, maxUint96, parseSignature, type WalletClient } from "viem";
import type { Chain } from "../chain/facts";

/** A call of one of the network's contracts. */
export interface Call {
  to: "registry" | "broker" | "token";
  data: Hex;
  /** Wei that go with it. */
  value?: bigint;
  /** MILL that the registry takes from the account, in units of 10^-18: it needs leave for them. */
  takes?: bigint;
  /** The single calls, where it is several. */
  parts?: Hex[];
}

/** A transaction that passed its simulation. */
export interface Ready {
  to: Address;
  data: Hex;
  value: bigint;
  gas: bigint;
  /** Wei that the gas costs at the price of now. */
  cost: bigint;
}

/** How long a permission is good, on the chain's clock: long enough to read the simulation and to be mined. */
const PERMIT_S = 3600n;
/** Spare gas over the simulation: a fifth, since the state may move in between. */
const SPARE = 5n;
/** More than fits the contracts' amounts. */
export const MOST = maxUint96;

/** The newest block's time, unix seconds: the clock that contracts go by. */
export async function clock(chain: Chain): Promise<number> {
  return Number((await chain.client.getBlock({ blockTag: "latest" })).timestamp);
}

/** Whether the wallet has to sign a permission before the call can be simulated. */
export async function needsLeave(chain: Chain, account: Address, call: Call): Promise<boolean> {
  if (!call.takes) return false;
  return (await chain.client.readContract({ ...chain.token, functionName: "allowance", args: [account, chain.registry.address] })) < call.takes;
}

/** Has the wallet sign a permission (ERC-2612) for just what the call takes, and puts it before the call in one transaction. */
export async function withLeave(chain: Chain, wallet: WalletClient, account: Address, call: Call): Promise<Call> {
  const value = call.takes ?? 0n;
  const nonce = await chain.client.readContract({ ...chain.token, functionName: "nonces", args: [account] });
  const deadline = BigInt(await clock(chain)) + PERMIT_S;
  const signature = await wallet.signTypedData({
    account,
    domain: { name: "Millrace", version: "1", chainId: chain.facts.id, verifyingContract: chain.token.address },
    types: {
      Permit: [
        { name: "owner", type: "address" },
        { name: "spender", type: "address" },
        { name: "value", type: "uint256" },
        { name: "nonce", type: "uint256" },
        { name: "deadline", type: "uint256" },
      ],
    },
    primaryType: "Permit",
    message: { owner: account, spender: chain.registry.address, value, nonce, deadline },
  });
  if (signature.length !== 132) throw new Error("This wallet is a contract, whose signatures the token does not take: allow the registry the amount first, by the token's approve");
  const { r, s, yParity } = parseSignature(signature);
  const permit = encodeFunctionData({ ...chain.registry, functionName: "permitBond", args: [value, deadline, 27 + yParity, r, s] });
  return { to: "registry", data: encodeFunctionData({ ...chain.registry, functionName: "multicall", args: [[permit, ...(call.parts ?? [call.data])]] }), takes: value };
}

/** Several calls of the registry in one transaction. */
export function together(chain: Chain, parts: Hex[], takes: bigint): Call {
  const data = parts.length === 1 ? parts[0]! : encodeFunctionData({ ...chain.registry, functionName: "multicall", args: [parts] });
  return { to: "registry", data, takes, parts };
}

/** Simulates on the newest state. Rejects with the contract's refusal. */
export async function simulate(chain: Chain, account: Address, call: Call): Promise<Ready> {
  const request = { account, to: chain[call.to].address, data: call.data, value: call.value ?? 0n };
  // First the call, whose refusal comes with its reason from every endpoint; an estimate's does not from some.
  await chain.client.call(request);
  const [gas, price, balance] = await Promise.all([chain.client.estimateGas(request), chain.client.getGasPrice(), chain.client.getBalance({ address: account })]);
  const cost = gas * price;
  if (balance < cost + request.value) throw new Error("insufficient funds for the amount and the gas");
  return { to: request.to, data: request.data, value: request.value, gas: gas + gas / SPARE, cost };
}
