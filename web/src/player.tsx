// The player of the selected stream: picture, level menu, and how well it plays here.
import { useEffect, useRef } from "react";
import { count, formatBitrate, formatMs, formatSeconds, NONE } from "./format";
import { type Level, type Playback, useHls } from "./hls";
import { Fact } from "./ui";

/** This far behind live, a button offers to catch up: low-latency HLS plays some 2 s behind, plain HLS 6 s. */
const FAR_S = 8;

interface Props {
  url: string;
  name: string;
  live: boolean;
  /** What is said where nothing can be played any more. */
  gone?: string;
  /** Is told how it plays. */
  tell?: (playback: Playback) => void;
}

export function Player({ url, name, live, gone = "The stream has ended and its segments are gone", tell }: Props) {
  const video = useRef<HTMLVideoElement>(null);
  const { playback: p, choose, toLive } = useHls(video, url);
  useEffect(() => tell?.(p), [p, tell]);
  return (
    <div
      className="player"
      data-testid="player"
      data-phase={p.phase}
      data-level-height={p.current?.height ?? ""}
      data-level-name={p.current?.name ?? ""}
      data-live-latency={p.latency?.toFixed(2) ?? ""}
      data-current-time={p.time.toFixed(2)}
      data-stalls={p.stalls}
    >
      <div className="screen">
        <video ref={video} muted autoPlay playsInline controls aria-label={`Stream ${name}`} />
        <Overlay text={overlay(p, live, gone)} />
      </div>
      <div className="bar">
        <label className="levels">
          Level
          <select
            data-testid="level-select"
            value={p.chosen ?? "auto"}
            disabled={p.levels.length === 0}
            onChange={(e) => choose(e.target.value === "auto" ? null : e.target.value)}
          >
            <option value="auto">Auto</option>
            {p.levels.map((l) => (
              <option key={l.name} value={l.name}>
                {describe(l)}
              </option>
            ))}
          </select>
        </label>
        <span className="now" data-testid="current-level" data-height={p.current?.height ?? ""} aria-live="polite">
          {p.current ? `Playing ${describe(p.current)}` : "No picture yet"}
        </span>
        {live && p.latency !== null && p.latency > FAR_S && (
          <button type="button" className="button" onClick={toLive}>
            Go to live
          </button>
        )}
      </div>
      <dl className="facts figures">
        {live && <Fact name="Behind live"><span className="num">{formatSeconds(p.latency)}</span></Fact>}
        <Fact name="Buffered"><span className="num">{formatSeconds(p.buffer)}</span></Fact>
        <Fact name="Stalls"><span className="num">{p.stalls === 0 ? "none" : `${p.stalls}, ${formatMs(p.stalledMs)}`}</span></Fact>
        <Fact name="Dropped"><span className="num">{p.current ? count(p.dropped, "frame") : NONE}</span></Fact>
      </dl>
    </div>
  );
}

/** `480p, 854×480, 1.4 Mb/s`, without what is not known. */
function describe(l: Level): string {
  return [l.name, l.width && l.height ? `${l.width}×${l.height}` : "", l.bitrate ? formatBitrate(l.bitrate) : ""].filter(Boolean).join(", ");
}

function Overlay({ text }: { text: string | null }) {
  return text ? (
    <div className="overlay" role="status">
      {text}
    </div>
  ) : null;
}

function overlay(p: Playback, live: boolean, gone: string): string | null {
  switch (p.phase) {
    case "loading":
      return "Loading the stream";
    case "stalled":
      return "Waiting for data";
    case "ended":
      return "The stream has ended";
    case "waiting":
      return live || p.refused === null ? p.message : gone;
    case "failed":
    case "paused":
      return p.message;
    default:
      return null;
  }
}
