// The facts of the guides: what the node that serves the page says of itself, and what the chain says of its account.
import { useQuery } from "@tanstack/react-query";
import { type Address, getAddress, isAddress, keccak256, toHex, zeroAddress } from "viem";
import { type ApiError, get, type Ingest, type OwnDevices, type Segment, type Setting, type Stream, type StreamKey, type Tickets } from "../api";
import type { Chain } from "../chain/facts";
import { explain } from "../chain/refusal";
import { parseAmount } from "../format";
import { payerOf } from "../funds/purse";
import { beat, isClosed } from "../network";
import type { Shape } from "../shapes";
import { CONFIG, DEVICES, INGEST, KEYS, SEGMENTS, STREAMS, TICKETS } from "../shapes";
import { useBalances } from "../wallet/account";
import { useConnection } from "../wallet/hooks";
import { clock } from "../wallet/send";
import type { Spending } from "./broadcaster";
import type { Line, Settings, Told, Wallet } from "./steps";
import type { Account, Listing } from "./transcoder";

/** The frame asks for most of this each second; what it does not ask for comes like this. */
const LIVE_MS = 2_000;
const CHAIN_MS = 4_000;
/** What changes only when somebody does something, or the node starts anew. */
const SLOW_MS = 5_000;
const RETRY_MS = 3_000;
/** As many as the pages ask for, so that they share the answer. */
const ROWS = 50;
/** Warnings of the last seconds are what is wanted. */
const LINES = 50;
const ORCHESTRATOR = 1;
const MIN_BOND = keccak256(toHex("MIN_BOND"));

const S = "string" as const;
const N = "number" as const;
const LOG: Shape<Omit<Line, "why">[]> = [{ at: N, message: S }];

interface Query<T> {
  data: T | undefined;
  error: Error | null;
}

/** What is known stays known while asking anew fails, as the frame says that the node is away; but not for those whom the node tells no more. */
export function told<T>({ data, error }: Query<T>, fail: (error: Error) => string): Told<T> {
  if (error && isClosed(error)) return { is: "failed", why: fail(error) };
  if (data !== undefined) return { is: "known", value: data };
  return error ? { is: "failed", why: fail(error) } : { is: "asked" };
}

const failedNode = (error: Error) => `This node ${error.message}.${isClosed(error) ? " It tells this to its owner and its own machine: sign in as its owner, or open this page on that machine." : " Asking again every few seconds."}`;
const failedChain = (error: Error) => `The chain could not be read. ${explain(error, Date.now() / 1000).replace(", so nothing was sent", "")} Asking again every few seconds.`;

function useNode<T, U = T>(path: string, shape: Shape<T>, every: number, read?: (value: T) => U): Told<U> {
  const query = useQuery<T, ApiError, U>({
    queryKey: ["", path],
    queryFn: ({ signal }) => get<T>("", path, shape, signal),
    refetchInterval: (q) => beat(q, every),
    ...(read && { select: read }),
  });
  return told(query, failedNode);
}

export const useDevices = () => useNode<OwnDevices>("devices", DEVICES, SLOW_MS);
export const useKeys = () => useNode<StreamKey[]>("keys", KEYS, SLOW_MS);
export const useIngest = () => useNode<Ingest>("ingest", INGEST, SLOW_MS);
export const useStreams = () => useNode<Stream[]>("streams", STREAMS, LIVE_MS);
export const useSegments = () => useNode<Segment[]>(`segments?limit=${ROWS}`, SEGMENTS, LIVE_MS);
export const useTickets = () => useNode<Tickets>(`tickets?limit=${ROWS}`, TICKETS, LIVE_MS);
export const useLog = () => useNode<Omit<Line, "why">[], Line[]>(`log?level=warn&limit=${LINES}`, LOG, LIVE_MS, linesOf);
export const useSettings = () => useNode<Setting[], Settings>("config", CONFIG, SLOW_MS, settingsOf);

type Open = Record<string, unknown>;
const text = (value: unknown) => (typeof value === "string" ? value : "");

/** The reason that a line gives is in its fields. */
export function linesOf(lines: Omit<Line, "why">[]): Line[] {
  return lines.map((line) => {
    const fields = ((line as Open).fields ?? {}) as Open;
    return { at: line.at, message: line.message, why: text(fields.error) || text(fields.reason) || text(fields.closed) || text(fields.ended) };
  });
}

/** What the guides ask of a configuration, of whichever role it is. */
export function settingsOf(all: Setting[]): Settings {
  const value = (key: string) => all.find((s) => s.key === key)?.value;
  const named = value("broadcaster.orchestrators") ?? [value("transcoder.orchestrator")];
  const addresses = (Array.isArray(named) ? named : []).map(text).filter((a) => isAddress(a, { strict: false }));
  const payer = payerOf(all);
  const bond = parseAmount(text(value("transcoder.bond_mill")));
  const lock = text(value("broadcaster.orchestrator_lock_wei"));
  const origins = all.map((s) => s.origin).filter((o): o is Open => typeof o === "object" && o !== null);
  return {
    file: text(origins.find((o) => "file" in o)?.file) || null,
    orchestrators: addresses.map((a) => getAddress(a)),
    bond: typeof bond === "bigint" ? bond : 0n,
    lock: /^\d{1,30}$/.test(lock) ? BigInt(lock) : 0n,
    payer: payer === null ? null : getAddress(payer),
    hook: text(value("broadcaster.auth_webhook")) !== "",
  };
}

