// Lines of a node's log: joined as they come, bounded, filtered, and as text. Pure.
import type { LogLine } from "../api";
import { formatAbsolute } from "../format";
import type { Tone } from "../words";

/** Where the lines are kept: the name of the topic. */
export const LOG_KEY = "log";
/** Lines that the page keeps, as many as the node does. */
export const MOST_LINES = 2_000;
/** An event may repeat lines that were just read: it is looked for them among so many of the last. */
const OVERLAP = 500;

export const LEVELS = ["ERROR", "WARN", "INFO", "DEBUG", "TRACE"] as const;
export const LEVEL_TONE: Record<string, Tone> = { ERROR: "bad", WARN: "warn", INFO: "ok" };

/** `before` with `news` after it; what both have is taken once. */
export function more(before: LogLine[] = [], news: LogLine[]): LogLine[] {
  const known = new Set(before.slice(-OVERLAP).map((line) => JSON.stringify(line)));
  return [...before, ...news.filter((line) => !known.has(JSON.stringify(line)))].slice(-MOST_LINES);
}

/** A node's answer with those lines after it that events have brought since it was made. A line that was there before is the same object as it
 * was, and so the same row; two that say the same are two. */
export function joined(answer: LogLine[], cached: LogLine[] = []): LogLine[] {
  const last = answer.at(-1)?.at ?? Number.NEGATIVE_INFINITY;
  const known = new Map<string, LogLine[]>();
  for (const line of cached.toReversed()) {
    const text = JSON.stringify(line);
    const alike = known.get(text);
    if (alike) alike.push(line);
    else known.set(text, [line]);
  }
  const same = answer.map((line) => known.get(JSON.stringify(line))?.pop() ?? line);
  return more(same, cached.filter((line) => line.at >= last));
}

/** `name=value` of each field. */
export function fieldsOf(line: LogLine): string {
  if (typeof line.fields !== "object" || line.fields === null) return "";
  return Object.entries(line.fields)
    .map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join(" ");
}

export function asText(line: LogLine): string {
  return [formatAbsolute(line.at), line.level.padEnd(5), `${line.target}:`, line.message, fieldsOf(line)].filter(Boolean).join(" ");
}

/** The lines of at least this severity that have all words of `text` in them, whatever their case. */
export function select(lines: LogLine[], least: string, text: string): LogLine[] {
  const severe = LEVELS.slice(0, LEVELS.findIndex((level) => level === least) + 1 || LEVELS.length) as readonly string[];
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return lines.filter((line) => {
    if (!severe.includes(line.level)) return false;
    const whole = words.length > 0 ? `${line.target} ${line.message} ${fieldsOf(line)}`.toLowerCase() : "";
    return words.every((word) => whole.includes(word));
  });
}
