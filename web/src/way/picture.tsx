// The way of a stream's last segments: a row for each, its source and then what became of it, on one scale of time.
import { NativeSelect } from "@mantine/core";
import { type KeyboardEvent, memo, useState } from "react";
import type { Segment, Stream } from "../api";
import { formatAbsolute, formatMs, grouped, short } from "../format";
import { merge, namesOf, type Network, useAnswers } from "../network";
import { SEGMENTS } from "../shapes";
import { Amount, CopyButton, Loaded, Panel } from "../ui";
import { ready, verdict } from "../words";
import { attempted, copied, place, price, type Scale, SHOWN, type Step, scale, type Way, ways } from "./way";
import "./way.css";

/** Segments come every two seconds. */
const BEAT_MS = 1_500;
/** Rows that a node gives at most. */
const MOST_ROWS = 500;

export function WayPanel({ net }: { net: Network }) {
  const [picked, pick] = useState<string | null>(null);
  const streams = ready(net.streams).toSorted((a, b) => Number(b.item.state === "live") - Number(a.item.state === "live") || b.item.started_at - a.item.started_at);
  // A node's log has the attempts of all its streams.
  const live = Math.max(1, streams.filter((s) => s.item.state === "live").length);
  const path = `segments?limit=${Math.min(MOST_ROWS, live * (SHOWN + 10))}`;
  const logs = (role: string) => net.nodes.filter((n) => n.role === role);
  const [orchestrators, broadcasters] = [logs("orchestrator"), logs("broadcaster")];
  const checked = merge(orchestrators, useAnswers<Segment[]>(path, SEGMENTS, orchestrators.map((n) => n.url), BEAT_MS), net.root);
  const taken = merge(broadcasters, useAnswers<Segment[]>(path, SEGMENTS, broadcasters.map((n) => n.url), BEAT_MS), net.root);
  const load = orchestrators.length > 0 ? checked : taken;

  const ids = [...new Set([...streams.map((s) => s.item.id), ...ready(checked).map((s) => s.item.stream), ...ready(taken).map((s) => s.item.stream)])];
  const id = picked && ids.includes(picked) ? picked : (ids[0] ?? "");
  const stream = streams.find((s) => s.item.id === id)?.item;
  const names = namesOf(net.nodes);
  for (const { item } of ready(net.transcoders)) names.set(item.address.toLowerCase(), item.name);
  const name = (address: string) => names.get(address.toLowerCase()) ?? short(address);
  const label = (of: string) => {
    const known = streams.find((s) => s.item.id === of)?.item;
    return known ? `${known.name}${known.state === "live" ? "" : ", ended"}` : short(of);
  };
  const all = ways(id, ready(checked), ready(taken));
  return (
    <Panel title="The way of a segment" className="way-panel" aside={all.length > 0 && <CopyButton text={copied(all, name)} what="the ways as a table" />}>
      <Loaded load={load} empty="No segment yet. Each has a row here as soon as it is checked.">
        {() => (
          <>
            {ids.length > 1 && (
              <div className="way-pick">
                <NativeSelect label="Stream" value={id} onChange={(e) => pick(e.currentTarget.value)} data={ids.map((value) => ({ value, label: label(value) }))} />
              </div>
            )}
            <Picture key={id} all={all} name={name} />
            <Before stream={stream} />
          </>
        )}
      </Loaded>
    </Panel>
  );
}

function Picture({ all, name }: { all: Way[]; name: (id: string) => string }) {
  const [chosen, choose] = useState<number | null>(null);
  const axis = scale(all);
  const at = all.findIndex((w) => w.seq === chosen);
  const keys = (e: KeyboardEvent) => {
    const to = { ArrowDown: Math.min(all.length - 1, at + 1), ArrowUp: Math.max(0, at - 1), Home: 0, End: all.length - 1 }[e.key];
    if (e.key === "Escape") choose(null);
    if (to === undefined || !all[to]) return;
    e.preventDefault();
    choose(all[to].seq);
    e.currentTarget.querySelector(`[data-seq="${all[to].seq}"]`)?.scrollIntoView({ block: "nearest" });
  };
  return (
    <>
      <ul className="way-key" aria-hidden="true">
        <li><i className="source" /> source</li>
        <li><i className="made" /> until it was checked</li>
        <li><i className="taken" /> until its broadcaster took it</li>
        <li><i className="dot bad" /> failed</li>
        <li><i className="dot warn" /> late or refused</li>
      </ul>
      <div className="way" data-testid="way" role="group" tabIndex={0} onKeyDown={keys} aria-label={`The last ${all.length} segments in time; the arrow keys go from one to the next, and the table below has them all`}>
        <div className="way-row axis" aria-hidden="true">
          <span />
          <span className="track">
            {axis.ticks.map((ms) => <b key={ms} className={ms % 1000 === 0 ? "num" : "num half"} style={{ left: `${place(ms, axis) * 100}%` }}>{ms === 0 ? "0" : `${ms > 0 ? "+" : "−"}${Math.abs(ms) / 1000} s`}</b>)}
          </span>
          <span />
        </div>
        {all.map((way) => <Row key={way.seq} way={way} from={axis.from} to={axis.to} chosen={way.seq === chosen} choose={choose} />)}
      </div>
      <div className="way-told" aria-live="polite">{at >= 0 ? <Told way={all[at]!} name={name} /> : <p className="dim">Click a segment to see where its time went. 0 is when its last picture was in hand.</p>}</div>
    </>
  );
}

