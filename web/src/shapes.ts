// What an answer must look like before any panel draws it. The node may be of another version than the page, and a peer
// may be anybody's: a wrong answer becomes an error in words, never a broken page. Fields beyond these are ignored.
import type { Ingest, LogLine, NewKey, NodeInfo, OwnDevices, Recording, Segment, Setting, Stream, StreamKey, Tickets, Transcoder } from "./api";

/** The shape of T, checked by the compiler against T: what can be null is a `maybe`, which may also be absent; what is
 * `unknown` is looked at by whoever draws it. */
export type Shape<T> = unknown extends T
  ? "anything"
  : null extends T
    ? { maybe: Shape<NonNullable<T>> }
    : T extends string
      ? "string"
      : T extends number
        ? "number"
        : T extends boolean
          ? "boolean"
          : T extends (infer U)[]
            ? [Shape<U>]
            : { [K in keyof T]: Shape<T[K]> };

const S = "string";
const N = "number";
const B = "boolean";
const maybe = <T>(shape: T) => ({ maybe: shape });

export const NODE: Shape<NodeInfo> = {
  role: S,
  name: S,
  address: S,
  version: S,
  started_at: N,
  draining: B,
  balance_wei: maybe(S),
  chain: { id: N, registry: S, broker: S, block: maybe(N) },
  peers: [{ role: S, name: S, url: S }],
};

export const STREAMS: Shape<Stream[]> = [
  {
    name: S,
    id: S,
    state: S,
    started_at: N,
    ended_at: maybe(N),
    hls_url: S,
    viewers: N,
    source: maybe({ codec: S, width: N, height: N, fps: N, bitrate: N, audio: B }),
    renditions: [{ name: S, width: N, height: N, bitrate: N, state: S, last_seq: maybe(N) }],
    orchestrator: maybe(S),
    segments: N,
    parts: N,
    latency_ms: maybe({ p50: N, p99: N }),
    spent_wei: S,
    ingest: maybe({ video_bitrate: N, audio_bitrate: N, fps: N, keyframe_interval_ms: maybe(N), late_ms: N, drift_ms: N, jumps: N, lost: N, warnings: [S] }),
    delay: maybe({ picture: N, part: N, ladder: maybe(N), hold_back: N }),
    recording: maybe({ id: S, state: S, bytes: N, gaps: N, error: maybe(S) }),
  },
];

export const INGEST: Shape<Ingest> = { rtmp_url: S, rtmps_url: maybe(S), srt_url: maybe(S), whip_path: S, keys: [{ name: S, key: S }] };

export const TRANSCODERS: Shape<Transcoder[]> = [
  {
    address: S,
    name: S,
    state: S,
    devices: [{ name: S, kind: S, detail: S, capacity: N, in_use: N, sessions: N }],
    streams: [S],
    segments_ok: N,
    segments_failed: N,
    earned_wei: S,
    bond_mill: S,
    rtt_ms: maybe(N),
    since: N,
    suspended: maybe({ reason: S, until: maybe(N) }),
  },
];

export const SEGMENTS: Shape<Segment[]> = [
  { at: N, stream: S, seq: N, attempt: N, worker: S, worker_name: S, result: S, fault: maybe(S), latency_ms: maybe(N), paid_wei: maybe(S), payer: maybe(S), payee: maybe(S) },
];

export const TICKETS: Shape<Tickets> = {
  received: { count: N, expected_wei: S, winners: N, queued: N, redeemed_wei: S, dropped: N },
  sent: { count: N, expected_wei: S },
  recent: [{ at: N, direction: S, peer: S, face_value_wei: S, win_prob: N, expected_wei: S, winner: maybe(B), state: maybe(S), tx: maybe(S) }],
};

export const KEYS: Shape<StreamKey[]> = [{ name: S, id: S, created_at: N, used_at: maybe(N), revoked_at: maybe(N) }];

export const NEW_KEY: Shape<NewKey> = { name: S, id: S, key: S, rtmp_url: S, rtmps_url: maybe(S), srt_url: maybe(S), whip_url: S, hls_url: maybe(S) };

export const RECORDINGS: Shape<Recording[]> = [{ name: S, id: S, started_ms: N, duration_ms: N, bytes: N, gaps: N, state: S, hls_url: S }];

export const LOG: Shape<LogLine[]> = [{ at: N, level: S, target: S, message: S, fields: "anything" }];

export const CONFIG: Shape<Setting[]> = [{ key: S, doc: S, value: "anything", default: "anything", secret: B, origin: "anything" }];

export const DEVICES: Shape<OwnDevices> = {
  devices: [
    {
      name: S,
      kind: S,
      detail: S,
      megapixels_per_second: N,
      in_use: N,
      sessions: N,
      load: maybe({ utilisation: maybe(N), memory_bytes: maybe(N), memory_total_bytes: maybe(N), temperature_c: maybe(N), throttled: maybe(S), encoder_sessions: maybe(N) }),
    },
  ],
  draining: B,
  processes: [{ device: S, pid: maybe(N), restarts: N, last_end: maybe(S) }],
};

/** The first place where `value` is not of `shape`, as a path such as `[0].chain.id`; null where all of it fits. */
export function misfit(value: unknown, shape: unknown, path = ""): string | null {
  if (shape === "anything") return null;
  // JSON can write numbers that are too large to be any.
  if (typeof shape === "string") return typeof value === shape && (shape !== N || Number.isFinite(value)) ? null : path || "the whole";
  if (Array.isArray(shape)) {
    if (!Array.isArray(value)) return path || "the whole";
    return first(value.map((item, i) => [item, shape[0], `${path}[${i}]`]));
  }
  const fields = shape as Record<string, unknown>;
  if ("maybe" in fields) return value === null || value === undefined ? null : misfit(value, fields.maybe, path);
  if (typeof value !== "object" || value === null) return path || "the whole";
  return first(Object.entries(fields).map(([key, inner]) => [(value as Record<string, unknown>)[key], inner, path ? `${path}.${key}` : key]));
}

function first(parts: [unknown, unknown, string][]): string | null {
  for (const [value, shape, path] of parts) {
    const found = misfit(value, shape, path);
    if (found) return found;
  }
  return null;
}
