// What an orchestrator keeps of renditions that failed: its shape, where it is asked for, and its figures and faults in words. Pure but for
// the asking.
import { useQuery } from "@tanstack/react-query";
import { formatAbsolute, iso } from "../format";
import { type From, type Load, merge, type Network, type Seen, useAnswers } from "../network";
import type { Shape } from "../shapes";
import { levels } from "./fault";

/** How two key frames compare. Levels are sixteenths of one of 256. */
export interface Figures {
  luma: number;
  luma_limit: number;
  chroma: number;
  chroma_limit: number;
  bits: number;
  bits_limit: number;
  /** The source is flat: its bits mean nothing, and are not judged. */
  flat: boolean;
  firm: number;
}
/** Numbers of more than 32 bits come as hexadecimal strings. */
export interface Assignment {
  streamId: string;
  seq: number;
  attempt: number;
  sourceHash: string;
  profileHash: string;
  price: string;
  deadline: string;
  payer: string;
  worker: string;
  sampleCommit: string;
}
export interface Receipt {
  assignmentHash: string;
  renditionRoot: string;
  hashRoot: string;
  pixels: number;
  frames: number;
  duration: number;
  time: string;
}
export interface Signed<T> {
  body: T;
  signature: string;
}
export interface Evidence {
  id: string;
  at: number;
  stream: string;
  seq: number;
  attempt: number;
  worker: string;
  worker_name: string;
  rendition: string;
  width: number;
  height: number;
  bitrate: number;
  fault: string;
  code: number;
  figures: Figures | null;
  files: string[];
  assignment: Signed<Assignment>;
  receipt: Signed<Receipt>;
}
/** Of the secrets that decide what is sampled. Epochs are days since 1970 (UTC), times unix seconds. */
export interface Sampling {
  epoch: number;
  revealed: number | null;
  next_reveal_at: number | null;
  overdue_at: number | null;
  problem: string | null;
}

const S = "string";
const N = "number";
const B = "boolean";
const EVIDENCE: Shape<Evidence[]> = [
  {
    id: S,
    at: N,
    stream: S,
    seq: N,
    attempt: N,
    worker: S,
    worker_name: S,
    rendition: S,
    width: N,
    height: N,
    bitrate: N,
    fault: S,
    code: N,
    figures: { maybe: { luma: N, luma_limit: N, chroma: N, chroma_limit: N, bits: N, bits_limit: N, firm: N, flat: B } },
    files: [S],
    assignment: { body: { streamId: S, seq: N, attempt: N, sourceHash: S, profileHash: S, price: S, deadline: S, payer: S, worker: S, sampleCommit: S }, signature: S },
    receipt: { body: { assignmentHash: S, renditionRoot: S, hashRoot: S, pixels: N, frames: N, duration: N, time: S }, signature: S },
  },
];
const SAMPLING: Shape<Sampling> = { epoch: N, revealed: { maybe: N }, next_reveal_at: { maybe: N }, overdue_at: { maybe: N }, problem: { maybe: S } };

/** A failure is rare, and its evidence does not change. */
const EVIDENCE_MS = 15_000;
/** Secrets are revealed once a day. */
const SAMPLING_MS = 30_000;
/** A picture or a segment is at most some megabytes. */
const FILE_MS = 20_000;

/** What the orchestrators that this page reaches have kept, the newest first, and the state of their sampling. */
export function useVerification(net: Network): { evidence: Load<From<Evidence>[]>; sampling: Load<From<Sampling>[]> } {
  const nodes = net.nodes.filter((n) => n.role === "orchestrator");
  const urls = nodes.map((n) => n.url);
  const evidence = merge(nodes, useAnswers<Evidence[]>("evidence", EVIDENCE, urls, EVIDENCE_MS), net.root);
  const sampling = merge(nodes, useAnswers<Sampling>("sampling", SAMPLING, urls, SAMPLING_MS), net.root);
  return { evidence: evidence.state === "ready" ? { ...evidence, data: evidence.data.toSorted((a, b) => b.item.at - a.item.at) } : evidence, sampling };
}

export function fileUrl(node: Seen, id: string, file: string): string {
  return `${node.url}/api/v1/evidence/${encodeURIComponent(id)}/${file}`;
}

/** The bytes of a file, once; null where the record has none of that name. */
export function useFile({ node, item }: From<Evidence>, file: string) {
  const url = fileUrl(node, item.id, file);
  return useQuery({
    queryKey: [url],
    enabled: item.files.includes(file),
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: 60_000,
    queryFn: async ({ signal }) => {
      const reply = await fetch(url, { signal: AbortSignal.any([signal, AbortSignal.timeout(FILE_MS)]) });
      if (!reply.ok) throw new Error(`${node.name} answered ${reply.status}`);
      return reply.blob();
    },
  });
}

export interface Bar {
  name: string;
  means: string;
  text: string;
  beyond: boolean;
  /** Of the bar's length. */
  value: number;
  limit: number;
}

/** The figures against what was accepted. A bar ends where the greater of both does, with some room where all is well. */
export function bars(f: Figures): Bar[] {
  const bar = (name: string, means: string, value: number, limit: number, text: string): Bar => {
    const whole = Math.max(value, limit * 1.25, 1);
    return { name, means, text, beyond: value > limit, value: value / whole, limit: limit / whole };
  };
  const structure = bar("Structure", "bits of the perceptual hash that differ, of those that are firm in the source", f.bits, f.bits_limit, `${f.bits} of ${f.firm} bits differ, ${f.bits_limit} accepted`);
  return [
    bar("Brightness", "the cell of the picture that is furthest beyond what is accepted there, of 256 levels", f.luma, f.luma_limit, `${levels(f.luma)} levels apart, ${levels(f.luma_limit)} accepted`),
    bar("Colour", "the cell of the picture that is furthest beyond what is accepted there, of 256 levels", f.chroma, f.chroma_limit, `${levels(f.chroma)} levels apart, ${levels(f.chroma_limit)} accepted`),
    ...(f.flat ? [] : [structure]),
  ];
}

/** The state of a node's sampling secrets in a sentence. */
export function secrets(name: string, s: Sampling, now: number): { text: string; bad: boolean } {
  if (s.problem != null) return { text: `How the sampling secrets of ${name} stand is not known: ${s.problem}.`, bad: true };
  if (s.revealed == null) return { text: `${name} has committed to no sampling secrets at the chain.`, bad: false };
  const known = `The sampling secrets of ${name} are public up to ${day(s.revealed)} (UTC)`;
  if (s.overdue_at != null && now >= s.overdue_at * 1000) return { text: `${known}. The next is overdue since ${minute(s.overdue_at)}: anyone can have the node slashed.`, bad: true };
  return { text: s.next_reveal_at == null ? `${known}, and none is owed.` : `${known}; the next can be revealed from ${minute(s.next_reveal_at)} on.`, bad: false };
}

const day = (epoch: number) => iso(epoch * 86_400_000)?.slice(0, 10) ?? `day ${epoch}`;
const minute = (seconds: number) => formatAbsolute(seconds * 1000).slice(0, 16);
