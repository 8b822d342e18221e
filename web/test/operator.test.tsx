// What operators see and do: who is let in, alerts, the log, keys, recordings, drains.
import type { ReactElement } from "react";
import { renderToStaticMarkup } from "react-dom/server";
import { describe, expect, test } from "vitest";
import { alerts, lasts } from "../src/alerts";
import { ApiError, type LogLine, type Recording, type Setting, sorry, type StreamKey } from "../src/api";
import { shares } from "../src/delay";
import { consequences, stage } from "../src/drain";
import { formatBytes, formatClock, parseClock } from "../src/format";
import { payerOf, type Purse } from "../src/funds/purse";
import { asText, more, MOST_LINES, select } from "../src/live/log";
import { merge } from "../src/network";
import { Config, originOf, valueOf } from "../src/pages/config";
import { KeyTable, Made } from "../src/pages/keys";
import { Lines } from "../src/pages/log";
import { folderOf, RecordingTable, stretch } from "../src/pages/recordings";
import type { Session } from "../src/session/api";
import { Closed, OwnersOnly } from "../src/session/closed";
import { SessionContext } from "../src/session/session";
import { whyNot } from "../src/session/sign";
import { CONFIG, KEYS, LOG, misfit, RECORDINGS } from "../src/shapes";
import { MantineProvider } from "@mantine/core";
import { thumbnail } from "../src/stream-list";
import { Loaded, Now } from "../src/ui";
import { health } from "../src/words";
import { loaded, NOW, network, seen, segment, silent, sluice, stream, transcoder, unwell, weir } from "./mock";

const DAY = 86_400_000;
const ETH = 10n ** 18n;
const session = (who: string): Session => ({ who, address: null, name: null, can_read: who !== "anyone", can_operate: who === "owner", csrf: who === "owner" ? "token" : null, expires_at: null });
const never = async (): Promise<never> => {
  throw new Error("a picture of a page changes nothing");
};
function html(element: ReactElement, who = "owner") {
  const value = { session: session(who), expired: false, asking: false, ask: () => {}, opened: () => {}, recheck: () => {}, leave: never, change: never };
  return renderToStaticMarkup(
    <MantineProvider>
      <Now value={NOW}>
        <SessionContext value={value}>{element}</SessionContext>
      </Now>
    </MantineProvider>,
  );
}
const list = <T,>(...data: T[]) => ({ state: "ready" as const, data, trouble: null });
const times = (text: string, part: string) => text.split(part).length - 1;
const disabled = (text: string, id: string) => new RegExp(`<button[^>]*data-testid="${id}"[^>]*disabled`).test(text) || new RegExp(`<button[^>]*disabled=""[^>]*data-testid="${id}"`).test(text);

