// The way of a segment, from the rows of two logs.
import { expect, test } from "vitest";
import type { Segment } from "../src/api";
import { attempted, copied, place, price, scale, SHOWN, ways } from "../src/way/way";
import { NOW, segment, sluice, weir } from "./mock";

const at = (seq: number) => NOW + seq * 2_000;
/** An attempt that ended so many milliseconds after its source. */
const row = (seq: number, latency: number, change: Partial<Segment> = {}) => ({ node: sluice, item: { ...segment, seq, at: at(seq) + latency, latency_ms: latency, ...change } });
const taken = (seq: number, latency: number) => ({ ...row(seq, latency, { worker: segment.payer!, worker_name: "", paid_wei: "11" }), node: weir });
const name = (id: string) => ({ [segment.worker]: "wheel-1", [segment.payer!]: "sluice" })[id] ?? id;

test("each segment has its source, its attempts in order and who took it", () => {
  const late = row(7, 3_000, { result: "lost", fault: `${segment.worker} did not deliver`, paid_wei: null });
  const [way, before] = ways(segment.stream, [row(7, 3_400, { attempt: 1 }), late, row(6, 90)], [taken(7, 3_460), taken(6, 130)]);
  expect(way).toMatchObject({ seq: 7, end: at(7), length: 2_000 });
  expect(way!.attempts.map((a) => [a.segment.result, a.after])).toEqual([["lost", 3_000], ["pass", 3_400]]);
  expect(way!.accepted?.after).toBe(3_460);
  expect(attempted(way!.attempts[0]!, name)).toBe("wheel-1 was late or went away: wheel-1 did not deliver");
  expect([price(way!), price(before!), price({ ...before!, accepted: null })]).toEqual(["11", "11", segment.paid_wei]);
});

test("what ended before its source did has no latency and stands before the source's end", () => {
  const early = row(3, 0, { at: at(3) - 800, result: "lost" });
  expect(ways(segment.stream, [early, row(3, 120, { attempt: 1 }), row(2, 90)], [])[0]!.attempts.map((a) => a.after)).toEqual([-800, 120]);
  // Alone in its segment, its place comes from the one before.
  expect(ways(segment.stream, [early, row(2, 90)], [])[0]).toMatchObject({ end: at(3), length: 2_000 });
});

test("a source has the length that the others have where it follows a gap", () => {
  const halves = [4, 3, 2].map((seq) => row(seq, 100, { at: NOW + seq * 1_000 + 100 }));
  expect(ways(segment.stream, [row(60, 100), ...halves], []).map((w) => w.length)).toEqual([1_000, 1_000, 1_000, 1_000]);
  expect(ways(segment.stream, [row(60, 100)], [])[0]!.length).toBe(2_000);
});

test("of many rows the last fifty segments are shown, of one stream, the newest first", () => {
  const rows = Array.from({ length: 1_000 }, (_, i) => row(999 - i, 100));
  const all = ways(segment.stream, [...rows, row(5_000, 100, { stream: "0xother" })], []);
  expect(all).toHaveLength(SHOWN);
  expect([all[0]!.seq, all.at(-1)!.seq]).toEqual([999, 950]);
  expect(ways("0xnone", rows, rows)).toEqual([]);
});

test("a broadcaster's own log is enough", () => {
  expect(ways(segment.stream, [], [taken(1, 150)])[0]).toMatchObject({ seq: 1, end: at(1), attempts: [], accepted: { after: 150 } });
});

test("the scale holds all of it in whole steps, and what took longest is at its edge", () => {
  const all = ways(segment.stream, [row(2, 140), row(1, 90)], []);
  expect(scale(all)).toEqual({ from: -2_000, to: 1_000, ticks: [-2_000, -1_500, -1_000, -500, 0, 500, 1_000] });
  const slow = scale(ways(segment.stream, [row(2, 60_000)], []));
  expect(slow).toMatchObject({ from: -2_000, to: 12_000 });
  expect([place(-2_000, slow), place(60_000, slow), place(5_000, slow)]).toEqual([0, 1, 0.5]);
});

test("a copy has a line for each segment, with cells and no line breaks within", () => {
  const text = copied(ways(segment.stream, [row(2, 140, { fault: "two\tlines\nof it", result: "fail", paid_wei: null })], [taken(2, 190)]), name);
  expect(text.split("\n").map((line) => line.split("\t"))).toEqual([
    ["segment", "source ended", "source ms", "attempts", "broadcaster", "paid wei"],
    ["2", new Date(at(2)).toISOString(), "2000", "wheel-1 failed: two lines of it (140 ms)", "pass (190 ms)", "11"],
  ]);
});
