// Earnings against luck, and tickets as a file.
import { describe, expect, test } from "vitest";
import type { Ticket } from "../src/api";
import { cell, csv } from "../src/csv";
import { ticketsCsv } from "../src/earnings/ledger";
import { course, judge, received, waiting } from "../src/earnings/luck";
import { NOW, wheel } from "./mock";

const ticket = (n: number, change: Partial<Ticket> = {}): Ticket => ({ at: NOW + n, direction: "in", peer: `0x${"2".repeat(40)}`, face_value_wei: "1000", win_prob: 0.1, expected_wei: "100", winner: false, state: null, tx: null, ...change });

describe("luck", () => {
  test("adds up expectations and variances, oldest first", () => {
    const c = course(received([ticket(2, { winner: true, state: "queued" }), ticket(1, { winner: true, state: "final" }), ticket(3), ticket(4, { direction: "out" })]));
    expect(c.expected).toEqual([100, 200, 300]);
    expect(c.won).toEqual([1000, 2000, 2000]);
    expect(c.redeemed).toEqual([1000, 1000, 1000]);
    // One ticket: 1.96 times 1000 times the root of 0.1 · 0.9.
    expect(c.high[0]).toBeCloseTo(100 + 1.96 * 300, 6);
    expect(c.high[2]! - 300).toBeCloseTo(1.96 * 300 * Math.sqrt(3), 6);
    expect(c.low[0]).toBe(0);
  });
  test("has the right width: of many runs some 95 in 100 end within", () => {
    // A fixed generator, so that the test is the same each time.
    let x = 12_345;
    const random = () => (x = (Math.imul(x, 1_103_515_245) + 12_345) & 0x7fffffff) / 0x7fffffff;
    let within = 0;
    const runs = 2_000;
    for (let run = 0; run < runs; run += 1) {
      const tickets = Array.from({ length: 200 }, (_, n) => ticket(n, { winner: random() < 0.1, state: "final" }));
      within += judge(course(tickets))!.within ? 1 : 0;
    }
    // Four standard deviations of such a count around 95 %, and a little for the lattice of whole winners.
    expect(within / runs).toBeGreaterThan(0.93);
    expect(within / runs).toBeLessThan(0.975);
  });
  test("nothing is judged of nothing, and what always wins has no luck in it", () => {
    expect(judge(course([]))).toBeNull();
    // A peer's chance that is none, or a time that is none, breaks nothing.
    for (const win_prob of [5, -3, 1e300]) expect(judge(course([ticket(1, { win_prob })]))).toMatchObject({ low: 100, high: 100 });
    expect(ticketsCsv(wheel, [ticket(1, { at: 1e300 })], new Map())).toContain("1000");
    const sure = judge(course([ticket(1, { win_prob: 1, expected_wei: "1000", winner: true, state: "mined" })]))!;
    expect([sure.low, sure.high, sure.within]).toEqual([1000, 1000, true]);
    expect(judge(course(Array.from({ length: 500 }, (_, n) => ticket(n))))!.within).toBe(false);
  });
  test("winners wait until they are in a block, the oldest first", () => {
    const all = [ticket(9, { winner: true, state: "queued" }), ticket(1, { winner: true, state: "sent" }), ticket(2, { winner: true, state: "mined" }), ticket(3)];
    expect(waiting(all).map((t) => t.at - NOW)).toEqual([1, 9]);
  });
});

describe("a file", () => {
  test.each([
    ["=1+1", "'=1+1"],
    ["+49", "'+49"],
    ["-cmd", "'-cmd"],
    ["@SUM(A1)", "'@SUM(A1)"],
    ["\tx", "'\tx"],
    ['=HYPERLINK("http://x","y")', '"\'=HYPERLINK(""http://x"",""y"")"'],
    ["a,b", '"a,b"'],
    ["two\nlines", '"two\nlines"'],
    [-5, "-5"],
    ["-5.25", "-5.25"],
    [null, ""],
    [true, "true"],
  ])("has %j as %j", (value, text) => expect(cell(value)).toBe(text));
  test("has a head, and lines that end as RFC 4180 says", () => expect(csv(["a", "b"], [[1, "x"]])).toBe("a,b\r\n1,x\r\n"));
  test("of tickets keeps every wei, and nobody's name is a formula", () => {
    const text = ticketsCsv({ ...wheel, name: "=evil" }, [ticket(0, { expected_wei: "123456789012345678901", winner: null })], new Map([[`0x${"2".repeat(40)}`, "+sluice"]]));
    expect(text.split("\r\n")[1]).toBe(`2027-01-15T08:00:00.000Z,'=evil,in,0x${"2".repeat(40)},'+sluice,1000,0.1,123456789012345678901,,,`);
  });
});
