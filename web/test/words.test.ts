import { describe, expect, test } from "vitest";
import { named } from "../src/hls";
import { merge, unseen } from "../src/network";
import { ffmpeg } from "../src/publish";
import { misfit, NODE, TICKETS, TRANSCODERS } from "../src/shapes";
import { choose } from "../src/streams";
import { absolute } from "../src/format";
import { health, verdict } from "../src/words";
import { loaded, NOW, network, segment, seen, silent, sluice, stream, tickets, transcoder, weir } from "./mock";

describe("health", () => {
  test("a network at work is well", () => {
    expect(health(network(), NOW)).toMatchObject({ tone: "ok", text: "All well: 1 stream live, 1 transcoder, every segment of the last minute passed" });
  });
  test("without a stream it is ready", () => {
    expect(health(network({ streams: loaded(weir), segments: loaded(sluice) }), NOW)).toMatchObject({ tone: "idle", text: "Ready: 1 transcoder, no stream is live" });
  });
  test("a suspended only transcoder is worst, and everything found is told", () => {
    const net = network({ transcoders: loaded(sluice, { ...transcoder, state: "suspended" as const, suspended: { reason: "luma differs by 3104/16 levels", until: null } }) });
    expect(health(net, NOW)).toMatchObject({ tone: "bad", details: ["No transcoder is ready", "Transcoder wheel-1 is suspended: luma differs by 194 levels"] });
  });
  test("nothing is missing before it is known who there is", () => {
    expect(health(network({ nodes: [weir], transcoders: { state: "loading" } }), NOW).details).toEqual(["Asking who there is"]);
  });
  test("a failed segment colours it for one minute", () => {
    const net = network({ segments: loaded(sluice, { ...segment, result: "fail" as const }) });
    expect(health(net, NOW)).toMatchObject({ tone: "warn", text: "1 of 1 segment attempt did not pass in the last minute" });
    expect(health(net, NOW + 60_000).tone).toBe("ok");
  });
  test("a silent peer and a silent node are told apart", () => {
    expect(health(network({ nodes: [weir, sluice, seen("transcoder", "wheel-1", "3", silent)] }), NOW)).toMatchObject({ tone: "warn", text: "Transcoder wheel-1 does not answer" });
    expect(health(network({ root: { data: undefined, error: silent, at: 0 } }), NOW)).toMatchObject({ tone: "bad", text: "This node cannot be reached" });
    expect(health(network({ root: { data: undefined, error: null, at: 0 } }), NOW).tone).toBe("idle");
  });
});

test("every result has a word, and a reason when it is no pass", () => {
  expect(verdict(segment)).toMatchObject({ tone: "ok", word: "Pass", why: null });
  expect(verdict({ ...segment, result: "fail", fault: "black picture" })).toMatchObject({ tone: "bad", why: "black picture" });
  expect(verdict({ ...segment, result: "lost" }).why).toBe("the worker went away");
  expect(verdict({ ...segment, result: "refused" }).why).toBe("the worker declined it");
});

describe("merging the answers of nodes", () => {
  const root = weir.info;
  const ok = { data: [1, 2], error: null, at: NOW };
  const none = { data: undefined, error: null, at: 0 };
  const broken = { data: undefined, error: silent, at: 0 };
  test("waits for the first, keeps what came, names who is missing", () => {
    expect(merge([weir, sluice], [none, none], root).state).toBe("loading");
    expect(merge([weir, sluice], [broken, none], root).state).toBe("loading");
    expect(merge([weir, sluice], [ok, broken], root)).toEqual({ state: "ready", data: [{ node: weir, item: 1 }, { node: weir, item: 2 }], trouble: "sluice cannot be reached" });
    expect(merge([weir, sluice], [broken, broken], root)).toEqual({ state: "failed", message: "weir, sluice cannot be reached" });
  });
  test("no node of a kind is an empty list, unless we could not ask who there is", () => {
    expect(merge([], [], root)).toEqual({ state: "ready", data: [], trouble: null });
    expect(merge([], [], broken).state).toBe("failed");
    expect(merge([], [], none).state).toBe("loading");
  });
});

test("peers are followed once, by http and https only", () => {
  const peer = (url: string) => ({ role: "orchestrator", name: "x", url });
  const before = [peer("http://10.0.0.1:9000")];
  const urls = unseen([peer("http://10.0.0.1:9000/"), peer("http://10.0.0.2:9000/a"), peer("http://10.0.0.2:9000"), peer("javascript:alert(1)"), peer("nonsense")], before).map((p) => p.url);
  expect(urls).toEqual(["http://10.0.0.2:9000"]);
});

test("a stream that ended gives way to its successor of the same name", () => {
  const live = { node: weir, item: stream };
  const ended = { node: weir, item: { ...stream, id: "0xold", state: "ended" as const } };
  const other = { node: weir, item: { ...stream, id: "0xother", name: "other" } };
  expect(choose([ended, live], null)).toBe(live);
  expect(choose([other, ended, live], " 0xold")).toBe(live);
  expect(choose([other, ended], " 0xold")).toBe(ended);
  expect(choose([other, live], ` ${stream.id}`)).toBe(live);
  expect(choose([ended], null)).toBeNull();
});

test("levels take their name from the playlist, the folder or the height, each once", () => {
  const level = (name: string, uri: string) => ({ name, uri, width: 0, height: 720, bitrate: 1 });
  expect(named([level("HD", "x"), level("", "http://h/live/demo/720p/index.m3u8?v=1"), level("", "/live/demo/720p/index.m3u8"), level("", "index.m3u8")]).map((l) => l.name)).toEqual(["HD", "720p", "720p (2)", "720p (3)"]);
});

test("the ffmpeg line joins URL and key by one slash", () => {
  expect(ffmpeg("rtmp://h:1935/live/", "k")).toContain('-f flv "rtmp://h:1935/live/k"');
  expect(ffmpeg("rtmp://h:1935/live", "k")).toContain('"rtmp://h:1935/live/k"');
});

test("an answer of a wrong shape is refused with the place of the fault; what may be null may be absent", () => {
  expect(misfit(weir.info.data, NODE)).toBeNull();
  expect(misfit(tickets, TICKETS)).toBeNull();
  expect(misfit([transcoder, { ...transcoder, rtt_ms: undefined, extra: 1 }], TRANSCODERS)).toBeNull();
  expect(misfit([transcoder, { ...transcoder, address: null }], TRANSCODERS)).toBe("[1].address");
  expect(misfit({ ...weir.info.data, chain: { ...weir.info.data!.chain, id: "1" } }, NODE)).toBe("chain.id");
  expect(misfit([{ ...transcoder, suspended: {} }], TRANSCODERS)).toBe("[0].suspended.reason");
  expect(misfit([{ ...transcoder, since: JSON.parse("1e999") as number }], TRANSCODERS)).toBe("[0].since");
  for (const odd of [null, "x", 3, {}]) expect(misfit(odd, TRANSCODERS)).toBe("the whole");
});

test("an address is taken relative to the node that told it, and only by http(s)", () => {
  expect(absolute("/live/demo/master.m3u8", "http://10.0.0.1:9000")).toBe("http://10.0.0.1:9000/live/demo/master.m3u8");
  expect(absolute("https://cdn.example/m.m3u8", "http://10.0.0.1:9000")).toBe("https://cdn.example/m.m3u8");
  expect(absolute("javascript:alert(1)", "http://10.0.0.1:9000")).toBeNull();
  expect(absolute("http://[", "http://10.0.0.1:9000")).toBeNull();
});
