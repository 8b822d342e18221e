// The last minutes of a live stream as lines: what comes in, and how long a part takes. Kept by this page alone, from what it polls.
import { useEffect, useMemo, useRef, useState } from "react";
import type uPlot from "uplot";
import type { Stream } from "./api";
import { colour, usePlot } from "./plot";

/** Points kept: five minutes of one each second. */
const POINTS = 300;

interface Line {
  label: string;
  unit: string;
  colour: string;
}
const BITRATE: Line = { label: "Incoming", unit: "Mb/s", colour: "--water" };
const LATENCY: Line = { label: "Latency p99", unit: "ms", colour: "--warn" };

/** What was seen of a stream, a point for each second: times, Mb/s, milliseconds. */
type Seen = [number[], (number | null)[], (number | null)[]];

export function History({ stream }: { stream: Stream }) {
  const [seen, setSeen] = useState<Seen>([[], [], []]);
  const latest = useRef(stream);
  latest.current = stream;
  useEffect(() => {
    const beat = setInterval(() => {
      const { ingest, latency_ms } = latest.current;
      const point = [Date.now() / 1000, ingest ? (ingest.video_bitrate + ingest.audio_bitrate) / 1e6 : null, latency_ms?.p99 ?? null];
      setSeen((before) => before.map((column, i) => [...column.slice(1 - POINTS), point[i]!]) as Seen);
    }, 1000);
    return () => clearInterval(beat);
  }, []);
  if (seen[0].length < 3) return null;
  return (
    <>
      <Plot line={BITRATE} times={seen[0]} values={seen[1]} />
      <Plot line={LATENCY} times={seen[0]} values={seen[2]} />
    </>
  );
}

const drawing = ({ colour: name }: Line) => ({ height: 110, size: 40, series: () => [{ stroke: () => colour(name), width: 1.5, spanGaps: true, points: { show: false } }] });
const DRAWINGS = new Map([BITRATE, LATENCY].map((line) => [line, drawing(line)]));

function Plot({ line, times, values }: { line: Line; times: number[]; values: (number | null)[] }) {
  const place = useRef<HTMLDivElement>(null);
  const data = useMemo<uPlot.AlignedData>(() => [times, values], [times, values]);
  usePlot(place, DRAWINGS.get(line)!, data);
  const last = values.at(-1);
  const text = `${line.label}${last == null ? "" : ` ${last.toFixed(last < 10 ? 1 : 0)} ${line.unit}`}`;
  return (
    <figure className="plot" style={{ margin: 0 }} aria-label={`${text}, the last ${times.length} seconds`}>
      <h3>{text}</h3>
      <div ref={place} aria-hidden="true" />
    </figure>
  );
}
