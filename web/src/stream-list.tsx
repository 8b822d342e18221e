// Streams as links to their pages: the first of them, or as many as are given.
import { Link } from "@tanstack/react-router";
import { useContext, useState } from "react";
import { formatAbsolute, formatBitrate, formatCodec, formatFps, formatMs, formatSpan, grouped, NONE } from "./format";
import type { Load } from "./network";
import { place } from "./paged";
import { keyOf, type Told } from "./streams";
import { Amount, Chip, Loaded, Now } from "./ui";
import { RENDITION_TONE } from "./words";

/** So many are seen at a glance. */
export const GLANCE = 8;

export interface ListProps {
  streams: Load<Told[]>;
  pick: (stream: Told) => void;
}

/** The first streams; their own page has the rest. */
export function StreamList({ streams, pick }: ListProps) {
  return (
    <Streams load={streams}>
      {(items) => (
        <>
          <StreamRows rows={items.toSorted(liveFirst).slice(0, GLANCE)} first={0} total={items.length} pick={pick} />
          {items.length > GLANCE && <div className="note"><Link to="/streams">All {grouped(items.length)} streams</Link></div>}
        </>
      )}
    </Streams>
  );
}

/** Live ones first, then the newest. */
export const liveFirst = (a: Told, b: Told) => Number(b.item.state === "live") - Number(a.item.state === "live") || b.item.started_at - a.item.started_at;

/** Draws streams once they are known, and what is to be said where none is live. */
export function Streams({ load, children }: { load: Load<Told[]>; children: (items: Told[]) => React.ReactNode }) {
  const none = "No stream is live. Send one with OBS or ffmpeg: it appears here within seconds.";
  return (
    <Loaded load={load} empty={none}>
      {(items) => (
        <>
          {items.every((s) => s.item.state !== "live") && <div className="note">{none}</div>}
          {children(items)}
        </>
      )}
    </Loaded>
  );
}

/** `first` of `total` come before these. */
export function StreamRows({ rows, first, total, pick }: { rows: Told[]; first: number; total: number; pick: (stream: Told) => void }) {
  return (
    <ul className="stream-list" aria-label="Streams">
      {rows.map((s, i) => (
        <li key={keyOf(s)} {...place(first + i, total)}>
          <Row stream={s} pick={() => pick(s)} />
        </li>
      ))}
    </ul>
  );
}

function Row({ stream, pick }: { stream: Told; pick: () => void }) {
  const now = useContext(Now);
  const s = stream.item;
  const src = s.source;
  return (
    <a
      href={`/streams/${s.id}`}
      className="stream"
      data-testid="stream-row"
      data-name={s.name}
      data-state={s.state}
      onClick={(e) => {
        if (e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey) return; // a new tab or window is the browser's own
        e.preventDefault();
        pick();
      }}
    >
      <Thumbnail stream={stream} now={now} />
      <span className="stream-name">
        <Chip tone={s.state === "live" ? "ok" : "idle"}>{s.state}</Chip>
        <strong>{s.name}</strong>
        <span className="dim num" title={`Started ${formatAbsolute(s.started_at)}`}>
          {s.state === "live" ? formatSpan(now - s.started_at) : `ran ${formatSpan((s.ended_at ?? now) - s.started_at)}`}
        </span>
      </span>
      <span className="source num">{src ? [formatCodec(src.codec), src.height ? `${src.width}×${src.height}` : "sound alone", formatFps(src.fps), formatBitrate(src.bitrate)].filter((x) => x !== NONE).join(" ") : "source not known yet"}{src && !src.audio && ", no audio"}</span>
      <span className="ladder">
        {s.renditions.map((r) => (
          <Chip key={r.name} tone={s.state === "live" ? (RENDITION_TONE[r.state] ?? "idle") : "idle"} title={`${r.name} ${r.state}, ${formatBitrate(r.bitrate)}`}>
            {r.name}
          </Chip>
        ))}
      </span>
      <span className="num latency" title="Source part in hand to rendition part in the origin: half of the parts are faster than the first figure, 99 % than the second">
        {s.latency_ms ? `${formatMs(s.latency_ms.p50)} / ${formatMs(s.latency_ms.p99)}` : <span className="dim">not measured</span>}
      </span>
      <span className="spent">
        <Amount wei={s.spent_wei} />
      </span>
    </a>
  );
}

/** A new one comes with each segment; this often is often enough to know a stream by. */
const THUMBNAIL_MS = 10_000;

/** Where a stream's newest picture is; null where the page may not show it: pictures come from the page's own node. */
export function thumbnail({ node, item: s }: Told, now: number): string | null {
  if (node.url !== "" || s.state !== "live" || !s.hls_url.startsWith("/live/")) return null;
  return `${s.hls_url.replace(/[^/]*$/, "thumbnail.jpg")}?t=${Math.floor(now / THUMBNAIL_MS)}`;
}

function Thumbnail({ stream, now }: { stream: Told; now: number }) {
  const url = thumbnail(stream, now);
  const [failed, setFailed] = useState<string | null>(null);
  // A stream of sound has none, and a new one not yet.
  return <span className="thumbnail">{url && url !== failed && <img src={url} alt="" loading="lazy" data-testid="thumbnail" onError={() => setFailed(url)} />}</span>;
}
