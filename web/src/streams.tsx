// Streams: the list, and one of them with its player, its ladder and how it comes in.
import { useContext, useState } from "react";
import type { Health, Rendition, Stream } from "./api";
import { DelayBar } from "./delay";
import { absolute, formatAbsolute, formatBitrate, formatBytes, formatCodec, formatFps, formatMs, formatSpan, grouped, NONE, short } from "./format";
import type { From, Load, Seen } from "./network";
import { Player } from "./player";
import { History } from "./history";
import { Amount, Chip, Fact, Loaded, Now } from "./ui";
import { RENDITION_TONE } from "./words";

type Told = From<Stream>;
const keyOf = (s: Told) => `${s.node.url} ${s.item.id}`;

interface ListProps {
  streams: Load<Told[]>;
  pick: (stream: Told) => void;
}

/** All streams, as links to their pages. */
export function StreamList({ streams, pick }: ListProps) {
  return (
    <Loaded load={streams} empty="No stream is live. Send one with OBS or ffmpeg: it appears here within seconds.">
      {(items) => (
        <>
          {items.every((s) => s.item.state !== "live") && <div className="note">No stream is live. Send one with OBS or ffmpeg: it appears here within seconds.</div>}
          <div className="stream-list" role="group" aria-label="Streams">
            {order(items).map((s) => (
              <Row key={keyOf(s)} stream={s} pick={() => pick(s)} />
            ))}
          </div>
        </>
      )}
    </Loaded>
  );
}

/** What is shown: the picked stream, or its successor of the same name once it has ended, else the first live one. */
export function choose(all: Told[], picked: string | null): Told | null {
  const live = all.filter((s) => s.item.state === "live");
  const own = all.find((s) => keyOf(s) === picked);
  if (own?.item.state === "ended") return live.find((s) => s.node.url === own.node.url && s.item.name === own.item.name) ?? own;
  return own ?? live[0] ?? null;
}

/** Live ones first, then the newest. */
function order(all: Told[]): Told[] {
  return all.toSorted((a, b) => Number(b.item.state === "live") - Number(a.item.state === "live") || b.item.started_at - a.item.started_at);
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
  return <span className="thumbnail">{url && url !== failed && <img src={url} alt="" data-testid="thumbnail" onError={() => setFailed(url)} />}</span>;
}

export function Detail({ stream: { node, item: s }, nodes }: { stream: Told; nodes: Seen[] }) {
  const url = absolute(s.hls_url, node.url);
  const orchestrator = s.orchestrator && (nodes.find((n) => n.info.data?.address.toLowerCase() === s.orchestrator?.toLowerCase())?.name ?? short(s.orchestrator));
  return (
    <div className="detail">
      {url ? <Player url={url} name={s.name} live={s.state === "live"} /> : <div className="note bad">This stream's playlist has no usable address.</div>}
      <div className="detail-side">
        <table className="table">
          <thead>
            <tr>
              <th>Rendition</th>
              <th className="right">Size</th>
              <th className="right">Bitrate</th>
              <th className="right">Last</th>
              <th>State</th>
            </tr>
          </thead>
          <tbody>
            {s.renditions.map((r) => (
              <RenditionRow key={r.name} rendition={r} live={s.state === "live"} />
            ))}
          </tbody>
        </table>
        <dl className="facts">
          <Fact name="Viewers" title="Who asked for a playlist in the last half minute, told apart by address and player"><span className="num">{grouped(s.viewers)}</span></Fact>
          <Fact name="Latency p50" title="Source part in hand to rendition part in the origin"><span className="num">{formatMs(s.latency_ms?.p50)}</span></Fact>
          <Fact name="Latency p99" title="Source part in hand to rendition part in the origin"><span className="num">{formatMs(s.latency_ms?.p99)}</span></Fact>
          <Fact name="Segments"><span className="num">{grouped(s.segments)}</span></Fact>
          <Fact name="Parts"><span className="num">{grouped(s.parts)}</span></Fact>
          <Fact name="Spent"><Amount wei={s.spent_wei} /></Fact>
          {s.ingest && <Arriving health={s.ingest} />}
          {s.recording && <Fact name="Recorded" title={s.recording.error ?? undefined}><span className={s.recording.state === "failing" ? "num bad" : "num"}>{s.recording.state === "failing" ? "failing, " : ""}{formatBytes(s.recording.bytes)}</span></Fact>}
          <Fact name="Orchestrator">{orchestrator ?? <span className="dim">none</span>}</Fact>
        </dl>
        {s.ingest?.warnings.map((warning) => (
          <div key={warning} className="note warn" data-testid="ingest-warning">From the encoder: {warning}.</div>
        ))}
        {s.delay && <DelayBar delay={s.delay} />}
        {s.state === "live" && <History stream={s} />}
        {url && <a className="dim hls" href={url} title={url}>HLS playlist</a>}
      </div>
    </div>
  );
}

/** How the publisher's stream comes in. */
function Arriving({ health: h }: { health: Health }) {
  return (
    <>
      <Fact name="Incoming" title="Video and audio over the last five seconds"><span className="num">{formatBitrate(h.video_bitrate + h.audio_bitrate)}</span></Fact>
      <Fact name="Keyframes" title="Longest of the last eight distances between keyframes; 2 s is best"><span className="num">{h.keyframe_interval_ms === null ? NONE : `${(h.keyframe_interval_ms / 1000).toFixed(1)} s`}</span></Fact>
      <Fact name="Late" title="How much later than at its best in the last two minutes the stream arrives"><span className="num">{formatMs(h.late_ms)}</span></Fact>
      <Fact name="Lost" title="Pictures that did not arrive whole"><span className="num">{grouped(h.lost)}</span></Fact>
    </>
  );
}

function RenditionRow({ rendition: r, live }: { rendition: Rendition; live: boolean }) {
  return (
    <tr data-testid="rendition-row" data-name={r.name} data-state={r.state}>
      <td>{r.name}</td>
      <td className="right num">{r.width}×{r.height}</td>
      <td className="right num">{formatBitrate(r.bitrate)}</td>
      <td className="right num">{r.last_seq === null ? NONE : grouped(r.last_seq)}</td>
      <td>
        <Chip tone={live ? (RENDITION_TONE[r.state] ?? "idle") : "idle"}>{live ? r.state : "ended"}</Chip>
      </td>
    </tr>
  );
}
