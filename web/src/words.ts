// Judgements in words: how the network does, and what states and results mean. Pure.
import type { Segment, TicketState, Transcoder } from "./api";
import { count } from "./format";
import type { From, Load, Network } from "./network";
import { inWords } from "./verification/fault";

/** The colour of a statement: well, nothing going on, needs a look, broken. */
export type Tone = "ok" | "idle" | "warn" | "bad";

export interface Health {
  tone: Tone;
  text: string;
  /** Everything that was found, worst first. */
  details: string[];
}

/** Faults older than this no longer colour the header. */
const RECENT_MS = 60_000;

/** The state of the network in one line: the worst finding, or what is going well. */
export function health(net: Network, now: number): Health {
  if (!net.root.data) return net.root.error ? one("bad", `This node ${net.root.error.message}`) : one("idle", "Asking this node");

  const bad: string[] = [];
  const warn: string[] = [];
  if (net.root.error) bad.push(`This node ${net.root.error.message}`);
  for (const n of net.nodes) {
    if (n.url !== "" && n.info.error) warn.push(`${n.role} ${n.name} does not answer`.trim());
  }

  const live = ready(net.streams).filter((s) => s.item.state === "live");
  const workers = ready(net.transcoders).map((t) => t.item);
  const able = workers.filter((t) => t.state === "ready" || t.state === "working");
  if (!net.nodes.some((n) => n.role === "orchestrator")) bad.push("No orchestrator is known to this node");
  else if (net.transcoders.state === "ready" && able.length === 0) bad.push("No transcoder is ready");
  for (const t of workers) {
    if (t.state === "suspended") warn.push(`Transcoder ${t.name} is suspended`);
  }
  for (const { item } of live) {
    const lame = item.renditions.filter((r) => r.state !== "ok");
    if (lame.length > 0) warn.push(`${item.name}: ${lame.map((r) => `${r.name} ${r.state}`).join(", ")}`);
  }
  const minute = ready(net.segments).filter((s) => now - s.item.at < RECENT_MS);
  const faulty = minute.filter((s) => s.item.result !== "pass");
  if (faulty.length > 0) warn.push(`${faulty.length} of ${count(minute.length, "segment attempt")} did not pass in the last minute`);

  const details = [...bad, ...warn].map(sentence);
  if (details.length > 0) return { tone: bad.length > 0 ? "bad" : "warn", text: details[0]!, details };
  if (live.length === 0) return one("idle", `Ready: ${count(able.length, "transcoder")}, no stream is live`);
  const verified = minute.length > 0 ? ", every segment of the last minute passed" : "";
  return one("ok", `All well: ${count(live.length, "stream")} live, ${count(able.length, "transcoder")}${verified}`);
}

function one(tone: Tone, text: string): Health {
  return { tone, text, details: [text] };
}

function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** What a load holds, or nothing. */
export function ready<T>(load: Load<From<T>[]>): From<T>[] {
  return load.state === "ready" ? load.data : [];
}

/** The result of one attempt at a segment. */
export function verdict(segment: Segment): { tone: Tone; word: string; why: string | null } {
  const fault = segment.fault == null ? null : inWords(segment.fault);
  switch (segment.result) {
    case "pass":
      return { tone: "ok", word: "Pass", why: fault };
    case "fail":
      return { tone: "bad", word: "Fail", why: fault ?? "no fault was named" };
    case "lost":
      return { tone: "warn", word: "Lost", why: fault ?? "the worker went away" };
    case "refused":
      return { tone: "warn", word: "Refused", why: fault ?? "the worker declined it" };
    default:
      return { tone: "idle", word: String(segment.result), why: fault };
  }
}

export const TRANSCODER_TONE: Record<Transcoder["state"], Tone> = { ready: "idle", working: "ok", suspended: "bad", gone: "warn" };

export const RENDITION_TONE: Record<string, Tone> = { ok: "ok", late: "warn", down: "bad" };

/** What each state of a winning ticket means. */
export const TICKET_STATES: Record<TicketState, { tone: Tone; means: string }> = {
  queued: { tone: "idle", means: "stored, waiting to be sent to the chain" },
  sent: { tone: "idle", means: "its transaction waits for a block" },
  mined: { tone: "ok", means: "its transaction is in a block" },
  final: { tone: "ok", means: "deep enough in the chain to count as paid" },
  dropped: { tone: "bad", means: "given up: it can no longer be redeemed" },
};
