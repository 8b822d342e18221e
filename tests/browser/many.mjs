// A node in front of a node: it answers as the one behind it, but has many more streams and tickets, made after those that are there, so that
// they are of the API's own shape; and its events come as fast as a test wants them.
import { createServer, request } from "node:http";

const HEX = 16;
const id = (n) => `0x${n.toString(HEX).padStart(64, "0")}`;
/** The name of the last stream, which a page must take for text. */
export const MARKUP = `zz <img src="x" onerror="window.marked = true"><b>bold</b> &amp; {{1}}`;
/** Rows that a node tells in its events. */
const TOLD = 50;
const LINES = 2_000;

/** Waits until the node behind has a live stream and has been paid for it. */
async function templates(node, paid, limit = 60_000) {
  const ask = async (base, call) => (await fetch(new URL(`/api/v1/${call}`, base))).json();
  for (const until = Date.now() + limit; ; await new Promise((wait) => setTimeout(wait, 200))) {
    const [streams, tickets, segments, log] = await Promise.all([ask(node, "streams"), ask(paid, "tickets?limit=500"), ask(paid, "segments"), ask(node, "log?limit=1")]);
    const live = streams.find((s) => s.state === "live" && s.latency_ms && s.ingest && s.delay);
    if (live && tickets.recent.some((t) => t.direction === "in") && segments.length > 0 && log.length > 0) return { live, tickets, segment: segments[0], line: log[0] };
    if (Date.now() > until) throw new Error("the node behind has no stream that was paid for");
  }
}

/** Stands in front of the broadcaster at `node`, with the tickets of the node at `paid`. `tick` makes a second of events. */
export async function many(node, paid) {
  const { live, tickets, segment, line } = await templates(node, paid);
  const behind = new URL(node);
  const listeners = new Set();
  let [ticks, streamCount, ticketCount] = [0, 10, 10];

  const stream = (i) => (i === 0 ? live : {
    ...live,
    id: id(i),
    name: i === streamCount - 1 ? MARKUP : `camera-${String(i).padStart(4, "0")}`,
    started_at: live.started_at - i * 1_000,
    viewers: (i * 7 + ticks) % 100,
    segments: live.segments + ticks,
    parts: live.parts + ticks * 10,
    spent_wei: String(BigInt(live.spent_wei) + BigInt(ticks * i)),
    latency_ms: { p50: 100 + ((i + ticks) % 50), p99: 200 + ((i * 3 + ticks) % 90) },
    ingest: { ...live.ingest, video_bitrate: live.ingest.video_bitrate + ((i + ticks) % 9) * 1_000 },
  });
  const said = (n) => ({ ...line, at: line.at + n * 300, message: `line ${n}` });
  const received = tickets.recent.filter((t) => t.direction === "in");
  // The newest first, and a new one with each tick.
  const ticket = (i) => ({ ...received[(i + 1_000_000 - ticks) % received.length], at: received[0].at + (ticks - i) * 1_000 });
  const range = (count, make) => Array.from({ length: count }, (_, i) => make(i));
  const answers = {
    streams: () => range(streamCount, stream),
    tickets: (rows) => ({ ...tickets, received: { ...tickets.received, count: ticketCount + ticks }, recent: range(Math.min(rows, ticketCount), ticket) }),
    segments: (rows) => range(Math.min(rows, TOLD), (i) => ({ ...segment, seq: segment.seq + ticks - i, at: segment.at + (ticks - i) * 1_000 })),
    log: () => range(3, (i) => said(ticks * 3 + i)),
  };
  const event = (topic) => `event: ${topic}\nid: 0-${ticks}\ndata: ${JSON.stringify(answers[topic](TOLD))}\n\n`;

  const server = createServer((asked, answer) => {
    const url = new URL(asked.url, "http://front");
    const call = url.pathname.startsWith("/api/v1/") ? url.pathname.slice("/api/v1/".length) : "";
    if (call === "events") {
      const listener = { answer, topics: url.searchParams.get("topics").split(",").filter((topic) => topic in answers) };
      answer.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
      for (const topic of listener.topics) answer.write(event(topic));
      listeners.add(listener);
      asked.on("close", () => listeners.delete(listener));
      return;
    }
    // All of the tickets at once, more than a node gives: what the page does with them is looked at, not what it asks for.
    if (call === "streams" || call === "tickets") {
      answer.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answers[call](url.searchParams.has("limit") ? ticketCount : TOLD)));
      return;
    }
    // As many lines as a node keeps: a page that has them all has as many as it ever will.
    if (call === "log") {
      answer.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(range(LINES, (i) => said(ticks * 3 + 2 - LINES + 1 + i))));
      return;
    }
    const { host, origin, ...headers } = asked.headers;
    const passed = request({ host: behind.hostname, port: behind.port, path: asked.url, method: asked.method, headers }, (told) => {
      answer.writeHead(told.statusCode, told.headers);
      told.pipe(answer);
    });
    passed.on("error", () => answer.destroy());
    answer.on("close", () => passed.destroy());
    asked.pipe(passed);
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    live,
    set(streams, ofTickets) {
      [streamCount, ticketCount] = [streams, ofTickets];
    },
    tick() {
      ticks += 1;
      for (const { answer, topics } of listeners) {
        // Whoever does not keep up misses some, as with a node, whose ring has an end.
        if (answer.writableLength < 8 << 20) for (const topic of topics) answer.write(event(topic));
      }
    },
    stop() {
      server.close();
      server.closeAllConnections();
    },
  };
}
