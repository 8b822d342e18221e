// The guides with their facts: for each role the steps of now.
import { type Address, getAddress } from "viem";
import type { NodeInfo } from "../api";
import type { Chain } from "../chain/facts";
import { useLives, useRecords } from "../stake/read";
import { broadcasterSteps } from "./broadcaster";
import { delegatorSteps } from "./delegator";
import { told, useAccount, useDevices, useIngest, useKeys, useListings, useLog, useReady, useSegments, useSettings, useSpending, useStreams, useTickets, useWallet, useWeather } from "./read";
import type { Step, Told } from "./steps";
import { transcoderSteps } from "./transcoder";

export function useTranscoderSteps(chain: Chain, { address }: NodeInfo): Step[] {
  const settings = useSettings();
  return transcoderSteps({
    now: Date.now(),
    settings,
    wallet: useWallet(chain),
    devices: useDevices(),
    account: useAccount(chain, getAddress(address)),
    listings: useListings(chain, settings),
    connected: useReady(),
    segments: useSegments(),
    tickets: useTickets(),
    log: useLog(),
  });
}

export function useBroadcasterSteps(chain: Chain, { address }: NodeInfo): Step[] {
  const settings = useSettings();
  return broadcasterSteps({
    now: Date.now(),
    settings,
    wallet: useWallet(chain),
    listings: useListings(chain, settings),
    spending: useSpending(chain, getAddress(address), settings),
    ingest: useIngest(),
    keys: useKeys(),
    streams: useStreams(),
    segments: useSegments(),
    tickets: useTickets(),
    log: useLog(),
  });
}

export function useDelegatorSteps(chain: Chain, chosen: Address | null): Step[] {
  const wallet = useWallet(chain);
  return delegatorSteps({ wallet, chosen, operators: useOperators(chain, wallet.address), chain: useWeather(chain) });
}

/** Everybody that the registry has ever had. */
export function useOperators(chain: Chain, me: Address | null): Told<NonNullable<ReturnType<typeof useRecords>["data"]>> {
  const lives = useLives(chain);
  const nodes = Object.keys(lives.data?.facts ?? {}) as Address[];
  const records = useRecords(chain, nodes, me ?? undefined);
  const failed = ({ message }: Error) => `The chain could not be read: ${message.split("\n")[0] ?? ""}. Asking again every few seconds.`;
  if (!lives.data) return lives.error ? { is: "failed", why: failed(lives.error) } : { is: "asked" };
  return nodes.length === 0 ? { is: "known", value: [] } : told(records, failed);
}
