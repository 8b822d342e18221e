// The JSON API of a node: its types, and one bounded request. All wei are decimal strings, all times Unix milliseconds.
import { misfit, type Shape } from "./shapes";

export interface NodeInfo {
  role: string;
  name: string;
  address: string;
  version: string;
  started_at: number;
  /** It ends, and takes nothing new. */
  draining: boolean;
  balance_wei: string | null;
  /** `block` is null while the chain does not answer. */
  chain: { id: number; registry: string; broker: string; block: number | null };
  peers: Peer[];
}
export interface Peer {
  role: string;
  name: string;
  url: string;
}

export interface Rendition {
  name: string;
  width: number;
  height: number;
  bitrate: number;
  state: "ok" | "late" | "down";
  last_seq: number | null;
}
export interface Stream {
  name: string;
  id: string;
  state: "live" | "ended";
  started_at: number;
  ended_at: number | null;
  hls_url: string;
  /** Who asked for a playlist in the last half minute. */
  viewers: number;
  /** Of a stream of sound alone, width and height are 0. */
  source: { codec: string; width: number; height: number; fps: number; bitrate: number; audio: boolean } | null;
  renditions: Rendition[];
  orchestrator: string | null;
  segments: number;
  parts: number;
  latency_ms: { p50: number; p99: number } | null;
  spent_wei: string;
  /** How the publisher's stream comes in, while it is live. */
  ingest: Health | null;
  /** While it is live, and its first segment is there. */
  delay: Delay | null;
  /** Where it is recorded. */
  recording: { id: string; state: string; bytes: number; gaps: number; error: string | null } | null;
}

/** Where the time goes between a picture and its viewer, milliseconds. */
export interface Delay {
  /** A picture is written when the next one has shown how long it lasts. */
  picture: number;
  /** The first picture of a part waits so long for the last, at most. */
  part: number;
  /** From a source part in hand to its rendition part in the origin, half of the time. */
  ladder: number | null;
  /** How far behind the newest part the playlists ask players to stay. */
  hold_back: number;
}

/** Rates over the last five seconds; bit/s and milliseconds. */
export interface Health {
  video_bitrate: number;
  audio_bitrate: number;
  fps: number;
  keyframe_interval_ms: number | null;
  late_ms: number;
  drift_ms: number;
  jumps: number;
  lost: number;
  warnings: string[];
}

export interface Ingest {
  rtmp_url: string;
  /** Where the node takes no streams by one, null. */
  rtmps_url: string | null;
  srt_url: string | null;
  /** On the node's own HTTP address. */
  whip_path: string;
  keys: { name: string; key: string }[];
}

export interface Device {
  name: string;
  kind: string;
  detail: string;
  /** Megapixels per second that the device can encode, and those in use. */
  capacity: number;
  in_use: number;
  sessions: number;
}
export interface Transcoder {
  address: string;
  name: string;
  state: "ready" | "working" | "suspended" | "gone";
  devices: Device[];
  streams: string[];
  segments_ok: number;
  segments_failed: number;
  earned_wei: string;
  bond_mill: string;
  rtt_ms: number | null;
  since: number;
  suspended: { reason: string; until: number | null } | null;
}

export interface Segment {
  at: number;
  stream: string;
  seq: number;
  attempt: number;
  worker: string;
  worker_name: string;
  result: "pass" | "fail" | "lost" | "refused";
  fault: string | null;
  latency_ms: number | null;
  paid_wei: string | null;
  payer: string | null;
  payee: string | null;
}

export type TicketState = "queued" | "sent" | "mined" | "final" | "dropped";
export interface Ticket {
  at: number;
  direction: "in" | "out";
  peer: string;
  face_value_wei: string;
  win_prob: number;
  expected_wei: string;
  /** Null while not known: the payer does not learn which of its tickets won before they are redeemed. */
  winner: boolean | null;
  state: TicketState | null;
  tx: string | null;
}
export interface Tickets {
  received: { count: number; expected_wei: string; winners: number; queued: number; redeemed_wei: string; dropped: number };
  sent: { count: number; expected_wei: string };
  recent: Ticket[];
}

/** A stream key as the node lists it: never the key itself. */
export interface StreamKey {
  name: string;
  id: string;
  created_at: number;
  /** When it last let a publisher in. */
  used_at: number | null;
  revoked_at: number | null;
}

/** A key that was just made: the only time that it is told. */
export interface NewKey {
  name: string;
  id: string;
  key: string;
  rtmp_url: string;
  rtmps_url: string | null;
  srt_url: string | null;
  whip_url: string;
  hls_url: string | null;
}

export interface Recording {
  name: string;
  id: string;
  started_ms: number;
  duration_ms: number;
  bytes: number;
  /** Segments that it lacks, of all renditions. */
  gaps: number;
  state: "recording" | "ended" | "recovered" | "unfinished";
  /** Path of its master playlist on the node; signed where addresses are, for who may have it. */
  hls_url: string;
}

