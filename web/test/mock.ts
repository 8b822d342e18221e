// A small made-up network for tests.
import { ApiError, type NodeInfo, type Segment, type Stream, type Tickets, type Transcoder } from "../src/api";
import type { From, Load, Network, Seen } from "../src/network";

export const NOW = 1_800_000_000_000;
const address = (digit: string) => `0x${digit.repeat(40)}`;

export function seen(role: string, name: string, digit: string, error: ApiError | null = null): Seen {
  const data: NodeInfo = {
    role,
    name,
    address: address(digit),
    version: "0.1.0",
    started_at: NOW - 60_000,
    draining: false,
    balance_wei: "2500000000000000000",
    chain: { id: 31337, registry: address("e"), broker: address("f"), block: 12 },
    peers: [],
  };
  return { url: role === "broadcaster" ? "" : `http://127.0.0.1:900${digit}`, role, name, info: { data, error, at: NOW } };
}

export const weir = seen("broadcaster", "weir", "1");
export const sluice = seen("orchestrator", "sluice", "2");
export const wheel = seen("transcoder", "wheel-1", "3");

export const stream: Stream = {
  name: "demo",
  id: `0x${"ab".repeat(32)}`,
  state: "live",
  started_at: NOW - 65_000,
  ended_at: null,
  hls_url: "/live/demo/master.m3u8",
  viewers: 3,
  source: { codec: "h264", width: 1280, height: 720, fps: 30, bitrate: 3_000_000, audio: false },
  renditions: [{ name: "480p", width: 854, height: 480, bitrate: 1_400_000, state: "ok", last_seq: 31 }],
  orchestrator: address("2"),
  segments: 32,
  parts: 320,
  latency_ms: { p50: 150, p99: 290 },
  spent_wei: "5000000000000000",
  ingest: {
    video_bitrate: 2_900_000,
    audio_bitrate: 128_000,
    fps: 30,
    keyframe_interval_ms: 2_000,
    late_ms: 40,
    drift_ms: 0,
    jumps: 0,
    lost: 0,
    warnings: [],
  },
  delay: { picture: 33, part: 167, ladder: 62, hold_back: 630 },
  recording: null,
};
/** The same from an encoder that could do better. */
export const unwell: Stream = { ...stream, ingest: { ...stream.ingest!, keyframe_interval_ms: 8_300, warnings: ["a keyframe comes every 8.3 s: set the encoder's keyframe interval to 2 s"] } };
export const transcoder: Transcoder = {
  address: address("3"),
  name: "wheel-1",
  state: "working",
  devices: [{ name: "CPU", kind: "x264", detail: "2 cores", capacity: 100, in_use: 45, sessions: 1 }],
  streams: [stream.id],
  segments_ok: 31,
  segments_failed: 0,
  earned_wei: "4000000000000000",
  bond_mill: "100",
  rtt_ms: 0.6,
  since: NOW - 60_000,
  suspended: null,
};
export const segment: Segment = {
  at: NOW - 3_000,
  stream: stream.id,
  seq: 31,
  attempt: 0,
  worker: address("3"),
  worker_name: "wheel-1",
  result: "pass",
  fault: null,
  latency_ms: 212,
  paid_wei: "9000000000000",
  payer: address("2"),
  payee: address("3"),
};
export const tickets: Tickets = {
  received: { count: 31, expected_wei: "4000000000000000", winners: 3, queued: 1, redeemed_wei: "3000000000000000", dropped: 0 },
  sent: { count: 0, expected_wei: "0" },
  recent: [
    { at: NOW - 1_000, direction: "in", peer: address("2"), face_value_wei: "1000000000000000", win_prob: 0.1, expected_wei: "100000000000000", winner: true, state: "mined", tx: `0x${"cd".repeat(32)}` },
    { at: NOW - 2_000, direction: "in", peer: address("2"), face_value_wei: "1000000000000000", win_prob: 0.1, expected_wei: "100000000000000", winner: false, state: null, tx: null },
  ],
};

export const loaded = <T>(node: Seen, ...items: T[]): Load<From<T>[]> => ({ state: "ready", data: items.map((item) => ({ node, item })), trouble: null });
export const failed: Load<never[]> = { state: "failed", message: "sluice cannot be reached" };
export const silent = new ApiError("cannot be reached", true);

export function network(change: Partial<Network> = {}): Network {
  return {
    root: weir.info,
    nodes: [weir, sluice, wheel],
    told: true,
    unasked: 0,
    streams: loaded(weir, stream),
    ingest: loaded(weir, { rtmp_url: "rtmp://127.0.0.1:1935/live", rtmps_url: "rtmps://127.0.0.1:1936/live", srt_url: "srt://127.0.0.1:8890", whip_path: "/whip", keys: [{ name: "demo", key: "secret-key" }] }),
    transcoders: loaded(sluice, transcoder),
    segments: loaded(sluice, segment),
    tickets: loaded(wheel, tickets),
    ...change,
  };
}
