// Each step of each guide in each of its states, every failure among them.
import { encodeEventTopics, encodeAbiParameters, parseEther, zeroHash } from "viem";
import { describe, expect, test } from "vitest";
import { registryAbi } from "../src/abi/registry";
import { ApiError, type DeviceProcess, type OwnDevice, type OwnDevices, type Segment, type Setting, type Stream, type StreamKey } from "../src/api";
import type { ChainFacts } from "../src/chain/shape";
import { startSearch } from "../src/start/search";
import { begin } from "../src/start/begin";
import { fold } from "../src/start/births";
import { type BroadcasterFacts, broadcasterSteps, type Spending } from "../src/start/broadcaster";
import { type DelegatorFacts, delegatorSteps, subject } from "../src/start/delegator";
import { launch } from "../src/start/launch";
import { linesOf, settingsOf, told } from "../src/start/read";
import { gasMoney, type Line, progress, roundUp, said, type Settings, type Step, type Told, type Wallet } from "../src/start/steps";
import { type Account, transcoderSteps, type TranscoderFacts } from "../src/start/transcoder";
import { NOW, segment, stream, tickets, unwell } from "./mock";

const [NODE, ORCH, PAYER, OTHER] = ["1", "2", "3", "4"].map((digit) => `0x${digit.repeat(40)}` as const) as [`0x${string}`, `0x${string}`, `0x${string}`, `0x${string}`];
/** The chain's clock. */
const CHAIN_NOW = 1_800_000_000;
const is = <T>(value: T): Told<T> => ({ is: "known", value });
const asked = { is: "asked" } as const;
const failed = { is: "failed", why: "This node cannot be reached." } as const;
const mill = (text: string) => parseEther(text);

const wallet: Wallet = { address: PAYER, connecting: false, chain: 31_337, wanted: { id: 31_337, name: "local" }, coin: parseEther("5"), mill: mill("1000") };
const nobody: Wallet = { ...wallet, address: null, chain: null, coin: null, mill: null };
const settings: Settings = { file: "/etc/node.toml", orchestrators: [ORCH], bond: mill("150"), lock: parseEther("0.02"), payer: null, hook: false };
const line = (message: string, why: string, ago = 1_000): Told<Line[]> => is([{ at: NOW - ago, message, why }]);

const of = (steps: Step[], name: string) => {
  const found = steps.find((s) => s.name === name);
  if (!found) throw new Error(`no step ${name} among ${steps.map((s) => s.name).join(", ")}`);
  return found;
};
const states = (steps: Step[]) => Object.fromEntries(steps.map((s) => [s.name, s.state]));

describe("a guide", () => {
  const step = (name: string, state: Step["state"], change: Partial<Step> = {}): Step => ({ name, title: name, state, words: "", ...change });
  test("is finished by steps that leave a trace", () => {
    expect(progress([step("a", "done"), step("b", "next", { momentary: true })])).toEqual({ done: 1, of: 2, finished: true });
    expect(progress([step("a", "done"), step("b", "next")])).toEqual({ done: 1, of: 2, finished: false });
  });
  test("rounds money up, to two digits", () => {
    expect(roundUp(123_456n)).toBe(130_000n);
    expect(roundUp(120_000n)).toBe(120_000n);
    expect(roundUp(7n)).toBe(7n);
    expect(roundUp(0n)).toBe(0n);
    expect(gasMoney(1_000_000_000n)).toBe(1_600_000_000_000_000n);
  });
  test("hears of the log what was just said, and the newest of it", () => {
    const log = is<Line[]>([{ at: NOW - 9_000, message: "x", why: "old" }, { at: NOW - 5_000, message: "x", why: "new" }, { at: NOW, message: "y", why: "" }]);
    expect(said(log, NOW, "x")).toBe("new");
    expect(said(log, NOW, "y")).toBe("y");
    expect(said(log, NOW + 60_000, "x")).toBeNull();
    expect(said(failed, NOW, "x")).toBeNull();
  });
  test("keeps what is known while asking anew fails", () => {
    const why = (error: Error) => error.message;
    expect(told({ data: 1, error: new Error("x") }, why)).toEqual(is(1));
    expect(told({ data: 1, error: new ApiError("answered 401", false, 401) }, why)).toEqual({ is: "failed", why: "answered 401" });
    expect(told({ data: undefined, error: new Error("x") }, why)).toEqual({ is: "failed", why: "x" });
    expect(told({ data: undefined, error: null }, why)).toEqual(asked);
  });
});