describe("alerts", () => {
  const purse = (change: Partial<Purse> = {}): Purse => ({ payer: null, locked: ETH, unlocking: [], blockAt: NOW, ...change });
  const found = (net = network(), p: Purse | null = purse()) => alerts(net, p, NOW).map((a) => `${a.tone} ${a.text}`);
  test("a network that is well has none", () => expect(found(network(), purse({ locked: 99n * ETH }))).toEqual([]));
  test("each names the thing, the figure and where to go", () => {
    const expected: [ReturnType<typeof network>, Purse | null, RegExp, string][] = [
      [network(), purse({ blockAt: NOW - 300_000 }), /^The chain stands: its newest block is 5 min 00 s old/, "/config"],
      [network(), purse({ unlocking: [{ payee: "0xaa", name: "sluice", wei: ETH / 2n, at: NOW + DAY }] }), /^0.5 ETH of the lock for sluice comes free in 1 d 0 h/, "/funds"],
      [network(), purse({ unlocking: [{ payee: "0xaa", name: null, wei: ETH / 2n, at: NOW - 1 }] }), /for 0xaa can be withdrawn/, "/funds"],
      [network({ streams: loaded(weir, unwell) }), null, /^Stream demo: a keyframe comes every 8.3 s/, "/streams"],
      [network({ streams: loaded(weir, { ...stream, recording: { id: "x", state: "failing", bytes: 1, gaps: 7, error: "no space left" } }) }), null, /not being recorded: no space left, 7 segments missing/, "/recordings"],
      [network({ streams: loaded(weir, { ...stream, renditions: [{ ...stream.renditions[0]!, state: "late" as const }] }) }), null, /^Stream demo: 480p late/, "/segments"],
      [network({ segments: loaded(sluice, { ...segment, result: "lost" as const }) }), null, /^1 of 1 segment attempt did not pass/, "/segments"],
      [network({ transcoders: loaded(sluice) }), null, /^No transcoder is ready/, "/nodes"],
      [network({ transcoders: loaded(sluice, { ...transcoder, state: "suspended" as const, suspended: { reason: "black", until: null } }) }), null, /suspended|No transcoder/, "/nodes"],
      [network({ nodes: [weir, seen("orchestrator", "sluice", "2", silent)] }), null, /^Orchestrator sluice does not answer/, "/nodes"],
      [network({ nodes: [weir] }), null, /^No orchestrator is known/, "/config"],
      [network({ root: { ...weir.info, data: { ...weir.info.data!, balance_wei: "0" } } }), purse(), /has 0 ETH/, "/nodes"],
      [network({ root: { ...weir.info, data: { ...weir.info.data!, chain: { ...weir.info.data!.chain, block: null } } } }), purse({ blockAt: 0 }), /^The chain does not answer/, "/config"],
      [network({ nodes: [{ ...weir, info: { ...weir.info, data: { ...weir.info.data!, draining: true } } }, sluice] }), null, /is draining/, "/nodes"],
      [network({ root: { ...weir.info, error: silent } }), null, /^This node cannot be reached/, "/nodes"],
    ];
    for (const [net, p, text, to] of expected) {
      const all = alerts(net, p, NOW);
      const one = all.find((a) => text.test(a.text));
      expect(one, `${text} in ${JSON.stringify(all)}`).toBeDefined();
      expect(one!.to).toBe(to);
      expect(one!.way.length).toBeGreaterThan(5);
    }
  });
  test("funds are little for the days ahead at what the live streams cost", () => {
    const poor = (balance: bigint) => network({ root: { ...weir.info, data: { ...weir.info.data!, balance_wei: balance.toString() } } });
    // 0.005 ETH in 65 s is some 6.6 ETH a day.
    expect(lasts(poor(0n), purse({ locked: 0n }), NOW)).toMatchObject({ ms: 0 });
    expect(found(poor(ETH), purse())[0]).toMatch(/^bad Funds for 7 h 13 min: 2 ETH at 6\.6461 ETH a day/);
    expect(found(poor(9n * ETH), purse())[0]).toMatch(/^warn Funds for 1 d 12 h/);
    expect(found(poor(99n * ETH), purse())).toEqual([]);
    // Locks that were not found yet are not missing.
    expect(lasts(poor(ETH), purse({ locked: null }), NOW)).toBeNull();
    // What is on its way out pays nothing; a stream of half a minute says nothing.
    expect(lasts(poor(ETH), purse({ unlocking: [{ payee: "0x", name: null, wei: ETH, at: NOW }] }), NOW)!.funds).toBe(ETH);
    expect(lasts(network({ streams: loaded(weir, { ...stream, started_at: NOW - 30_000 }) }), purse(), NOW)).toBeNull();
  });
  test("of a payer's coin only its locks count, and the node needs none for gas", () => {
    const PAYER = `0x${"44".repeat(20)}` as const;
    const net = network({ root: { ...weir.info, data: { ...weir.info.data!, balance_wei: "0" } } });
    expect(found(net, purse({ payer: PAYER }))).toEqual(["bad Funds for 3 h 36 min: 1 ETH in the locks of payer 0x4444…4444 at 6.6461 ETH a day"]);
    expect(alerts(net, purse({ payer: PAYER }), NOW)[0]!.way).toBe(`Lock more as ${PAYER}`);
    expect(found(net, purse({ payer: PAYER, locked: 99n * ETH }))).toEqual([]);
    expect(lasts(network(), purse({ payer: PAYER }), NOW)!.funds).toBe(ETH);
    // Before it is known whose coin it spends, nothing is said of it.
    expect(found(net, null)).toEqual([]);
    const setting = { key: "broadcaster.payer", doc: "", value: PAYER, default: "", secret: false, origin: "default" };
    expect(payerOf([setting])).toBe(PAYER);
    expect(payerOf([{ ...setting, value: "" }])).toBeNull();
    expect(payerOf([])).toBeNull();
  });
  test("the worst comes first, and the header says it", () => {
    const net = network({ transcoders: loaded(sluice), streams: loaded(weir, unwell) });
    expect(found(net, null).map((text) => text.split(" ")[0])).toEqual(["bad", "warn"]);
    expect(health(net, NOW)).toMatchObject({ tone: "bad", text: "No transcoder is ready" });
  });
  test("what is not for strangers is no alarm to them", () => {
    const closed = { state: "closed" } as const;
    const net = network({ nodes: [weir], streams: closed, transcoders: closed, segments: closed, tickets: closed });
    expect(alerts(net, null, NOW)).toEqual([]);
    expect(health(net, NOW)).toMatchObject({ tone: "idle", text: "This node answers; how it does is for its owners" });
  });
});

