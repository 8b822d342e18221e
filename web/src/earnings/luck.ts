// What tickets were worth against what they brought: a ticket is a small lottery, and this says how far luck alone goes. Pure.
import type { Ticket } from "../api";
import { wei } from "../format";

/** Of a normal distribution, 95 % is within so many standard deviations. */
const DEVIATIONS = 1.96;

/** After each ticket: its time (unix seconds), and sums up to it, in wei as far as doubles go (15 digits, for drawing). */
export interface Course {
  at: number[];
  expected: number[];
  low: number[];
  high: number[];
  won: number[];
  redeemed: number[];
}

/** The tickets that a node received, oldest first. */
export function received(tickets: Ticket[]): Ticket[] {
  return tickets.filter((t) => t.direction === "in").toSorted((a, b) => a.at - b.at);
}

/** Sums over tickets, oldest first. Each wins its face value by its own chance, apart from the others: variances add up. */
export function course(tickets: Ticket[]): Course {
  const c: Course = { at: [], expected: [], low: [], high: [], won: [], redeemed: [] };
  let [expected, variance, won, redeemed] = [0, 0, 0, 0];
  for (const t of tickets) {
    const face = Number(wei(t.face_value_wei) ?? 0n);
    expected += Number(wei(t.expected_wei) ?? 0n);
    // Of a peer's word: beyond these bounds there is no root to draw.
    const chance = Math.min(1, Math.max(0, t.win_prob));
    variance += face ** 2 * chance * (1 - chance);
    if (t.winner) won += face;
    if (t.winner && (t.state === "mined" || t.state === "final")) redeemed += face;
    const spread = DEVIATIONS * Math.sqrt(variance);
    c.at.push(t.at / 1000);
    c.expected.push(expected);
    c.low.push(Math.max(0, expected - spread));
    c.high.push(expected + spread);
    c.won.push(won);
    c.redeemed.push(redeemed);
  }
  return c;
}

/** Where what was won lies at the end: within what luck makes of it in 95 of 100 cases, or not. */
export function judge(c: Course): { expected: number; low: number; high: number; won: number; redeemed: number; within: boolean } | null {
  const last = c.at.length - 1;
  if (last < 0) return null;
  const [expected, low, high, won, redeemed] = [c.expected[last]!, c.low[last]!, c.high[last]!, c.won[last]!, c.redeemed[last]!];
  return { expected, low, high, won, redeemed, within: won >= low && won <= high };
}

/** Winners that the chain has not paid yet, the longest waiting first. */
export function waiting(tickets: Ticket[]): Ticket[] {
  return received(tickets).filter((t) => t.winner && (t.state === "queued" || t.state === "sent"));
}
