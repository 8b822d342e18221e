// Recordings: which there are, one of them in the page, a clip of it, and its end.
import { NativeSelect, TextInput } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { useCallback, useState } from "react";
import type { Recording } from "../api";
import { useNet } from "../app";
import { Confirm } from "../confirm";
import { count, formatAbsolute, formatBytes, formatClock, formatSpan, parseClock } from "../format";
import type { Playback } from "../hls";
import { type Load, useOwn } from "../network";
import { rowCount, rowPlace, usePage } from "../paged";
import { Player } from "../player";
import { useSession } from "../session/session";
import { RECORDINGS } from "../shapes";
import { Ago, Chip, Fact, Loaded, Panel, Scroll } from "../ui";
import { ready, type Tone } from "../words";
import { OfBroadcasters } from "./of-broadcasters";

const POLL_MS = 5_000;
/** The longest clip that a node makes, seconds. */
const LONGEST_S = 3_600;

const STATES: Record<Recording["state"], { tone: Tone; means: string }> = {
  recording: { tone: "ok", means: "its stream is live" },
  ended: { tone: "idle", means: "whole" },
  recovered: { tone: "idle", means: "cut off by the end of its process, and mended" },
  unfinished: { tone: "warn", means: "its end could not be written: the next start makes it" },
};

const keyOf = (r: Recording) => `${r.name}/${r.id}`;

export function RecordingsPage() {
  return (
    <OfBroadcasters title="Recordings">
      <Recordings />
    </OfBroadcasters>
  );
}

function Recordings() {
  const net = useNet();
  const all = useOwn<Recording>("recordings", RECORDINGS, POLL_MS, { mayLack: true });
  const cache = useQueryClient();
  const [picked, setPicked] = useState<string | null>(null);
  const shown = all.state === "ready" ? all.data.find((r) => keyOf(r) === picked) : undefined;
  const failing = ready(net.streams).filter((s) => s.node.url === "" && s.item.recording?.state === "failing");
  const deleted = (r: Recording) => {
    if (picked === keyOf(r)) setPicked(null);
    void cache.invalidateQueries({ queryKey: ["", "recordings"] });
  };
  return (
    <>
      {failing.map(({ item }) => (
        <div key={item.id} className="note bad panel" role="alert">{item.name} is not being recorded: {item.recording?.error ?? "the store fails"}. It is tried again by itself.</div>
      ))}
      {shown && <Shown key={folderOf(shown)} recording={shown} close={() => setPicked(null)} />}
      <Panel title="Recordings" aside={all.state === "ready" && all.data.length > 0 ? `${count(all.data.length, "recording")}, ${formatBytes(all.data.reduce((sum, r) => sum + r.bytes, 0))}` : null}>
        <RecordingTable recordings={all} picked={picked} pick={(r) => setPicked(keyOf(r))} deleted={deleted} />
      </Panel>
    </>
  );
}

interface TableProps {
  picked: string | null;
  pick: (r: Recording) => void;
  deleted: (r: Recording) => void;
}

export function RecordingTable({ recordings, picked, pick, deleted }: TableProps & { recordings: Load<Recording[]> }) {
  return (
    <Loaded load={recordings} empty={<span data-testid="no-recording">There is no recording. A broadcaster records where broadcaster.recording names a folder or a bucket, and broadcaster.record says which streams.</span>}>
      {(items) => <Rows items={items} picked={picked} pick={pick} deleted={deleted} />}
    </Loaded>
  );
}