/** Whether the node says that it can do its work: of a transcoder, that it has a session with its orchestrator. */
export function useReady(): Told<boolean> {
  const query = useQuery({
    queryKey: ["readyz"],
    refetchInterval: LIVE_MS,
    queryFn: async ({ signal }) => (await (await fetch("/readyz", { signal: AbortSignal.any([signal, AbortSignal.timeout(RETRY_MS)]) })).text()).trim() === "ready",
  });
  return told(query, () => "This node cannot be reached. Asking again every few seconds.");
}

export function useWallet(chain: Chain): Wallet {
  const { address, chainId, status } = useConnection();
  const balance = useBalances(chain, address);
  const { id, name } = chain.facts;
  return { address: address ?? null, connecting: status === "reconnecting", chain: chainId ?? null, wanted: { id, name }, coin: balance?.coin ?? null, mill: balance?.mill ?? null };
}

/** What the guardian and the price of gas are, and the chain's clock. */
async function weather({ client, parameters }: Chain) {
  const [gasPrice, stoppedUntil] = await Promise.all([client.getGasPrice(), client.readContract({ ...parameters, functionName: "depositsStoppedUntil" })]);
  return { gasPrice, stoppedUntil: Number(stoppedUntil) };
}

export function useWeather(chain: Chain): Told<{ gasPrice: bigint; stoppedUntil: number; now: number }> {
  const query = useQuery({ queryKey: ["chain", "weather"], refetchInterval: CHAIN_MS, queryFn: async () => ({ ...(await weather(chain)), now: await clock(chain) }) });
  return told(query, failedChain);
}

/** The account of the node that serves the page. */
export function useAccount(chain: Chain, address: Address): Told<Account> {
  const query = useQuery({
    queryKey: ["chain", "start", "account", address],
    refetchInterval: CHAIN_MS,
    queryFn: async () => {
      const { client, registry, token, parameters } = chain;
      const [sky, coin, mill, node, least, now] = await Promise.all([
        weather(chain),
        client.getBalance({ address }),
        client.readContract({ ...token, functionName: "balanceOf", args: [address] }),
        client.readContract({ ...registry, functionName: "node", args: [address] }),
        client.readContract({ ...parameters, functionName: "get", args: [MIN_BOND] }),
        clock(chain),
      ]);
      return { address, coin, mill, least, now, ...sky, roles: node.roles, bond: node.bond, unbonding: node.unbonding };
    },
  });
  return told(query, failedChain);
}

/** The orchestrators that the configuration names, as the registry has them. */
export function useListings(chain: Chain, settings: Told<Settings>): Told<Listing[]> {
  const named = settings.is === "known" ? settings.value.orchestrators : [];
  const query = useQuery({
    queryKey: ["chain", "start", "listings", named.join(" ")],
    enabled: settings.is === "known",
    refetchInterval: CHAIN_MS,
    queryFn: () =>
      Promise.all(
        named.map(async (address) => {
          const { roles, serviceURI } = await chain.client.readContract({ ...chain.registry, functionName: "node", args: [address] });
          return { address, uri: roles & ORCHESTRATOR ? serviceURI : null };
        }),
      ),
  });
  return settings.is === "failed" ? settings : told(query, failedChain);
}

/** The money that a broadcaster spends. */
export function useSpending(chain: Chain, node: Address, settings: Told<Settings>): Told<Spending> {
  const { payer: named, orchestrators } = settings.is === "known" ? settings.value : { payer: null, orchestrators: [] };
  const payer = named ?? node;
  const query = useQuery({
    queryKey: ["chain", "start", "spending", node, payer, orchestrators.join(" ")],
    enabled: settings.is === "known",
    refetchInterval: CHAIN_MS,
    queryFn: async () => {
      const { client, broker } = chain;
      const [sky, coin, pairs, key, now] = await Promise.all([
        weather(chain),
        client.getBalance({ address: node }),
        Promise.all(orchestrators.map((payee) => client.readContract({ ...broker, functionName: "pair", args: [payer, payee] }))),
        named ? client.readContract({ ...broker, functionName: "sessionKey", args: [named, node] }) : null,
        clock(chain),
      ]);
      const usable = ({ locked, pendingUnlock }: (typeof pairs)[number]) => (locked > pendingUnlock ? locked - pendingUnlock : 0n);
      return { node, payer, coin, now, ...sky, locks: pairs.map((pair, i) => ({ payee: orchestrators[i] ?? zeroAddress, usable: usable(pair) })), session: key && { expiry: Number(key[0]), dailyCap: key[1] } };
    },
  });
  return settings.is === "failed" ? settings : told(query, failedChain);
}