describe("who is let in", () => {
  const refused = (status: number, detail: string | null = null) => new ApiError(`answered ${status} to /api/v1/x`, false, status, detail);
  test("an answer that is not for everybody is no failure, and leaves nothing behind", () => {
    const closed = { data: [1], error: refused(401), at: NOW };
    expect(merge([weir], [closed], weir.info)).toEqual({ state: "closed" });
    expect(merge([weir, sluice], [closed, { data: [2], error: null, at: NOW }], weir.info)).toEqual({ state: "ready", data: [{ node: sluice, item: 2 }], trouble: "weir is not open to this page" });
    expect(html(<Loaded load={{ state: "closed" }} empty="">{() => null}</Loaded>, "anyone")).toContain("Sign in with a wallet that owns the node");
  });
  test("each is told the way in", () => {
    expect(html(<Closed what="The log" />, "anyone")).toContain("The log is not for the public");
    expect(html(<Closed />, "machine")).toContain("the role operate");
    expect(html(<OwnersOnly what="Draining" />, "this_machine")).toContain("Draining is for the node&#x27;s owners");
    expect(html(<OwnersOnly what="Draining" />, "owner")).not.toContain("owners-only");
  });
  test("a refusal has the node's words, the wallet's, or ours", () => {
    expect(whyNot(refused(403, '"evil.example" is not known as a name of this node'))).toBe('"evil.example" is not known as a name of this node.');
    expect(whyNot(refused(429, "too many attempts"))).toMatch(/^Too many attempts\. Wait/);
    expect(whyNot(Object.assign(new Error("x"), { code: 4001 }))).toBe("You declined it in the wallet: nobody was signed in.");
    expect(sorry(new ApiError("cannot be reached", true))).toBe("This node cannot be reached.");
  });
});

describe("the log", () => {
  const line = (n: number, level = "INFO", message = `line ${n}`): LogLine => ({ at: NOW + n, level, target: "millrace::x", message, fields: { n, who: "me" } });
  test("takes a line once that was read and told, and stays bounded", () => {
    expect(more([line(1), line(2)], [line(2), line(3)])).toEqual([line(1), line(2), line(3)]);
    expect(more(undefined, [line(1), line(1)]).length).toBe(2);
    const full = more(Array.from({ length: MOST_LINES }, (_, i) => line(i)), [line(MOST_LINES)]);
    expect([full.length, full[0]!.message]).toEqual([MOST_LINES, "line 1"]);
  });
  test("is filtered by level and by all words, in fields too", () => {
    const lines = [line(1, "ERROR", "the disk is full"), line(2, "WARN"), line(3), line(4, "DEBUG")];
    expect(select(lines, "WARN", "").length).toBe(2);
    expect(select(lines, "TRACE", "").length).toBe(4);
    expect(select(lines, "TRACE", "DISK who=me").map((l) => l.level)).toEqual(["ERROR"]);
    expect(select(lines, "TRACE", "disk absent")).toEqual([]);
  });
  test("is drawn and copied as text", () => {
    expect(asText(line(1, "WARN"))).toMatch(/^\d{4}-\d\d-\d\d .* WARN {2}millrace::x: line 1 n=1 who=me$/);
    const text = html(<Lines lines={[line(1), line(2, "ERROR", "<b>bad</b>")]} />);
    expect(times(text, 'data-testid="log-line"')).toBe(2);
    expect(text).toContain("&lt;b&gt;bad&lt;/b&gt;");
    expect(text).toContain("2 lines, following");
    expect(html(<Lines lines={[]} />)).toContain("has not logged a line yet");
  });
  test("of another shape is refused", () => expect(misfit([{ ...line(1), at: "now" }], LOG)).toBe("[0].at"));
});

