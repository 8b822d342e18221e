// One stream with its player, its ladder and how it comes in.
import type { Health, Rendition, Stream } from "./api";
import { DelayBar } from "./delay";
import { absolute, formatBitrate, formatBytes, formatMs, grouped, NONE, short } from "./format";
import type { From, Seen } from "./network";
import { Player } from "./player";
import { History } from "./history";
import { Amount, Chip, Fact } from "./ui";
import { RENDITION_TONE } from "./words";

export type Told = From<Stream>;
export const keyOf = (s: Told) => `${s.node.url} ${s.item.id}`;

/** What is shown: the picked stream, or its successor of the same name once it has ended, else the first live one. */
export function choose(all: Told[], picked: string | null): Told | null {
  const live = all.filter((s) => s.item.state === "live");
  const own = all.find((s) => keyOf(s) === picked);
  if (own?.item.state === "ended") return live.find((s) => s.node.url === own.node.url && s.item.name === own.item.name) ?? own;
  return own ?? live[0] ?? null;
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
