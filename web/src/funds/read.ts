// An account's coin at the ticket broker, read from the chain: locks by payee, session keys, carriers, credit.
import { useQuery } from "@tanstack/react-query";
import { type Address, decodeEventLog, getAddress, type Hex, pad, toEventSelector } from "viem";
import { brokerAbi } from "../abi/broker";
import type { Chain } from "../chain/facts";
import { look } from "../chain/history";
import { searching } from "../stake/read";
import { clock } from "../wallet/send";

const POLL_MS = 6_000;
const SEARCHING_MS = 1_000;
/** Of each: an account with more has a program to look after them. */
const KEPT = 200;

const NAMES = ["Funded", "SessionKeySet", "CarrierSet"];
const EVENTS = brokerAbi.filter((e) => e.type === "event" && NAMES.includes(e.name));
const TOPICS = EVENTS.map((e) => toEventSelector(e as never));

/** Whom an account has ever had to do with. */
export interface Names {
  payees: Address[];
  keys: Address[];
  carriers: Address[];
}

export function fold(names: Names, log: { data: unknown; topics: unknown }): Names {
  const event = decodeEventLog({ abi: brokerAbi, data: log.data as never, topics: log.topics as never });
  const add = (all: Address[], one: Address) => (all.includes(one) ? all : [...all, one].slice(-KEPT));
  if (event.eventName === "Funded") return { ...names, payees: add(names.payees, event.args.payee) };
  if (event.eventName === "SessionKeySet") return { ...names, keys: add(names.keys, event.args.key) };
  if (event.eventName === "CarrierSet") return { ...names, carriers: add(names.carriers, event.args.carrier) };
  return names;
}

/** Of the account at this address, in whatever case a person has written it. */
export async function read(chain: Chain, account: string) {
  const me = getAddress(account);
  const { client, broker, parameters, token } = chain;
  const topics: (Hex[] | null)[] = [TOPICS, [pad(me)]];
  const found = await look<Names>(chain, { key: `funds.${me.toLowerCase()}`, address: broker.address, topics, empty: { payees: [], keys: [], carriers: [] }, fold });
  const { payees, keys, carriers } = found.facts;
  const [pairs, terms, allowed, credit, coin, mill, stoppedUntil, now] = await Promise.all([
    Promise.all(payees.map((payee) => client.readContract({ ...broker, functionName: "pair", args: [me, payee] }))),
    Promise.all(keys.map((key) => client.readContract({ ...broker, functionName: "sessionKey", args: [me, key] }))),
    Promise.all(carriers.map((carrier) => client.readContract({ ...broker, functionName: "isCarrier", args: [me, carrier] }))),
    client.readContract({ ...broker, functionName: "credit", args: [me] }),
    client.getBalance({ address: me }),
    client.readContract({ ...token, functionName: "balanceOf", args: [me] }),
    client.readContract({ ...parameters, functionName: "depositsStoppedUntil" }),
    clock(chain),
  ]);
  return {
    me,
    found,
    now,
    coin,
    mill,
    credit,
    stoppedUntil,
    locks: payees.map((payee, i) => ({ payee, ...pairs[i]! })),
    keys: keys.map((key, i) => ({ key, expiry: terms[i]![0], dailyCap: terms[i]![1] })),
    carriers: carriers.filter((_, i) => allowed[i]),
  };
}
export type Funds = Awaited<ReturnType<typeof read>>;
export type Lock = Funds["locks"][number];

export function useFunds(chain: Chain, me: Address) {
  return useQuery({
    queryKey: ["chain", "funds", me],
    refetchInterval: (query) => (query.state.data && searching(query.state.data.found) ? SEARCHING_MS : POLL_MS),
    queryFn: () => read(chain, me),
  });
}