describe("a configuration", () => {
  const file = { file: "gpu.toml" };
  const setting = (key: string, value: unknown, origin: unknown = "default"): Setting => ({ key, doc: "", value, default: "", secret: false, origin });
  test("of a transcoder", () => {
    const all = [setting("node.name", "x"), setting("transcoder.orchestrator", ORCH, file), setting("transcoder.bond_mill", "250")];
    expect(settingsOf(all)).toEqual({ file: "gpu.toml", orchestrators: [ORCH], bond: mill("250"), lock: 0n, payer: null, hook: false });
  });
  test("of a broadcaster, with what is no address left out", () => {
    const all = [setting("broadcaster.orchestrators", [ORCH, "nonsense", 7]), setting("broadcaster.orchestrator_lock_wei", "20"), setting("broadcaster.payer", PAYER), setting("broadcaster.auth_webhook", "set")];
    expect(settingsOf(all)).toEqual({ file: null, orchestrators: [ORCH], bond: 0n, lock: 20n, payer: PAYER, hook: true });
  });
  test("of another version says nothing wrong", () => expect(settingsOf([])).toEqual({ file: null, orchestrators: [], bond: 0n, lock: 0n, payer: null, hook: false }));
  test("lines of the log have their reason, whichever field it is in", () => {
    const all = [{ at: 1, message: "a", fields: { error: "e" } }, { at: 2, message: "b", fields: { reason: "r" } }, { at: 3, message: "c", fields: { closed: "c" } }, { at: 4, message: "d" }];
    expect(linesOf(all).map((l) => l.why)).toEqual(["e", "r", "c", ""]);
  });
});

describe("the wallet's step", () => {
  const account: Account = { address: NODE, coin: 0n, mill: 0n, roles: 0, bond: 0n, unbonding: 0n, least: mill("100"), gasPrice: 1_000_000n, stoppedUntil: 0, now: CHAIN_NOW };
  const step = (w: Wallet, change: Partial<Account> = {}) => of(transcoderSteps({ ...transcoder, wallet: w, account: is({ ...account, ...change }) }), "wallet");
  test("is the reader's turn without one", () => expect(step(nobody)).toMatchObject({ state: "next", offers: [{ do: "connect" }] }));
  test("waits while it connects", () => expect(step({ ...nobody, connecting: true }).state).toBe("waiting"));
  test("is wrong on another chain", () => {
    const wrong = step({ ...wallet, chain: 1 });
    expect(wrong).toMatchObject({ state: "wrong", offers: [{ do: "switch" }] });
    expect(wrong.words).toContain("on chain 1, and this network is on chain 31337");
  });
  test("is done on the right one", () => expect(step(wallet)).toMatchObject({ state: "done" }));
  test("is done where none is needed", () => expect(step(nobody, { coin: parseEther("1"), mill: mill("200") })).toMatchObject({ state: "done", words: expect.stringContaining("Not needed") }));
});

const card: OwnDevice = { name: "NVIDIA L4", kind: "nvenc", detail: "", megapixels_per_second: 400, in_use: 0, sessions: 0, load: null };
const life: DeviceProcess = { device: "NVIDIA L4", pid: 7, restarts: 0, last_end: null };
const devices: OwnDevices = { devices: [card], draining: false, processes: [life] };
const bonded: Account = { address: NODE, coin: parseEther("1"), mill: 0n, roles: 2, bond: mill("150"), unbonding: 0n, least: mill("100"), gasPrice: 1_000_000_000n, stoppedUntil: 0, now: CHAIN_NOW };
const none = { ...tickets, received: { ...tickets.received, count: 0, winners: 0 }, sent: { count: 0, expected_wei: "0" } };
const transcoder: TranscoderFacts = {
  now: NOW,
  wallet,
  devices: is(devices),
  settings: is(settings),
  account: is(bonded),
  listings: is([{ address: ORCH, uri: "quic://o:4433" }]),
  connected: is(true),
  segments: is([segment]),
  tickets: is(tickets),
  log: is([]),
};