function Rows({ items, picked, pick, deleted }: TableProps & { items: Recording[] }) {
  const { session, change } = useSession();
  const may = session !== null && (session.can_operate || session.who === "this_machine");
  const { rows, first, pager } = usePage(items.toSorted((a, b) => b.started_ms - a.started_ms), "Recordings", "");
  return (
    <>
      <Scroll label="Table of recordings">
        <table className="table cards" {...rowCount(items.length)}>
          <thead>
            <tr aria-rowindex={1}><th>Stream</th><th>Started</th><th className="right">Length</th><th className="right">Size</th><th>State</th><th>Actions</th></tr>
          </thead>
          <tbody>
            {rows.map((r, i) => (
              <tr key={keyOf(r)} {...rowPlace(first + i)} data-testid="recording" data-name={r.name} data-id={r.id} data-state={r.state} aria-current={keyOf(r) === picked || undefined}>
                <td className="cut" title={r.id}><b>{r.name}</b></td>
                <td data-label="started" title={r.id}><span className="num">{formatAbsolute(r.started_ms).slice(0, 16)}</span> <span className="dim"><Ago at={r.started_ms} /></span></td>
                <td className="right num" data-label="length">{formatSpan(r.duration_ms)}</td>
                <td className="right num" data-label="size">{formatBytes(r.bytes)}</td>
                <td data-label="state">
                  <Chip tone={STATES[r.state]?.tone ?? "idle"} title={STATES[r.state]?.means}>{r.state}</Chip>
                  {r.gaps > 0 && <span className="dim" title="Segments that it lacks, of all renditions"> {count(r.gaps, "gap")}</span>}
                </td>
                <td className="acts">
                  <div className="actions tight">
                    <button type="button" className="button" data-testid="play" onClick={() => pick(r)}>Play</button>
                    <Confirm
                      name="delete"
                      button="Delete"
                      title={`Delete a recording of ${r.name}`}
                      what={[`${formatSpan(r.duration_ms)} of ${formatAbsolute(r.started_ms).slice(0, 16)}, ${formatBytes(r.bytes)}, with all its renditions.`, "It is gone for good: whoever has its address sees nothing any more."]}
                      yes="Delete it"
                      disabled={r.state === "recording" ? "It goes on: end its stream first" : may ? null : "Sign in as an owner first"}
                      act={() => change("DELETE", `recordings/${encodeURIComponent(r.name)}/${encodeURIComponent(r.id)}`, null, null)}
                      done={() => deleted(r)}
                    />
                  </div>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
      {pager}
    </>
  );
}

/** Below which a recording lies at its own node, whatever is told. */
export function folderOf(r: Recording): string {
  const told = /^\/recordings\/[^/?#]+\/[^/?#]+(?=\/master\.m3u8$)/.exec(r.hls_url)?.[0];
  return told ?? `/recordings/${encodeURIComponent(r.name)}/${encodeURIComponent(r.id)}`;
}

function Shown({ recording: r, close }: { recording: Recording; close: () => void }) {
  const folder = folderOf(r);
  const [playback, setPlayback] = useState<Playback | null>(null);
  const tell = useCallback((now: Playback) => setPlayback(now), []);
  return (
    <Panel title={`${r.name}, ${formatAbsolute(r.started_ms).slice(0, 16)}`} className="streams" aside={<button type="button" className="button" onClick={close}>Close</button>}>
      <div className="detail">
        <Player url={`${folder}/master.m3u8`} name={r.name} live={r.state === "recording"} gone={playback?.refused === 403 ? "Playback is signed here: sign in, or have an address made by millrace key sign" : "The store does not give this recording"} tell={tell} />
        <div className="detail-side">
          <dl className="facts">
            <Fact name="Length"><span className="num">{formatSpan(r.duration_ms)}</span></Fact>
            <Fact name="Size"><span className="num">{formatBytes(r.bytes)}</span></Fact>
          </dl>
          <Clip recording={r} folder={folder} playback={playback} />
        </div>
      </div>
    </Panel>
  );
}

/** A stretch of the recording, or what is wrong with it. */
export function stretch(from: string, to: string, length: number): { from: number; to: number } | { problem: string; at: "from" | "to" } {
  const [start, end] = [parseClock(from), parseClock(to)];
  if (typeof start === "string") return { problem: start, at: "from" };
  if (typeof end === "string") return { problem: end, at: "to" };
  if (start >= length) return { problem: `The recording has ${formatClock(length)}.`, at: "from" };
  if (end <= start) return { problem: "It ends before it begins.", at: "to" };
  if (end - start > LONGEST_S) return { problem: "A clip is an hour long at most.", at: "to" };
  return { from: start, to: end };
}

function Clip({ recording: r, folder, playback }: { recording: Recording; folder: string; playback: Playback | null }) {
  const length = r.duration_ms / 1000;
  const [from, setFrom] = useState("0:00");
  const [to, setTo] = useState(() => formatClock(Math.max(1, Math.min(60, length))));
  const [rendition, setRendition] = useState("");
  const found = stretch(from, to, length);
  const wrong = (at: "from" | "to") => ("problem" in found && found.at === at ? found.problem : null);
  const here = formatClock(playback?.time ?? 0);
  return (
    <div className="clip">
      <h3>A clip as one MP4</h3>
      <div className="filters">
        <TextInput label="From" value={from} error={wrong("from")} data-testid="clip-from" onChange={(e) => setFrom(e.currentTarget.value)} />
        <TextInput label="To" value={to} error={wrong("to")} data-testid="clip-to" onChange={(e) => setTo(e.currentTarget.value)} />
        <NativeSelect label="Rendition" value={rendition} onChange={(e) => setRendition(e.currentTarget.value)} data={[{ value: "", label: "the node's choice" }, ...(playback?.levels ?? []).map((l) => ({ value: l.name, label: l.name }))]} />
      </div>
      <div className="actions tight">
        <button type="button" className="button" disabled={!playback} onClick={() => setFrom(here)}>From {here}</button>
        <button type="button" className="button" disabled={!playback} onClick={() => setTo(here)}>To {here}</button>
        {"problem" in found ? (
          <button type="button" className="button main" disabled>Export</button>
        ) : (
          <a className="button main" data-testid="export" download={`${r.name}-${r.id}.mp4`} href={`${folder}/clip.mp4?${new URLSearchParams({ from: String(found.from), to: String(found.to), ...(rendition && { rendition }) })}`}>
            Export {formatSpan((found.to - found.from) * 1000)}
          </a>
        )}
      </div>
      <p className="dim">It begins at the key picture at or before its first time.</p>
    </div>
  );
}