export interface LogLine {
  at: number;
  level: string;
  target: string;
  message: string;
  fields: unknown;
}

export interface Setting {
  key: string;
  doc: string;
  /** Of a secret that has one, the word `set`. */
  value: unknown;
  default: unknown;
  secret: boolean;
  /** `default`, or an object that names the file, the variable or the flag. */
  origin: unknown;
}

/** Of a GPU as its driver tells it, of x264 as its process does; what is not told is null. */
export interface DeviceLoad {
  /** Per cent. */
  utilisation: number | null;
  memory_bytes: number | null;
  memory_total_bytes: number | null;
  temperature_c: number | null;
  /** Why it runs slower than it could. */
  throttled: string | null;
  encoder_sessions: number | null;
}
export interface OwnDevice {
  name: string;
  kind: string;
  detail: string;
  /** That it can encode; 0 while its process is not ready. */
  megapixels_per_second: number;
  in_use: number;
  /** Streams that it serves now. */
  sessions: number;
  load: DeviceLoad | null;
}
export interface DeviceProcess {
  device: string;
  /** Null between two lives. */
  pid: number | null;
  restarts: number;
  last_end: string | null;
}
/** What a transcoder says of its devices. */
export interface OwnDevices {
  devices: OwnDevice[];
  draining: boolean;
  processes: DeviceProcess[];
}

/** A node on one machine answers in milliseconds; one that took this long is treated as silent. */
const TIMEOUT_MS = 4_000;

/** A failed request, as what is said of the node: "cannot be reached", "answered 500 to …". */
export class ApiError extends Error {
  /** Nothing answered at all. */
  readonly silent: boolean;
  /** Of an answer. */
  readonly status: number | null;
  /** What the node itself says against it, and the way out. */
  readonly detail: string | null;
  constructor(message: string, silent: boolean, status: number | null = null, detail: string | null = null) {
    super(message);
    this.silent = silent;
    this.status = status;
    this.detail = detail;
  }
}

/** Fetches `/api/v1/{path}` of the node at `base` (empty for the node that served this page), and holds it against its shape. */
export async function get<T>(base: string, path: string, shape: Shape<T>, cancelled?: AbortSignal): Promise<T> {
  return held(await ask(base, path, {}, cancelled), path, shape, cancelled);
}

/** Changes something at the node that served this page. `csrf` is the session's, where there is one. An answer without a body is of the shape null. */
export async function change<T>(method: "POST" | "DELETE", path: string, body: object | null, shape: Shape<T> | null, csrf: string | null): Promise<T> {
  const headers: Record<string, string> = { ...(csrf && { "x-csrf-token": csrf }), ...(body && { "content-type": "application/json" }) };
  const answer = await ask("", path, { method, headers, ...(body && { body: JSON.stringify(body) }) });
  return shape === null ? (undefined as T) : held(answer, path, shape);
}

interface Answered {
  reply: Response;
  late: AbortSignal;
}

async function ask(base: string, path: string, options: RequestInit, cancelled?: AbortSignal): Promise<Answered> {
  const late = AbortSignal.timeout(TIMEOUT_MS);
  const signal = cancelled ? AbortSignal.any([cancelled, late]) : late;
  let reply: Response;
  try {
    reply = await fetch(`${base}/api/v1/${path}`, { ...options, signal, headers: { accept: "application/json", ...options.headers } });
  } catch (cause) {
    if (cancelled?.aborted) throw cause;
    throw new ApiError(late.aborted ? `gave no answer within ${TIMEOUT_MS / 1000} s` : "cannot be reached", true);
  }
  if (reply.ok) return { reply, late };
  const problem: unknown = await reply.json().catch(() => null);
  const detail = typeof problem === "object" && problem !== null && "detail" in problem && typeof problem.detail === "string" ? problem.detail : null;
  throw new ApiError(`answered ${reply.status} to /api/v1/${path}`, false, reply.status, detail);
}

async function held<T>({ reply, late }: Answered, path: string, shape: Shape<T>, cancelled?: AbortSignal): Promise<T> {
  let body: unknown;
  try {
    body = await reply.json();
  } catch (cause) {
    if (cancelled?.aborted) throw cancelled.reason;
    if (late.aborted) throw new ApiError(`gave no whole answer within ${TIMEOUT_MS / 1000} s`, true);
    if (!(cause instanceof SyntaxError)) throw new ApiError("cannot be reached", true);
    throw new ApiError(`answered /api/v1/${path} with something that is not JSON`, false);
  }
  const odd = misfit(body, shape);
  if (odd) throw new ApiError(`answered /api/v1/${path} in a way that this page does not understand (${odd}): their versions may differ`, false);
  return body as T;
}

/** A failed request in a sentence: the node's own words where it gave some. */
export function sorry(error: unknown): string {
  const text = error instanceof ApiError ? (error.detail ?? `This node ${error.message}`) : error instanceof Error ? error.message : String(error);
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}