describe("the guide of a GPU owner", () => {
  const steps = (change: Partial<TranscoderFacts> = {}) => transcoderSteps({ ...transcoder, ...change });
  const account = (change: Partial<Account>) => is({ ...bonded, ...change });
  const fresh = account({ roles: 0, bond: 0n, coin: 0n });

  test("is finished by a bonded node that was paid", () => {
    expect(Object.values(states(steps()))).toEqual(Array(7).fill("done"));
    expect(progress(steps())).toEqual({ done: 7, of: 7, finished: true });
  });
  test("begins with what a new node has", () => {
    const all = steps({ wallet: nobody, account: fresh, connected: is(false), segments: is([]), tickets: is(none) });
    expect(states(all)).toEqual({ devices: "done", wallet: "next", money: "waiting", bond: "waiting", orchestrator: "waiting", segment: "waiting", ticket: "waiting" });
  });
  test("asks while nothing is known, and says what failed", () => {
    const all = steps({ devices: asked, account: asked, connected: asked, segments: asked, tickets: asked, wallet: nobody });
    expect(all.filter((s) => s.unknown).map((s) => s.state)).toEqual(Array(6).fill("waiting"));
    expect(of(steps({ devices: failed }), "devices")).toMatchObject({ state: "wrong", words: failed.why, unknown: true });
  });

  test("devices: which, by what, and how fast", () => expect(of(steps(), "devices").words).toBe("NVIDIA L4: H.264 by NVENC, 400 megapixels a second."));
  test("devices: of processors alone it says where the reason is", () => {
    const all = { ...devices, devices: [{ ...card, name: "software", kind: "x264", megapixels_per_second: 30 }] };
    expect(of(steps({ devices: is(all) }), "devices")).toMatchObject({ state: "done", words: expect.stringMatching(/by the processor's cores.*takes 47.*devices found/) });
  });
  test("devices: none, or one whose process ends", () => {
    expect(of(steps({ devices: is({ ...devices, devices: [], processes: [] }) }), "devices")).toMatchObject({ state: "wrong", words: expect.stringContaining("No device is ready") });
    const dead = { ...devices, devices: [{ ...card, megapixels_per_second: 0 }], processes: [{ ...life, pid: null, last_end: "signal 11" }] };
    expect(of(steps({ devices: is(dead) }), "devices")).toMatchObject({ state: "wrong", words: expect.stringMatching(/NVIDIA L4 ended: signal 11.*encoder = "x264".*\/etc\/node.toml/) });
  });

  test("money: what is missing is sent from the wallet", () => {
    const step = of(steps({ account: fresh }), "money");
    expect(step).toMatchObject({ state: "next", offers: [{ do: "send-coin", to: NODE, amount: gasMoney(bonded.gasPrice) }, { do: "send-mill", to: NODE, amount: mill("150") }] });
    expect(of(steps({ account: account({ roles: 0, bond: 0n, mill: mill("60") }) }), "money")).toMatchObject({ state: "next", offers: [{ do: "send-mill", amount: mill("90") }] });
  });
  test("money: without the configuration the network's least bond counts", () => expect(of(steps({ account: fresh, settings: failed }), "money").offers).toContainEqual({ do: "send-mill", to: NODE, amount: mill("100") }));
  test("money: a wallet that has too little", () => {
    expect(of(steps({ account: fresh, wallet: { ...wallet, mill: mill("3") } }), "money")).toMatchObject({ state: "wrong", words: expect.stringContaining("the wallet has 3 MILL") });
    expect(of(steps({ account: fresh, wallet: { ...wallet, coin: 5n } }), "money")).toMatchObject({ state: "wrong", words: expect.stringContaining("the wallet has 5 wei") });
  });
  test("money: enough is enough, also half of the gas that was advised", () => expect(of(steps({ account: account({ roles: 0, bond: 0n, mill: mill("150"), coin: gasMoney(bonded.gasPrice) / 2n }) }), "money").state).toBe("done"));

  const rich = { roles: 0, bond: 0n, mill: mill("150") };
  test("bond: the node's own doing, and what it says against it", () => {
    expect(of(steps({ account: fresh }), "bond")).toMatchObject({ state: "waiting", words: expect.stringContaining("having the money") });
    expect(of(steps({ account: account(rich) }), "bond")).toMatchObject({ state: "waiting", words: "The node registers by itself, within seconds." });
    expect(of(steps({ account: account(rich), log: line("not registered yet", "register: the contract refuses") }), "bond")).toMatchObject({ state: "wrong", words: expect.stringContaining("the contract refuses") });
    expect(of(steps({ account: account(rich), log: line("not registered yet", "the bond takes 150 MILL: send it MILL") }), "bond").state).toBe("waiting");
    expect(of(steps({ account: account({ ...rich, unbonding: mill("100") }) }), "bond")).toMatchObject({ state: "waiting", words: expect.stringContaining("on its way out") });
  });
  test("bond: stopped by the guardian, or slashed below the least", () => {
    expect(of(steps({ account: account({ ...rich, stoppedUntil: CHAIN_NOW + 60 }) }), "bond")).toMatchObject({ state: "wrong", words: expect.stringContaining("guardian") });
    expect(of(steps({ account: account({ bond: mill("50") }) }), "money")).toMatchObject({ state: "next", offers: [{ do: "send-mill", amount: mill("100") }] });
  });

  test("bond: one that is smaller than the node's file asks for", () => {
    const all = steps({ account: account({ bond: mill("100") }), connected: is(false), log: line("not registered yet", "register: the bond takes 50 MILL: send it MILL") });
    expect(states(all)).toMatchObject({ money: "next", bond: "waiting", orchestrator: "waiting" });
    expect(of(all, "money").offers).toEqual([{ do: "send-mill", to: NODE, amount: mill("50") }]);
    expect(of(steps({ account: account({ bond: mill("100") }) }), "bond").state).toBe("done");
    expect(of(steps({ log: line("not registered yet", "the bond takes 150 MILL: send it MILL") }), "bond").state).toBe("done");
  });

  test("orchestrator: dialling, not listed, unreachable, lost", () => {
    const away = { connected: is(false) };
    expect(of(steps({ ...away, account: fresh }), "orchestrator")).toMatchObject({ state: "waiting", words: expect.stringContaining("once it is registered") });
    expect(of(steps(away), "orchestrator").state).toBe("waiting");
    expect(of(steps({ ...away, listings: is([{ address: ORCH, uri: null }]) }), "orchestrator")).toMatchObject({ state: "wrong", words: expect.stringMatching(/no orchestrator of this network.*\/etc\/node.toml/) });
    expect(of(steps({ ...away, log: line("no session with the orchestrator", "no answer from 1.2.3.4 within 5s") }), "orchestrator")).toMatchObject({ state: "wrong", words: expect.stringContaining("no answer from 1.2.3.4") });
    expect(of(steps({ connected: failed }), "orchestrator")).toMatchObject({ state: "wrong", words: failed.why });
  });

  const first = (change: Partial<Segment>) => is([{ ...segment, ...change }]);
  test("segment: none yet, failed, lost, long ago", () => {
    const unpaid = { tickets: is(none) };
    expect(of(steps({ ...unpaid, segments: is([]) }), "segment").state).toBe("waiting");
    expect(of(steps({ ...unpaid, segments: first({ result: "fail", fault: "720p: luma differs by 3104/16 levels" }) }), "segment")).toMatchObject({ state: "wrong", words: expect.stringContaining("failed: 720p: luma differs by 194 levels") });
    expect(of(steps({ ...unpaid, segments: first({ result: "lost" }) }), "segment")).toMatchObject({ state: "wrong", words: expect.stringContaining("was not delivered") });
    expect(of(steps({ segments: is([]) }), "segment").state).toBe("done");
  });
  test("ticket: none yet, refused, won", () => {
    expect(of(steps({ tickets: is(none) }), "ticket").state).toBe("waiting");
    expect(of(steps({ tickets: is(none), log: line("the orchestrator refuses to pay: its verdict is signed", "") }), "ticket").state).toBe("wrong");
    expect(of(steps(), "ticket").words).toContain("31 tickets, worth 0.004 ETH on average; 3 won");
    expect(of(steps({ tickets: is({ ...tickets, received: { ...tickets.received, winners: 0 } }) }), "ticket").words).toContain("none has won");
  });
});

describe("the guide of a broadcaster's operator", () => {
  const key: StreamKey = { name: "show", id: "9b1c", created_at: 0, used_at: null, revoked_at: null };
  const spending: Spending = { node: NODE, payer: PAYER, coin: 0n, locks: [{ payee: ORCH, usable: parseEther("0.02") }], session: { expiry: CHAIN_NOW + 864_000, dailyCap: parseEther("0.1") }, gasPrice: 1_000_000_000n, stoppedUntil: 0, now: CHAIN_NOW };
  const made: Stream = { ...stream, viewers: 1 };
  const facts: BroadcasterFacts = {
    now: NOW,
    wallet,
    settings: is({ ...settings, payer: PAYER }),
    listings: is([{ address: ORCH, uri: "quic://o:4433" }]),
    spending: is(spending),
    ingest: is({ rtmp_url: "rtmp://x/live", rtmps_url: null, srt_url: null, whip_path: "/whip", keys: [] }),
    keys: is([key]),
    streams: is([made]),
    segments: is([]),
    tickets: is(none),
    log: is([]),
  };
  const steps = (change: Partial<BroadcasterFacts> = {}) => broadcasterSteps({ ...facts, ...change });
  const spend = (change: Partial<Spending>) => is({ ...spending, ...change });
  const empty = [{ payee: ORCH, usable: 0n }];

  test("is finished by a stream that was transcoded", () => {
    expect(Object.values(states(steps()))).toEqual(Array(8).fill("done"));
    expect(progress(steps({ streams: is([stream, { ...stream, viewers: 0 }]) }))).toMatchObject({ finished: true });
  });
  test("begins with what a new node has", () => {
    const all = steps({ wallet: nobody, spending: spend({ locks: empty, session: { expiry: 0, dailyCap: 0n } }), keys: is([]), streams: is([]) });
    expect(states(all)).toEqual({ orchestrator: "done", wallet: "next", lock: "waiting", "session-key": "waiting", key: "waiting", picture: "waiting", rendition: "waiting", watch: "waiting" });
  });
  test("stays finished over a restart, by what the node remembers", () => {
    const remembered = steps({ streams: is([]), tickets: is({ ...none, sent: { count: 9, expected_wei: "1" } }) });
    expect(states(remembered)).toMatchObject({ picture: "done", rendition: "done", watch: "waiting" });
    expect(progress(remembered).finished).toBe(true);
  });
  test("says what failed", () => {
    expect(of(steps({ settings: failed, listings: failed }), "orchestrator")).toMatchObject({ state: "wrong", words: failed.why });
    expect(of(steps({ keys: failed }), "key")).toMatchObject({ state: "wrong", unknown: true });
  });

  test("orchestrator: none named, none listed", () => {
    expect(of(steps({ listings: is([]) }), "orchestrator")).toMatchObject({ state: "wrong", words: expect.stringContaining("names no orchestrator") });
    expect(of(steps({ listings: is([{ address: ORCH, uri: null }]) }), "orchestrator")).toMatchObject({ state: "wrong", words: expect.stringContaining(ORCH) });
  });

  test("lock: the payer's own, by the wallet", () => {
    const step = of(steps({ spending: spend({ locks: [{ payee: ORCH, usable: parseEther("0.005") }] }) }), "lock");
    expect(step).toMatchObject({ state: "next", offers: [{ do: "lock", payee: ORCH, amount: parseEther("0.015"), payer: null }] });
  });
  test("lock: by another account, in the payer's name", () => {
    const step = of(steps({ wallet: { ...wallet, address: OTHER }, spending: spend({ locks: empty }) }), "lock");
    expect(step).toMatchObject({ state: "next", words: expect.stringContaining("another than the payer"), offers: [{ do: "lock", payer: PAYER }] });
  });
  test("lock: a wallet that has too little, and the guardian", () => {
    expect(of(steps({ wallet: { ...wallet, coin: 1n }, spending: spend({ locks: empty }) }), "lock")).toMatchObject({ state: "wrong", words: expect.stringContaining("the wallet has 1 wei") });
    expect(of(steps({ spending: spend({ locks: empty, stoppedUntil: CHAIN_NOW + 9 }) }), "lock")).toMatchObject({ state: "wrong", words: expect.stringContaining("guardian") });
    expect(of(steps({ spending: spend({ locks: [] }) }), "lock").state).toBe("waiting");
  });
  test("lock: a node that pays by itself needs coin, and then does it", () => {
    const own = { payer: NODE, session: null, locks: empty };
    expect(of(steps({ spending: spend(own) }), "lock")).toMatchObject({ state: "next", offers: [{ do: "send-coin", to: NODE }] });
    expect(of(steps({ spending: spend(own), wallet: { ...wallet, coin: 0n } }), "lock").state).toBe("wrong");
    const rich = spend({ ...own, coin: parseEther("1") });
    expect(of(steps({ spending: rich }), "lock").state).toBe("waiting");
    expect(of(steps({ spending: rich, log: line("cannot use an orchestrator", "fund: lack of funds (0) for max fee (20)") }), "lock").state).toBe("waiting");
    expect(of(steps({ spending: rich, log: line("cannot use an orchestrator", "gas is too dear") }), "lock")).toMatchObject({ state: "wrong", words: expect.stringContaining("gas is too dear") });
  });

  test("session key: not needed, missing, somebody else's to give, ending, ended", () => {
    const session = (expiry: number) => spend({ session: { expiry, dailyCap: 1n } });
    expect(of(steps({ spending: spend({ payer: NODE, session: null }) }), "session-key")).toMatchObject({ state: "done", words: expect.stringContaining("Not needed") });
    expect(of(steps({ spending: session(0) }), "session-key")).toMatchObject({ state: "next", offers: [{ do: "session-key", key: NODE }] });
    expect(of(steps({ spending: session(0), wallet: { ...wallet, address: OTHER } }), "session-key")).toMatchObject({ state: "wrong", words: expect.stringContaining(PAYER) });
    expect(of(steps({ spending: session(CHAIN_NOW + 100) }), "session-key")).toMatchObject({ state: "wrong", words: expect.stringContaining("ends at") });
    expect(of(steps({ spending: session(CHAIN_NOW - 100) }), "session-key")).toMatchObject({ state: "wrong", words: expect.stringMatching(/ended at.*another data_dir/) });
  });

  test("stream key: none, revoked, of the configuration, by one's own program", () => {
    const offers = [{ do: "keys" }, { do: "run", command: "millrace key new show --config /etc/node.toml" }];
    expect(of(steps({ keys: is([]) }), "key")).toMatchObject({ state: "next", offers });
    expect(of(steps({ keys: is([{ ...key, revoked_at: 5 }]) }), "key").state).toBe("next");
    expect(of(steps({ keys: is([]), ingest: is({ rtmp_url: "", rtmps_url: null, srt_url: null, whip_path: "", keys: [{ name: "demo", key: "k" }] }) }), "key").words).toContain("demo");
    expect(of(steps({ keys: is([]), settings: is({ ...settings, hook: true }) }), "key").state).toBe("done");
  });

  test("picture: none, refused, connected, live with its health, over", () => {
    const live = (change: Partial<Stream>) => is([{ ...stream, ...change }]);
    expect(of(steps({ streams: is([]) }), "picture")).toMatchObject({ state: "next", offers: [{ do: "publish" }] });
    expect(of(steps({ streams: is([]), log: line("rtmp refused", "no such stream key") }), "picture")).toMatchObject({ state: "wrong", words: expect.stringContaining("no such stream key") });
    expect(of(steps({ streams: live({ source: null, segments: 0 }) }), "picture").state).toBe("waiting");
    expect(of(steps({ streams: is([unwell]) }), "picture").words).toBe("demo: 1280×720, 30 fps, H.264, 3 Mb/s. To do better: a keyframe comes every 8.3 s: set the encoder's keyframe interval to 2 s.");
    expect(of(steps({ streams: live({ source: { ...stream.source!, width: 0, height: 0, codec: "opus" }, ingest: null }) }), "picture").words).toContain("sound alone");
    expect(of(steps({ streams: live({ state: "ended" }) }), "picture")).toMatchObject({ state: "done", words: expect.stringContaining("None is live now") });
  });

  const late = { ...stream, renditions: stream.renditions.map((r) => ({ ...r, state: "late" as const, last_seq: null })) };
  test("rendition: before it, no orchestrator, no transcoder, no ladder, sound alone", () => {
    const rendition = (change: Partial<Stream>, more: Partial<BroadcasterFacts> = {}) => of(steps({ streams: is([{ ...late, ...change }]), ...more }), "rendition");
    expect(of(steps({ streams: is([]) }), "rendition").state).toBe("waiting");
    expect(rendition({}).state).toBe("waiting");
    expect(rendition({ orchestrator: null }).state).toBe("waiting");
    expect(rendition({ orchestrator: null }, { log: line("cannot use an orchestrator", "it asks 9 wei") })).toMatchObject({ state: "wrong", words: expect.stringContaining("it asks 9 wei") });
    expect(rendition({ renditions: [{ ...late.renditions[0]!, state: "down" }] })).toMatchObject({ state: "wrong", words: expect.stringContaining("no transcoder") });
    expect(rendition({ renditions: [] })).toMatchObject({ state: "wrong", words: expect.stringContaining("ladder") });
    expect(rendition({ source: { ...stream.source!, height: 0 } }).state).toBe("waiting");
    expect(of(steps(), "rendition").words).toBe("480p, transcoded for demo.");
  });
  test("watching: nobody yet, somebody, not live", () => {
    expect(of(steps({ streams: is([{ ...stream, viewers: 0 }]) }), "watch")).toMatchObject({ state: "next", offers: [{ do: "watch", stream: stream.id }] });
    expect(of(steps(), "watch").words).toBe("1 viewer of demo now.");
    expect(of(steps({ streams: is([]) }), "watch")).toMatchObject({ state: "waiting", momentary: true });
  });
});

describe("the guide of a delegator", () => {
  type Operator = Extract<DelegatorFacts["operators"], { is: "known" }>["value"][number];
  const operator = (change: Partial<Operator> = {}): Operator => ({
    address: ORCH, bond: mill("1000"), unbonding: 0n, withdrawableAt: 0, delegated: mill("500"), delegatedUnbonding: 0n, commission: 750, nextCommission: 0, nextCommissionAt: 0, roles: 1, fingerprint: zeroHash, serviceURI: "", credit: 0n,
    mine: { amount: 0n, unbonding: 0n, withdrawableAt: 0, fees: 0n }, ...change,
  });
  const mine = (amount: bigint) => ({ amount, unbonding: 0n, withdrawableAt: 0, fees: 0n });
  const facts: DelegatorFacts = { wallet, chosen: ORCH, operators: is([operator()]), chain: is({ gasPrice: 1_000_000_000n, stoppedUntil: 0, now: CHAIN_NOW }) };
  const steps = (change: Partial<DelegatorFacts> = {}) => delegatorSteps({ ...facts, ...change });

  test("begins with nothing, goes on by the choice, and is finished by the registry", () => {
    expect(states(steps({ wallet: nobody, chosen: null }))).toEqual({ wallet: "next", operator: "waiting", money: "waiting", delegate: "waiting", seen: "waiting" });
    expect(states(steps({ chosen: null }))).toEqual({ wallet: "done", operator: "next", money: "done", delegate: "waiting", seen: "waiting" });
    expect(states(steps())).toEqual({ wallet: "done", operator: "done", money: "done", delegate: "next", seen: "waiting" });
    const after = steps({ chosen: null, operators: is([operator({ mine: mine(mill("100")), delegated: mill("600") })]) });
    expect(Object.values(states(after))).toEqual(Array(5).fill("done"));
    expect(of(after, "seen").words).toContain("100 MILL of the 600 MILL delegated");
  });
  test("is about the operator where most is, unless another is chosen", () => {
    const all = is([operator({ mine: mine(1n) }), operator({ address: OTHER, mine: mine(5n) })]);
    expect(subject({ chosen: null, operators: all })).toBe(OTHER);
    expect(subject({ chosen: NODE, operators: all })).toBe(NODE);
    expect(subject({ chosen: null, operators: asked })).toBeNull();
  });
  test("choice: nobody there, left, unknown, full", () => {
    expect(of(steps({ operators: is([]) }), "operator")).toMatchObject({ state: "wrong", words: expect.stringContaining("No operator") });
    expect(of(steps({ operators: is([operator({ roles: 0 }), operator({ address: OTHER })]) }), "operator")).toMatchObject({ state: "wrong", offers: [{ do: "choose" }] });
    expect(of(steps({ chosen: NODE }), "operator").state).toBe("wrong");
    expect(of(steps({ operators: is([operator({ delegated: mill("10000") })]) }), "operator")).toMatchObject({ state: "wrong", words: expect.stringContaining("all that it takes") });
    expect(of(steps({ operators: failed }), "operator")).toMatchObject({ state: "wrong", words: failed.why });
  });
  test("money: none, no gas, not known", () => {
    expect(of(steps({ wallet: { ...wallet, mill: 0n } }), "money")).toMatchObject({ state: "wrong", words: expect.stringContaining("no MILL") });
    expect(of(steps({ wallet: { ...wallet, coin: 1n } }), "money")).toMatchObject({ state: "wrong", words: expect.stringContaining("of gas") });
    expect(of(steps({ wallet: nobody }), "money").state).toBe("waiting");
  });
  test("delegating says what is at risk and how long leaving takes", () => {
    const step = of(steps(), "delegate");
    expect(step.offers).toEqual([{ do: "delegate", node: ORCH }]);
    for (const part of ["At most 1\u202f000 MILL", "7.5 % of commission", "after all 1\u202f000 MILL", "takes 7 days"]) expect(step.words).toContain(part);
    expect(of(steps({ chain: is({ gasPrice: 1n, stoppedUntil: CHAIN_NOW + 1, now: CHAIN_NOW }) }), "delegate")).toMatchObject({ state: "wrong", words: expect.stringContaining("guardian") });
  });
  test("seen: figures that do not fit yet, and an operator that left since", () => {
    expect(of(steps({ operators: is([operator({ mine: mine(mill("100")), delegated: mill("5") })]) }), "seen").state).toBe("waiting");
    expect(of(steps({ operators: is([operator({ mine: mine(1n), roles: 0 })]) }), "seen").words).toContain("undelegate it");
  });
});

describe("what starts a node", () => {
  const facts = { id: 1, name: "x", contracts: { registry: NODE, broker: OTHER }, rpc_url: "https://rpc.example", first_block: 1, confirmations: 1 } as unknown as ChainFacts;
  test("is whole where all is known", () => {
    const { text, command, file } = launch("broadcaster", facts, ORCH, PAYER);
    expect([command, file]).toEqual(["millrace broadcaster --config broadcaster.toml", "broadcaster.toml"]);
    for (const part of ['rpc_url = "https://rpc.example"', `registry = "${NODE}"`, `broker = "${OTHER}"`, `orchestrators = ["${ORCH}"]`, `payer = "${PAYER}"`]) expect(text).toContain(part);
  });
  test("has places for what only its reader knows", () => {
    const { text } = launch("transcoder", { ...facts, rpc_url: null }, null, null);
    for (const part of ['rpc_url = "https://..."', 'orchestrator = "0x..."']) expect(text).toContain(part);
    expect(text).not.toContain("payer");
  });
});

test("a form begins with what the guide knows", () => {
  const action = { name: "x", button: "x", title: "x", fields: [{ name: "to", label: "To", kind: "address" as const }, { name: "amount", label: "Amount", kind: "eth" as const }], plan: () => ({ problem: "" }) };
  expect(begin(action, { to: NODE }).fields.map((f) => f.start)).toEqual([NODE, undefined]);
});

test("a node was born in the block of its first event", () => {
  const event = (blockNumber: string) => ({
    topics: encodeEventTopics({ abi: registryAbi, eventName: "NodeUpdated", args: { node: NODE } } as never),
    data: encodeAbiParameters([{ type: "uint8" }, { type: "bytes32" }, { type: "string" }], [1, zeroHash, "quic://a"]),
    blockNumber,
  });
  expect(Object.values([event("0x10"), event("0x20")].reduce(fold, {}))).toEqual([16]);
});

test("the page's address says which guide and which operator, and nothing else", () => {
  expect(startSearch({ guide: "delegator", operator: ORCH, more: 1 })).toEqual({ guide: "delegator", operator: ORCH });
  expect(startSearch({ guide: "x", operator: "y" })).toEqual({});
});
