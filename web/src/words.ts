// Judgements in words: how the network does, and what states and results mean. Pure.
import { alerts, hasOrchestrator, RECENT_MS } from "./alerts";
import type { Segment, TicketState, Transcoder } from "./api";
import { count } from "./format";
import type { Purse } from "./funds/purse";
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

/** The state of the network in one line: the worst finding, or what is going well. */
export function health(net: Network, now: number, purse: Purse | null = null): Health {
  if (!net.root.data) return net.root.error ? one("bad", `This node ${net.root.error.message}`) : one("idle", "Asking this node");
  const found = alerts(net, purse, now);
  const [worst] = found;
  if (worst) return { tone: worst.tone, text: worst.text, details: found.map((alert) => alert.text) };
  if (net.streams.state === "closed") return one("idle", "This node answers; how it does is for its owners");

  if (net.transcoders.state === "loading") return one("idle", "Asking who there is");
  if (!hasOrchestrator(net)) return one("idle", "This node answers; its orchestrator is not among node.peers");

  const live = ready(net.streams).filter((s) => s.item.state === "live");
  const able = ready(net.transcoders).filter((t) => t.item.state === "ready" || t.item.state === "working");
  if (live.length === 0) return one("idle", `Ready: ${count(able.length, "transcoder")}, no stream is live`);
  const verified = ready(net.segments).some((s) => now - s.item.at < RECENT_MS) ? ", every segment of the last minute passed" : "";
  return one("ok", `All well: ${count(live.length, "stream")} live, ${count(able.length, "transcoder")}${verified}`);
}

function one(tone: Tone, text: string): Health {
  return { tone, text, details: [text] };
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
