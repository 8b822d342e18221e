// Made-up answers of a small network, for looking at the console without one. Development only: nothing here is built.

const hex = (seed, bytes) => {
  let x = seed * 2654435761;
  let s = "0x";
  for (let i = 0; i < bytes; i += 1) {
    x = (Math.imul(x ^ (x >>> 15), 2246822519) + 0x9e3779b9 + i) >>> 0;
    s += (x & 0xff).toString(16).padStart(2, "0");
  }
  return s;
};
const gwei = (n) => `${BigInt(Math.round(n * 1000)) * 1_000_000n}`;
const eth = (n) => `${BigInt(Math.round(n * 1e6)) * 1_000_000_000_000n}`;

/** Nodes by port, counted from the first. `scene` is live, empty or trouble. */
export function network(scene, ports) {
  const began = Date.now() - 754_000;
  const roles = [
    { role: "broadcaster", name: "weir" },
    { role: "orchestrator", name: "sluice" },
    { role: "transcoder", name: "wheel-1" },
    { role: "transcoder", name: "wheel-2" },
  ].map((r, i) => ({ ...r, address: hex(i + 1, 20), url: `http://127.0.0.1:${ports[i]}` }));
  const [b, o, t1, t2] = roles;
  const stream = hex(77, 32);
  const busy = scene !== "empty";
  const seqNow = () => Math.floor((Date.now() - began) / 2000);

  const node = (i) => ({
    role: roles[i].role,
    name: roles[i].name,
    address: roles[i].address,
    version: "0.1.0",
    started_at: began - 9_000,
    draining: false,
    balance_wei: eth([9.81734, 4.20931, 1.03312, 1.01877][i]),
    chain: { id: 31337, registry: hex(50, 20), broker: hex(51, 20), block: 1_204 + seqNow() },
    peers: roles.filter((_, j) => j !== i).map(({ role, name, url }) => ({ role, name, url })),
  });
  const rendition = (name, width, height, bitrate, state = "ok", behind = 0) => ({ name, width, height, bitrate, state, last_seq: seqNow() - behind });
  const streams = () => {
    const live = {
      name: "demo",
      id: stream,
      state: "live",
      started_at: began,
      ended_at: null,
      hls_url: "/live/demo/master.m3u8",
      viewers: 12,
      source: { codec: "h264", width: 1280, height: 720, fps: 30, bitrate: 3_012_000, audio: true },
      renditions: [
        rendition("720p", 1280, 720, 2_800_000),
        rendition("480p", 854, 480, 1_400_000, scene === "trouble" ? "late" : "ok"),
        rendition("360p", 640, 360, 800_000),
      ],
      orchestrator: o.address,
      segments: seqNow(),
      parts: seqNow() * 10,
      latency_ms: { p50: 148, p99: 291 },
      spent_wei: gwei(seqNow() * 18_211.4),
    };
    const ended = { ...live, name: "rehearsal", id: hex(78, 32), state: "ended", started_at: began - 4_000_000, ended_at: began - 900_000, hls_url: "/live/rehearsal/master.m3u8", segments: 1550, parts: 15_500 };
    return busy ? [live, ended] : [];
  };
  const device = (name, kind, detail, capacity, in_use, sessions) => ({ name, kind, detail, capacity, in_use, sessions });
  const transcoders = () => {
    if (!busy) return [t1, t2].map((t) => ({ address: t.address, name: t.name, state: "ready", devices: [device("CPU", "x264", "2 cores, superfast", 92, 0, 0)], streams: [], segments_ok: 0, segments_failed: 0, earned_wei: "0", bond_mill: "100", rtt_ms: 0.6, since: began, suspended: null }));
    const first = {
      address: t1.address,
      name: t1.name,
      state: "working",
      devices: [device("NVIDIA L4", "nvenc", "GPU 0, driver 570.86, 2 encoders", 1_480, 49, 1), device("CPU", "x264", "16 cores, superfast", 310, 0, 0)],
      streams: [stream],
      segments_ok: seqNow() - 31,
      segments_failed: 0,
      earned_wei: gwei(seqNow() * 9_020.2),
      bond_mill: "100",
      rtt_ms: 0.7,
      since: began,
      suspended: null,
    };
    const second = {
      ...first,
      address: t2.address,
      name: t2.name,
      state: scene === "trouble" ? "suspended" : "ready",
      devices: [device("CPU", "x264", "2 cores, superfast", 92, scene === "trouble" ? 0 : 88, scene === "trouble" ? 0 : 2)],
      streams: [],
      segments_ok: 28,
      segments_failed: scene === "trouble" ? 3 : 0,
      earned_wei: gwei(28 * 9_020.2),
      suspended: scene === "trouble" ? { reason: "480p shows another picture than the source (distance 119 of 256, limit 42)", until: Date.now() + 1_460_000 } : null,
    };
    return [first, second];
  };
  const segments = (limit) => {
    if (!busy) return [];
    const now = seqNow();
    return Array.from({ length: Math.min(limit, now) }, (_, i) => {
      const seq = now - i;
      const lie = scene === "trouble" && seq % 9 === 4;
      const lost = seq % 23 === 7;
      const w = lie || lost ? t2 : t1;
      return {
        at: began + seq * 2000 + 140,
        stream,
        seq,
        attempt: !lie && !lost && seq % 9 === 5 ? 1 : 0,
        worker: w.address,
        worker_name: w.name,
        result: lie ? "fail" : lost ? "lost" : "pass",
        fault: lie ? "480p shows another picture than the source (distance 119 of 256, limit 42)" : lost ? "connection closed in mid-segment" : null,
        latency_ms: lost ? null : 141 + ((seq * 37) % 90),
        paid_wei: lie || lost ? null : gwei(9_020.2 + (seq % 5)),
        payer: o.address,
        payee: lie || lost ? null : w.address,
      };
    });
  };
  const tickets = (i, limit) => {
    const n = busy ? seqNow() : 0;
    const sent = [n, n, 0, 0][i];
    const got = [0, n, n - 31, 28][i] * (busy ? 1 : 0);
    const each = [18_211.4, i === 1 ? 18_211.4 : 9_020.2][i === 0 ? 0 : 1];
    const wins = Math.floor(got / 11);
    const face = gwei(99_000 + i * 1000);
    const states = ["queued", "sent", "mined", "final"];
    return {
      received: { count: got, expected_wei: gwei(got * each), winners: wins, queued: wins > 2 ? 1 : 0, redeemed_wei: gwei((99_000 + i * 1000) * Math.max(0, wins - 2)), dropped: scene === "trouble" && i === 2 ? 1 : 0 },
      sent: { count: sent, expected_wei: gwei(sent * (i === 0 ? 18_211.4 : 9_020.2)) },
      recent: Array.from({ length: Math.min(limit, wins) }, (_, k) => ({
        at: Date.now() - k * 22_000 - 1_300 * (i + 1),
        direction: "in",
        peer: i === 1 ? b.address : o.address,
        face_value_wei: face,
        win_prob: 1 / 11,
        expected_wei: gwei(each),
        winner: true,
        state: scene === "trouble" && k === 4 ? "dropped" : states[Math.min(3, k)],
        tx: k < 1 || (scene === "trouble" && k === 4) ? null : hex(i * 1000 + k, 32),
      })),
    };
  };

  const devices = (i) => {
    const [of] = transcoders().slice(i - 2);
    const load = (hot) => ({ utilisation: 38 + 9 * Math.sin(Date.now() / 9000), memory_bytes: 1_340_000_000, memory_total_bytes: 24_152_000_000, temperature_c: hot ? 84 : 52, throttled: hot ? "the card is too warm" : null, encoder_sessions: 2 });
    return {
      devices: of.devices.map(({ capacity, ...d }) => ({ ...d, megapixels_per_second: capacity, load: d.kind === "nvenc" ? load(scene === "trouble") : null })),
      draining: false,
      processes: of.devices.map((d, k) => ({ device: d.name, pid: 4_100 + k, restarts: scene === "trouble" ? 1 : 0, last_end: scene === "trouble" ? "killed by signal 9" : null })),
    };
  };

  return (i, path, query) => {
    const limit = Number(query.get("limit") ?? 50);
    switch (path) {
      case "node":
        return node(i);
      case "session":
        return { who: "this_machine", address: null, name: null, can_read: true, can_operate: false, csrf: null, expires_at: null };
      case "streams":
        return i === 0 ? streams() : undefined;
      case "ingest":
        return i === 0 ? { rtmp_url: "rtmp://127.0.0.1:1935/live", keys: [{ name: "demo", key: "k7Qm2-vaXw9-Tt4eP" }] } : undefined;
      case "transcoders":
        return i === 1 ? transcoders() : undefined;
      case "devices":
        return i >= 2 ? devices(i) : undefined;
      case "evidence":
        return i === 1 ? [] : undefined;
      case "sampling":
        return i === 1 ? { epoch: Math.floor(began / 86_400_000), revealed: null, next_reveal_at: null, overdue_at: null, problem: null } : undefined;
      case "segments":
        return segments(limit);
      case "tickets":
        return tickets(i, limit);
      default:
        return undefined;
    }
  };
}