interface RowProps {
  way: Way;
  from: number;
  to: number;
  chosen: boolean;
  choose: (seq: number) => void;
}

/** Drawn again only where something of it is new: most rows of a beat are those of the one before. */
const Row = memo(
  function Row({ way: w, from, to, chosen, choose }: RowProps) {
    const axis: Scale = { from, to, ticks: [] };
    const percent = (ms: number) => `${place(ms, axis) * 100}%`;
    const width = (a: number, b: number) => `${Math.max(0, place(b, axis) - place(a, axis)) * 100}%`;
    const done = w.attempts.findLast((a) => a.segment.result === "pass");
    const until = done?.after ?? w.attempts.at(-1)?.after ?? 0;
    return (
      <div className={`way-row ${chosen ? "chosen" : ""}`} data-seq={w.seq} data-testid="way-row" data-attempts={w.attempts.length} onClick={() => choose(w.seq)} aria-hidden="true">
        <span className="right num dim">{grouped(w.seq)}</span>
        <span className="track">
          <i className="source" style={{ left: percent(-w.length), width: width(-w.length, 0) }} />
          <i className={done ? "made" : "made none"} style={{ left: percent(0), width: width(0, until) }} />
          {w.accepted && w.accepted.after > until && <i className="taken" style={{ left: percent(until), width: width(until, w.accepted.after) }} />}
          {w.attempts.filter((a) => a !== done).map((a) => <Mark key={`${a.segment.attempt} ${a.segment.worker}`} step={a} left={percent(a.after)} />)}
          {w.accepted && w.accepted.segment.result !== "pass" && <Mark step={w.accepted} left={percent(w.accepted.after)} />}
        </span>
        <span className="right num">{price(w) === null ? "" : <Amount wei={price(w)} />}</span>
      </div>
    );
  },
  (a, b) => a.from === b.from && a.to === b.to && a.chosen === b.chosen && a.choose === b.choose && JSON.stringify(a.way) === JSON.stringify(b.way),
);

function Mark({ step, left }: { step: Step; left: string }) {
  return <i className={`dot ${verdict(step.segment).tone}`} style={{ left }} title={attempted(step, short)} />;
}

/** Where the time of one segment went, in words. */
function Told({ way: w, name }: { way: Way; name: (id: string) => string }) {
  const done = w.attempts.findLast((a) => a.segment.result === "pass");
  const beyond = done && w.accepted ? w.accepted.after - done.after : null;
  return (
    <div data-testid="way-told">
      <p>
        <b>Segment {grouped(w.seq)}</b>, <span className="num">{formatMs(w.length)}</span> of source that ended at <span className="num">{formatAbsolute(w.end).slice(11)}</span>.
      </p>
      <ol>
        {w.attempts.map((a) => (
          <li key={`${a.segment.attempt} ${a.segment.worker}`}>
            <span className="num">{when(a.after)}</span> {attempted(a, name)}
            {a.segment.result === "pass" && <>, paid <Amount wei={a.segment.paid_wei} /></>}
          </li>
        ))}
        {w.accepted && (
          <li>
            <span className="num">{when(w.accepted.after)}</span> {w.accepted.segment.result === "pass" ? <>its broadcaster took it and paid <Amount wei={w.accepted.segment.paid_wei} /></> : <>at its broadcaster, {attempted(w.accepted, name)}</>}
            {beyond !== null && beyond > 0 && <>: <span className="num">{formatMs(beyond)}</span> for the way between the two and its own check</>}
          </li>
        )}
      </ol>
    </div>
  );
}

const when = (after: number) => (after < 0 ? `${formatMs(-after)} before the end` : `+${formatMs(after)}`);

/** Of a live stream, what is before and after the row. */
function Before({ stream }: { stream: Stream | undefined }) {
  const delay = stream?.delay;
  if (!delay) return null;
  return (
    <p className="note" data-testid="way-delay">
      Viewers do not wait for whole segments: of this stream, a picture waits {formatMs(delay.picture)} for the next and up to {formatMs(delay.part)} for its part
      {delay.ladder != null && <>, a part is made in {formatMs(delay.ladder)} half of the time</>}, and players stay {formatMs(delay.hold_back)} behind.
    </p>
  );
}
