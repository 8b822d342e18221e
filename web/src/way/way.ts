// The way of a stream's segments, from the logs of those through whose hands they went. Pure: picture.tsx draws it.
import type { Segment } from "../api";
import { iso } from "../format";
import type { From } from "../network";
import { inWords } from "../verification/fault";

/** Segments in the picture. */
export const SHOWN = 50;
/** What a segment takes where nothing tells: an encoder's usual distance of keyframes. */
const USUAL_MS = 2_000;
/** Distances of two ends that can be a segment: others are gaps, or what two clocks make of one moment. */
const LIKELY_MS = [200, 12_000] as const;
/** The picture's end: what took longer is drawn at its edge. */
const LONGEST_MS = 10_000;

/** One end of an attempt: a transcoder's at its orchestrator, or an orchestrator's at its broadcaster. */
export interface Step {
  segment: Segment;
  /** Milliseconds after the source's last picture was in hand there. */
  after: number;
}

export interface Way {
  seq: number;
  /** When the source ended, by the clock of whoever checked it. */
  end: number;
  /** How long the source is, milliseconds. */
  length: number;
  /** As the orchestrator saw them, in the order in which they ended. */
  attempts: Step[];
  /** As the broadcaster saw it in the end. */
  accepted: Step | null;
}

/** The last segments of `stream`, the newest first. `checked` are the orchestrators' logs, `taken` the broadcasters'. */
export function ways(stream: string, checked: From<Segment>[], taken: From<Segment>[], most = SHOWN): Way[] {
  const own = (s: From<Segment>) => s.item.stream === stream;
  const bySeq = grouped(checked.filter(own));
  const inEnd = grouped(taken.filter(own));
  const seqs = [...new Set([...bySeq.keys(), ...inEnd.keys()])].sort((a, b) => b - a).slice(0, most);
  const ends = new Map<number, number>();
  for (const seq of seqs) {
    const end = endOf(bySeq.get(seq)) ?? endOf(inEnd.get(seq));
    if (end !== null) ends.set(seq, end);
  }
  const usual = median([...ends].flatMap(([seq, end]) => likely(end - (ends.get(seq - 1) ?? Number.NaN)))) ?? USUAL_MS;

  return seqs.map((seq) => {
    const all = bySeq.get(seq) ?? [];
    const last = inEnd.get(seq) ?? [];
    const end = ends.get(seq) ?? (ends.has(seq - 1) ? ends.get(seq - 1)! + usual : (all[0] ?? last[0])!.at);
    const length = likely(end - (ends.get(seq - 1) ?? Number.NaN))[0] ?? usual;
    return {
      seq,
      end,
      length,
      attempts: all.map((segment) => step(segment, end)).sort((a, b) => a.after - b.after || a.segment.attempt - b.segment.attempt),
      accepted: last.length > 0 ? step(last.at(-1)!, end) : null,
    };
  });
}

function grouped(rows: From<Segment>[]): Map<number, Segment[]> {
  const groups = new Map<number, Segment[]>();
  for (const { item } of rows.toSorted((a, b) => a.item.at - b.item.at)) groups.set(item.seq, [...(groups.get(item.seq) ?? []), item]);
  return groups;
}

/** What ended before its source did has no latency: the node writes 0. */
function endOf(segments: Segment[] | undefined): number | null {
  const told = segments?.find((s) => (s.latency_ms ?? 0) > 0);
  return told ? told.at - told.latency_ms! : null;
}

/** A latency is by one clock; the difference of two times may be by two. */
function step(segment: Segment, end: number): Step {
  return { segment, after: segment.latency_ms || segment.at - end };
}

function likely(ms: number): number[] {
  return ms >= LIKELY_MS[0] && ms <= LIKELY_MS[1] ? [ms] : [];
}

function median(values: number[]): number | null {
  return values.length === 0 ? null : values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

export interface Scale {
  /** Milliseconds, the source's end being 0. */
  from: number;
  to: number;
  ticks: number[];
}

/** From the longest source to the latest attempt, in whole steps. */
export function scale(all: Way[]): Scale {
  const steps = all.flatMap((w) => [...w.attempts, ...(w.accepted ? [w.accepted] : [])]);
  const latest = Math.min(LONGEST_MS, Math.max(500, ...steps.map((s) => s.after)));
  const longest = Math.min(LONGEST_MS, Math.max(USUAL_MS, ...all.map((w) => w.length)));
  const tick = latest > 4_000 || longest > 4_000 ? 2_000 : latest > 1_200 ? 1_000 : 500;
  // A source is seldom longer by more than a picture or two: that is not worth another step.
  const from = -Math.ceil((longest * 0.95) / tick) * tick;
  const to = Math.ceil((latest * 1.04) / tick) * tick;
  return { from, to, ticks: Array.from({ length: (to - from) / tick + 1 }, (_, i) => from + i * tick) };
}

/** Where on the scale, from 0 to 1; what is beyond is at the edge. */
export function place(ms: number, { from, to }: Scale): number {
  return Math.min(1, Math.max(0, (ms - from) / (to - from)));
}

/** What is paid for the segment by its broadcaster, or else by its orchestrator. */
export function price({ attempts, accepted }: Way): string | null {
  return accepted?.segment.paid_wei ?? attempts.find((a) => a.segment.result === "pass")?.segment.paid_wei ?? null;
}

const WORDS: Record<Segment["result"], string> = { pass: "passed", fail: "failed", lost: "was late or went away", refused: "refused" };

/** An attempt in words. */
export function attempted({ segment: s }: Step, name: (id: string) => string): string {
  const word = WORDS[s.result] ?? s.result;
  const fault = s.fault && inWords(s.fault).replaceAll(/0x[0-9a-f]{40}\b/gi, name);
  return `${s.worker_name || name(s.worker)} ${word}${fault ? `: ${fault}` : ""}`;
}

/** All of it for a spreadsheet: a line for each segment, cells parted by tabs. */
export function copied(all: Way[], name: (id: string) => string): string {
  const lines = all.map((w) => [
    w.seq,
    iso(w.end) ?? "",
    Math.round(w.length),
    w.attempts.map((a) => `${attempted(a, name)} (${a.after} ms)`.replaceAll(/\s+/g, " ")).join("; "),
    w.accepted ? `${w.accepted.segment.result} (${w.accepted.after} ms)` : "",
    price(w) ?? "",
  ]);
  return [["segment", "source ended", "source ms", "attempts", "broadcaster", "paid wei"], ...lines].map((cells) => cells.join("\t")).join("\n");
}
