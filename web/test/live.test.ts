// Events from a node that is not there: when they are listened to, and what becomes of them.
import { QueryClient } from "@tanstack/react-query";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { keep, topicsOf } from "../src/live/events";
import { joined } from "../src/live/log";
import { HIDDEN_MS, listen, REFUSED_MS } from "../src/live/listen";
import { stream } from "./mock";

class Source extends EventTarget {
  static readonly CLOSED = 2;
  static all: Source[] = [];
  readyState = 0;
  onopen: (() => void) | null = null;
  onerror: (() => void) | null = null;
  constructor(readonly url: string) {
    super();
    Source.all.push(this);
  }
  close() {
    this.readyState = Source.CLOSED;
  }
  opens() {
    this.readyState = 1;
    this.onopen?.();
  }
  fails(readyState: number) {
    this.readyState = readyState;
    this.onerror?.();
  }
  tells(topic: string, data: string) {
    this.dispatchEvent(new MessageEvent(topic, { data }));
  }
}
const open = () => Source.all.filter((s) => s.readyState !== Source.CLOSED);

describe("listening", () => {
  let page: EventTarget & { visibilityState: string };
  let flowing: boolean[];
  let told: [string, unknown][];
  let stop: () => void;
  const look = (state: string) => {
    page.visibilityState = state;
    page.dispatchEvent(new Event("visibilitychange"));
  };
  beforeEach(() => {
    vi.useFakeTimers();
    Source.all = [];
    page = Object.assign(new EventTarget(), { visibilityState: "visible" });
    vi.stubGlobal("EventSource", Source);
    vi.stubGlobal("document", page);
    flowing = [];
    told = [];
    stop = listen("http://n", ["streams", "log"], { told: (topic, data) => told.push([topic, data]), flows: (does) => flowing.push(does) });
  });
  afterEach(() => {
    stop();
    expect(open()).toEqual([]);
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  test("tells what comes of its topics, and resets", () => {
    const [source] = Source.all;
    expect(source!.url).toBe("http://n/api/v1/events?topics=streams,log");
    source!.opens();
    source!.tells("streams", "[1]");
    source!.tells("other", "[2]");
    source!.tells("reset", "{}");
    expect(told).toEqual([["streams", [1]], ["reset", {}]]);
    expect(flowing).toEqual([true]);
  });
  test("a connection that breaks is the browser's to mend, and is polled meanwhile", () => {
    const [source] = Source.all;
    source!.opens();
    source!.fails(0);
    expect(flowing.at(-1)).toBe(false);
    source!.opens();
    expect(flowing.at(-1)).toBe(true);
    expect(Source.all.length).toBe(1);
  });
  test("a refusal is tried again later, not at once", () => {
    Source.all[0]!.fails(Source.CLOSED);
    expect(flowing.at(-1)).toBe(false);
    vi.advanceTimersByTime(REFUSED_MS - 1);
    expect(Source.all.length).toBe(1);
    vi.advanceTimersByTime(1);
    expect(open().length).toBe(1);
  });
  test("what cannot be read counts as a refusal", () => {
    Source.all[0]!.opens();
    Source.all[0]!.tells("streams", "{");
    expect(open()).toEqual([]);
    expect(flowing.at(-1)).toBe(false);
  });
  test("a hidden page listens for a while, and again when it is seen", () => {
    Source.all[0]!.opens();
    look("hidden");
    vi.advanceTimersByTime(HIDDEN_MS - 1);
    look("visible");
    expect(Source.all.length).toBe(1);
    look("hidden");
    vi.advanceTimersByTime(HIDDEN_MS);
    expect(open()).toEqual([]);
    vi.advanceTimersByTime(10 * REFUSED_MS);
    expect(Source.all.length).toBe(1);
    look("visible");
    expect(open().length).toBe(1);
  });
  test("a page that was refused and hidden asks no more until it is seen", () => {
    Source.all[0]!.fails(Source.CLOSED);
    look("hidden");
    vi.advanceTimersByTime(HIDDEN_MS + REFUSED_MS);
    const before = Source.all.length;
    vi.advanceTimersByTime(10 * REFUSED_MS);
    expect(Source.all.length).toBe(before);
    expect(open()).toEqual([]);
  });
});

describe("an event", () => {
  test("is kept where its call's answer is", () => {
    const cache = new QueryClient();
    keep(cache, "", "streams", [stream]);
    expect(cache.getQueryData(["", "streams"])).toEqual([stream]);
    const line = { at: 1, level: "INFO", target: "t", message: "m", fields: {} };
    keep(cache, "", "log", [line]);
    keep(cache, "", "log", [line, { ...line, at: 2 }]);
    expect(cache.getQueryData(["", "log"])).toEqual([line, { ...line, at: 2 }]);
    keep(cache, "", "reset", {});
    expect(cache.getQueryState(["", "log"])?.isInvalidated).toBe(true);
  });
  test("of the log is kept where it comes before the answer that was made before it", () => {
    const line = (at: number) => ({ at, level: "INFO", target: "t", message: "m", fields: {} });
    expect(joined([line(1), line(2)], [line(1), line(2), line(3)])).toEqual([line(1), line(2), line(3)]);
    expect(joined([line(1), line(2)], [line(3)])).toEqual([line(1), line(2), line(3)]);
    // What was missing comes from the answer, and what it has no more is gone.
    expect(joined([line(2), line(3), line(4)], [line(1), line(2), line(4)])).toEqual([line(2), line(3), line(4)]);
    expect(joined([line(1)])).toEqual([line(1)]);
    expect(joined([], [line(1)])).toEqual([line(1)]);
  });
  test("of the log is the same object in every answer that has it", () => {
    const line = (at: number) => ({ at, level: "INFO", target: "t", message: "m", fields: { n: 1 } });
    const cached = [line(1), line(2), line(2), line(3)];
    const lines = joined([line(2), line(2), line(2), line(3), line(4)], cached);
    expect(lines).toEqual([line(2), line(2), line(2), line(3), line(4)]);
    expect(lines[0]).toBe(cached[1]);
    expect(lines[1]).toBe(cached[2]);
    expect(lines[3]).toBe(cached[3]);
    // Each is a row of its own.
    expect(new Set(lines).size).toBe(lines.length);
  });
  test("of another shape is refused", () => expect(() => keep(new QueryClient(), "", "streams", [{ ...stream, id: 3 }])).toThrow("[0].id"));
  test("is asked for of those that have it", () => {
    expect(topicsOf("broadcaster")).toContain("streams");
    expect(topicsOf("orchestrator")).toContain("transcoders");
    expect(topicsOf("")).toEqual([]);
  });
});