describe("the configuration", () => {
  const setting = (key: string, value: unknown, origin: unknown, secret = false): Setting => ({ key, doc: "what it does", value, default: "d", secret, origin });
  test("has each value's origin, and of secrets only whether they are there", () => {
    expect(misfit([setting("a", null, "default"), setting("b", [1], { flag: "--b" })], CONFIG)).toBeNull();
    expect(originOf({ environment: "MILLRACE_X" })).toEqual({ word: "environment", where: "MILLRACE_X" });
    expect(originOf(3).word).toBe("unknown");
    expect([valueOf(""), valueOf([]), valueOf(5), valueOf("x"), valueOf({ a: 1 })]).toEqual(["empty", "empty", "5", "x", '{"a":1}']);
    const text = html(<Config settings={list(setting("node.name", "weir", { file: "/etc/x.toml" }), setting("broadcaster.keys", "set", "default", true), setting("broadcaster.playback_secret", "", "default", true))} />);
    for (const part of ["1 of 3 set", "/etc/x.toml", "set, and secret", "not set", 'data-origin="file"']) expect(text).toContain(part);
  });
});

describe("stream keys", () => {
  const key = (id: string, change: Partial<StreamKey> = {}): StreamKey => ({ name: "show", id, created_at: NOW - DAY, used_at: null, revoked_at: null, ...change });
  const draw = (who: string) => html(<KeyTable keys={list(key("aaaa"), key("bbbb", { revoked_at: NOW - 5_000 }))} revoked={() => {}} />, who);
  test("good ones can be revoked, by owners", () => {
    expect(misfit([key("a")], KEYS)).toBeNull();
    const text = draw("owner");
    expect(times(text, 'data-testid="ask-revoke"')).toBe(1);
    expect(disabled(text, "ask-revoke")).toBe(false);
    expect(disabled(draw("this_machine"), "ask-revoke")).toBe(true);
    expect(text).toContain("never");
    expect(html(<KeyTable keys={list()} revoked={() => {}} />)).toContain("No key has been made yet");
  });
  test("a new one is shown with its addresses", () => {
    const made = { name: "show", id: "aaaa", key: "k3y", rtmp_url: "rtmp://h:1935/live/k3y", rtmps_url: null, srt_url: "srt://h:8890?streamid=k3y", whip_url: "http://h/whip", hls_url: null };
    const text = html(<Made made={made} close={() => {}} />);
    for (const part of [">rtmp://h:1935/live<", "&quot;rtmp://h:1935/live/k3y&quot;", "srt://h:8890?streamid=k3y", "http://h/whip", "this once"]) expect(text).toContain(part);
    expect(text).not.toContain("encrypted");
  });
});

