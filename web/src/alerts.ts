// What needs a look: found in all that the page knows, worst first, each with its figure and the way out. Pure.
import type { Purse } from "./funds/purse";
import { capital, count, formatEth, formatSpan, short, wei } from "./format";
import type { Network } from "./network";
import { inWords } from "./verification/fault";
import { ready } from "./words";

export interface Alert {
  tone: "warn" | "bad";
  /** What it is, with its figure. */
  text: string;
  /** What to do about it. */
  way: string;
  /** The page where more of it is. */
  to: "/" | "/streams" | "/recordings" | "/nodes" | "/segments" | "/earnings" | "/funds" | "/log" | "/config";
}

/** Faults older than this are no news. */
export const RECENT_MS = 60_000;
/** What was spent in less time says nothing of a day. */
const FOUND_MS = 60_000;
/** Funds for less than this are little: a weekend, until somebody sends coin. */
const LOW_MS = 3 * 86_400_000;
const EMPTY_MS = 86_400_000;
/** Blocks come every few seconds; a chain without one for so long stands, or its endpoint does. */
const STALE_MS = 120_000;

export function alerts(net: Network, purse: Purse | null, now: number): Alert[] {
  const found: Alert[] = [];
  const bad = (text: string, way: string, to: Alert["to"]) => found.push({ tone: "bad", text, way, to });
  const warn = (text: string, way: string, to: Alert["to"]) => found.push({ tone: "warn", text, way, to });

  const node = net.root.data;
  if (net.root.error) bad(`This node ${net.root.error.message}`, "Start it, or look at its machine", "/nodes");
  for (const n of net.nodes) {
    if (n.info.data?.draining) warn(`${n.role} ${n.name} is draining: it takes nothing new, and ends`, "Start it again to use it", "/nodes");
    if (n.url === "" || !n.info.error) continue;
    if (n.role === "orchestrator") bad(`orchestrator ${n.name} does not answer`, "Start it, or take another", "/nodes");
    else warn(`${n.role} ${n.name} does not answer`.trim(), "Start it, or look at its machine", "/nodes");
  }

  // What is not for everybody is not missing, and nor is what nobody could answer yet.
  if (net.streams.state !== "closed" && net.transcoders.state !== "loading" && node && (node.role !== "transcoder" || hasOrchestrator(net))) {
    const workers = ready(net.transcoders).map((t) => t.item);
    const able = workers.filter((t) => t.state === "ready" || t.state === "working");
    if (!hasOrchestrator(net)) bad("No orchestrator is known to this node", "Name one under node.peers", "/config");
    else if (net.transcoders.state === "ready" && able.length === 0) bad("No transcoder is ready", "Start one: millrace transcoder", "/nodes");
    for (const t of workers) {
      if (t.state === "suspended") warn(`Transcoder ${t.name} is suspended${t.suspended ? `: ${inWords(t.suspended.reason)}` : ""}`, "See until when", "/nodes");
    }
  }

  const live = ready(net.streams).filter((s) => s.item.state === "live");
  for (const { item: s } of live) {
    const lame = s.renditions.filter((r) => r.state !== "ok");
    if (lame.length > 0) warn(`Stream ${s.name}: ${lame.map((r) => `${r.name} ${r.state}`).join(", ")}`, "See which segments came late, and why", "/segments");
    const [first, ...others] = s.ingest?.warnings ?? [];
    if (first) warn(`Stream ${s.name}: ${first}${others.length > 0 ? `, and ${others.length} more` : ""}`, "Change the encoder's settings", "/streams");
    if (s.recording?.state === "failing") bad(`Stream ${s.name} is not being recorded: ${s.recording.error ?? "the store fails"}, ${count(s.recording.gaps, "segment")} missing`, "Mend the store: it goes on by itself", "/recordings");
  }

  const minute = ready(net.segments).filter((s) => now - s.item.at < RECENT_MS);
  const faulty = minute.filter((s) => s.item.result !== "pass");
  if (faulty.length > 0) warn(`${faulty.length} of ${count(minute.length, "segment attempt")} did not pass in the last minute`, "See who made them", "/segments");

  if (node && node.chain.block === null) bad("The chain does not answer: nothing is locked or redeemed", "Look at chain.rpc_url and its endpoint", "/config");
  else if (purse && now - purse.blockAt > STALE_MS) warn(`The chain stands: its newest block is ${formatSpan(now - purse.blockAt)} old`, "Look at chain.rpc_url and its endpoint", "/config");

  // A node that spends for a payer sends no transaction.
  if (node && wei(node.balance_wei) === 0n && (node.role !== "broadcaster" || purse?.payer === null)) bad(`${node.name} has 0 ETH: it can pay no gas`, `Send coin to ${node.address}`, "/nodes");
  const last = purse && node && node.role === "broadcaster" ? lasts(net, purse, now) : null;
  if (last && last.ms < LOW_MS) (last.ms < EMPTY_MS ? bad : warn)(`Funds for ${formatSpan(last.ms)}: ${cost(last)}`, last.payer ? `Lock more as ${last.payer}` : `Send coin to ${node!.address}`, "/funds");
  for (const lock of purse?.unlocking ?? []) {
    const left = lock.at - now;
    warn(`${formatEth(lock.wei.toString())} of the lock ${purse?.payer ? `by ${short(purse.payer)} ` : ""}for ${lock.name ?? lock.payee} ${left > 0 ? `comes free in ${formatSpan(left)}` : "can be withdrawn"}: it pays no more tickets then`, "Cancel the unlock, or withdraw it", "/funds");
  }
  return found.map((alert) => ({ ...alert, text: capital(alert.text) })).toSorted((a, b) => Number(a.tone === "warn") - Number(b.tone === "warn"));
}

export interface Lasting {
  ms: number;
  funds: bigint;
  aDay: bigint;
  payer: Purse["payer"];
}

/** How long the node's funds, or its payer's locks, last at what its live streams cost; null where that is not known. */
export function lasts(net: Network, purse: Purse, now: number): Lasting | null {
  const own = ready(net.streams).filter(({ node, item }) => node.url === "" && item.state === "live" && now - item.started_at >= FOUND_MS);
  const aDay = own.reduce((sum, { item }) => sum + ((wei(item.spent_wei) ?? 0n) * 86_400_000n) / BigInt(Math.round(now - item.started_at)), 0n);
  if (aDay === 0n || purse.locked === null) return null;
  const coin = purse.payer ? 0n : (wei(net.root.data?.balance_wei) ?? 0n);
  const funds = coin + purse.locked - purse.unlocking.reduce((sum, lock) => sum + lock.wei, 0n);
  const ms = (funds * 86_400_000n) / aDay;
  return { ms: Number(ms < 0n ? 0n : ms), funds, aDay, payer: purse.payer };
}

/** What there is, whose it is, and what a day takes of it. */
export const cost = ({ funds, aDay, payer }: Lasting) => `${formatEth(funds.toString())}${payer ? ` in the locks of payer ${short(payer)}` : ""} at ${formatEth(aDay.toString())} a day`;

/** A transcoder's console sees its orchestrator only where its owner has listed it. */
export const hasOrchestrator = (net: Network) => net.nodes.some((n) => n.role === "orchestrator");
