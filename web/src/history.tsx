// The last minutes of a live stream as lines: what comes in, and how long a part takes. Kept by this page alone, from what it polls.
import { useEffect, useRef, useState } from "react";
import type uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { Stream } from "./api";

/** Points kept: five minutes of one each second. */
const POINTS = 300;
const HEIGHT = 110;

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

function Plot({ line, times, values }: { line: Line; times: number[]; values: (number | null)[] }) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const data = useRef<uPlot.AlignedData>([times, values]);
  data.current = [times, values];
  useEffect(() => {
    const element = place.current;
    if (!element) return;
    let gone = false;
    const width = () => Math.max(120, element.clientWidth);
    const resize = new ResizeObserver(() => plot.current?.setSize({ width: width(), height: HEIGHT }));
    void import("uplot").then(({ default: Plot }) => {
      if (gone) return;
      const colour = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name);
      const axis = { stroke: () => colour("--dim"), grid: { stroke: () => colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
      plot.current = new Plot(
        {
          width: width(),
          height: HEIGHT,
          legend: { show: false },
          cursor: { show: false },
          scales: { y: { range: (_, __, most) => [0, Math.max(1, most * 1.1)] } },
          axes: [{ ...axis, space: 70 }, { ...axis, size: 40, space: 30 }],
          series: [{}, { stroke: () => colour(line.colour), width: 1.5, spanGaps: true, points: { show: false } }],
        },
        data.current,
        element,
      );
      resize.observe(element);
    });
    return () => {
      gone = true;
      resize.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [line]);
  useEffect(() => plot.current?.setData([times, values]), [times, values]);
  const last = values.at(-1);
  const text = `${line.label}${last == null ? "" : ` ${last.toFixed(last < 10 ? 1 : 0)} ${line.unit}`}`;
  return (
    <figure className="plot" style={{ margin: 0 }} aria-label={`${text}, the last ${times.length} seconds`}>
      <h3>{text}</h3>
      <div ref={place} aria-hidden="true" />
    </figure>
  );
}
