// The node's log as it is written: followed or held, filtered, copied.
import { NativeSelect, TextInput } from "@mantine/core";
import { useHotkeys } from "@mantine/hooks";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { memo, useEffect, useMemo, useRef, useState } from "react";
import { get, type LogLine, sorry } from "../api";
import { useNet } from "../app";
import { formatAbsolute } from "../format";
import { asText, fieldsOf, joined, LEVEL_TONE, LEVELS, LOG_KEY, MOST_LINES, select } from "../live/log";
import { isClosed } from "../network";
import { Closed } from "../session/closed";
import { LOG } from "../shapes";
import { Chip, CopyButton, Panel, Skeleton } from "../ui";

const KEY = ["", LOG_KEY];
/** Of a node whose events do not come. */
const POLL_MS = 3_000;

export function LogPage() {
  const { told } = useNet();
  const cache = useQueryClient();
  const query = useQuery({
    queryKey: KEY,
    queryFn: async ({ signal }) => joined(await get<LogLine[]>("", `log?limit=${MOST_LINES}`, LOG, signal), cache.getQueryData<LogLine[]>(KEY)),
    // A line is the same line when others have come: it is told by being the same object.
    structuralSharing: false,
    refetchInterval: told ? false : POLL_MS,
  });
  return (
    <Panel title="Log" className="log-panel">
      {isClosed(query.error) ? (
        <Closed what="The log" />
      ) : (
        <>
          {query.error && <div className="note warn" role="status">{query.data ? "These lines are old. " : "No line. "}{sorry(query.error)}</div>}
          {query.data ? <Lines lines={query.data} /> : !query.error && <Skeleton />}
        </>
      )}
    </Panel>
  );
}

export function Lines({ lines }: { lines: LogLine[] }) {
  const [least, setLeast] = useState<string>("TRACE");
  const [text, setText] = useState("");
  /** The lines that are held; null while it follows. */
  const [held, setHeld] = useState<LogLine[] | null>(null);
  const place = useRef<HTMLDivElement>(null);
  const filter = useRef<HTMLInputElement>(null);
  /** Where it was scrolled to last. */
  const top = useRef(0);
  const all = held ?? lines;
  const shown = useMemo(() => select(all, least, text), [all, least, text]);
  const last = lines.at(-1);
  const behind = held && last ? lines.length - 1 - lines.findLastIndex((line) => line === held.at(-1) || asText(line) === (held.at(-1) ? asText(held.at(-1)!) : "")) : 0;

  const toggle = () => setHeld(held ? null : lines);
  useHotkeys([
    ["p", toggle],
    ["/", () => filter.current?.focus()],
  ]);
  useEffect(() => {
    if (!held && place.current) place.current.scrollTop = place.current.scrollHeight;
  }, [shown, held]);
  // Whoever scrolls up wants to read: it holds, and follows again from the end.
  const scrolled = () => {
    const e = place.current;
    if (!e) return;
    const atEnd = e.scrollHeight - e.scrollTop - e.clientHeight < 24;
    // Lines that came after it was scrolled to its end are nobody's scrolling.
    if (!atEnd && !held && e.scrollTop < top.current) setHeld(lines);
    top.current = e.scrollTop;
  };

  return (
    <>
      <div className="filters">
        <NativeSelect label="Level" value={least} data-testid="log-level" onChange={(e) => setLeast(e.currentTarget.value)} data={LEVELS.map((level) => ({ value: level, label: level === "TRACE" ? "all" : `${level.toLowerCase()} and worse` }))} />
        <TextInput ref={filter} label="Filter" placeholder="words, press / to come here" value={text} data-testid="log-filter" onChange={(e) => setText(e.currentTarget.value)} />
        <div className="actions tight">
          <button type="button" className="button" aria-pressed={held !== null} aria-keyshortcuts="p" data-testid="log-hold" onClick={toggle}>{held ? "Follow" : "Pause"}</button>
          <CopyButton text={() => shown.map(asText).join("\n")} what={`${shown.length} lines of the log`} />
        </div>
        <span className="dim" role="status" data-testid="log-state">
          {shown.length === all.length ? `${all.length} lines` : `${shown.length} of ${all.length} lines`}
          {held ? `, held${behind > 0 ? `: ${behind} new since` : ""}` : ", following"}
        </span>
      </div>
      {shown.length === 0 ? (
        <div className="note">{all.length === 0 ? "The node has not logged a line yet. What it logs at all is set by log.filter." : "No line fits the filter."}</div>
      ) : (
        <div className="log" ref={place} role="log" aria-live="off" aria-label="Lines of the log" tabIndex={0} onScroll={scrolled} data-testid="log">
          {shown.map((line) => <Said key={keyOf(line)} line={line} />)}
        </div>
      )}
    </>
  );
}

const keys = new WeakMap<LogLine, number>();
let known = 0;

/** A line stays the same row while others come after it and go before it. */
function keyOf(line: LogLine): number {
  const key = keys.get(line) ?? (known += 1);
  keys.set(line, key);
  return key;
}

const Said = memo(function Said({ line }: { line: LogLine }) {
  return (
    <div className="log-line" data-testid="log-line" data-level={line.level}>
      <time className="dim" title={formatAbsolute(line.at)}>{formatAbsolute(line.at).slice(11)}</time>
      <Chip tone={LEVEL_TONE[line.level] ?? "idle"}>{line.level}</Chip>
      <span className="said">
        <span className="dim">{line.target}</span> {line.message} <span className="dim">{fieldsOf(line)}</span>
      </span>
    </div>
  );
});