describe("recordings", () => {
  const recording = (change: Partial<Recording> = {}): Recording => ({ name: "show", id: "20261121T164534Z-9b1c04d2", started_ms: NOW - DAY, duration_ms: 90_000, bytes: 1_250_000_000, gaps: 0, state: "ended", hls_url: "/recordings/show/20261121T164534Z-9b1c04d2/master.m3u8", ...change });
  const draw = (r: Recording, who: string) => html(<RecordingTable recordings={list(r)} picked={null} pick={() => {}} deleted={() => {}} />, who);
  test("have their figures, and go by an owner or from this machine, once they have ended", () => {
    expect(misfit([recording()], RECORDINGS)).toBeNull();
    for (const part of ["1 min 30 s", "1.3 GB", "ended"]) expect(draw(recording(), "owner")).toContain(part);
    expect(disabled(draw(recording(), "owner"), "ask-delete")).toBe(false);
    expect(disabled(draw(recording(), "this_machine"), "ask-delete")).toBe(false);
    expect(disabled(draw(recording(), "machine"), "ask-delete")).toBe(true);
    expect(disabled(draw(recording({ state: "recording" }), "owner"), "ask-delete")).toBe(true);
    expect(draw(recording({ gaps: 2 }), "owner")).toContain("2 gaps");
  });
  test("are played where their node says, and nowhere else", () => {
    const signed = "/recordings/demo@1900000000-0a1b/x1";
    expect(folderOf(recording({ hls_url: `${signed}/master.m3u8` }))).toBe(signed);
    for (const hls_url of ["https://evil.example/recordings/a/b/master.m3u8", "//evil.example/recordings/a/b/master.m3u8", "/live/demo/master.m3u8", ""]) {
      expect(folderOf(recording({ name: "demo", id: "x1", hls_url }))).toBe("/recordings/demo/x1");
    }
  });
  test("a clip is within its recording, and an hour long at most", () => {
    expect(stretch("0:05", "1:00.5", 90)).toEqual({ from: 5, to: 60.5 });
    expect(stretch("2:00", "3:00", 90)).toEqual({ problem: "The recording has 1:30.", at: "from" });
    expect(stretch("0:10", "0:10", 90)).toMatchObject({ at: "to" });
    expect(stretch("0", "3601", 9_000)).toMatchObject({ problem: "A clip is an hour long at most." });
    for (const odd of ["", "a", "-1", "1:60", "1:2:3:4", "1e3", "1:"]) expect(typeof parseClock(odd), odd).toBe("string");
    expect([parseClock("1:02:03"), parseClock(" 90 "), parseClock("0:01.5")]).toEqual([3723, 90, 1.5]);
    expect([formatClock(3723), formatClock(65.9), formatClock(-1)]).toEqual(["1:02:03", "1:05", "0:00"]);
    expect([formatBytes(0), formatBytes(999), formatBytes(2_400_000), formatBytes(601e6), formatBytes(null)]).toEqual(["0 B", "999 B", "2.4 MB", "601 MB", "–"]);
  });
});

describe("a drain", () => {
  const root = (change: object, error: ApiError | null = null) => network({ root: { data: { ...weir.info.data!, ...change }, error, at: NOW } });
  const asked = { at: NOW, life: weir.info.data!.started_at };
  test("is followed to its end, and to the next life", () => {
    expect(stage(network(), null)).toBe("none");
    expect(stage(network(), asked)).toBe("draining");
    expect(stage(root({ draining: true }), null)).toBe("draining");
    expect(stage(root({ draining: true }, silent), null)).toBe("ended");
    expect(stage(root({}, silent), asked)).toBe("ended");
    expect(stage(root({}, silent), null)).toBe("none");
    expect(stage(root({ started_at: NOW }), asked)).toBe("back");
  });
  test("says before what it will do", () => {
    const { streams, transcoders } = network();
    expect(consequences("broadcaster", streams, transcoders)[0]).toBe("1 live stream (demo) ends: publishers are cut off, and viewers see the end.");
    expect(consequences("broadcaster", loaded(weir), transcoders)[0]).toContain("No stream is live");
    expect(consequences("orchestrator", streams, transcoders)[0]).toContain("No transcoder of this orchestrator");
    expect(consequences("transcoder", streams, transcoders)[0]).toContain("no new segments");
    for (const role of ["broadcaster", "orchestrator", "transcoder", "other"]) expect(consequences(role, streams, transcoders).at(-1)).toContain("Then its process ends");
  });
});

test("the delay of a stream is its parts, without those that are not there", () => {
  expect(shares(stream.delay!).map((s) => [s.name, s.ms])).toEqual([["picture", 33], ["part", 167], ["ladder", 62], ["hold-back", 630]]);
  expect(shares({ ...stream.delay!, ladder: null }).length).toBe(3);
});

test("a thumbnail is the own node's, beside the playlist, and anew every ten seconds", () => {
  expect(thumbnail({ node: weir, item: stream }, 25_000)).toBe("/live/demo/thumbnail.jpg?t=2");
  expect(thumbnail({ node: weir, item: { ...stream, hls_url: "/live/demo@1-2/master.m3u8" } }, 0)).toBe("/live/demo@1-2/thumbnail.jpg?t=0");
  expect(thumbnail({ node: sluice, item: stream }, 0)).toBeNull();
  expect(thumbnail({ node: weir, item: { ...stream, state: "ended" as const } }, 0)).toBeNull();
});
