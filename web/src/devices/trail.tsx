// How busy a device was in the last minutes, as a line. Kept by this page alone, from what it asks for.
import { useEffect, useMemo, useRef, useState } from "react";
import type uPlot from "uplot";
import { colour, usePlot } from "../plot";
import { appended } from "./devices";

/** Five minutes of one point every two seconds. */
const POINTS = 150;
const BEAT_MS = 2_000;
const DRAWING = { height: 120, size: 40, series: () => [{ stroke: () => colour("--water"), width: 1.5, spanGaps: false, points: { show: false } }] };

export function Trail({ name, value }: { name: string; value: number | null }) {
  const [seen, setSeen] = useState<{ times: number[]; values: (number | null)[] }>({ times: [], values: [] });
  const latest = useRef(value);
  latest.current = value;
  useEffect(() => {
    const beat = setInterval(() => setSeen(({ times, values }) => ({ times: appended(times, Date.now() / 1000, POINTS), values: appended(values, latest.current, POINTS) })), BEAT_MS);
    return () => clearInterval(beat);
  }, []);
  // A line wants two ends.
  return seen.times.length < 2 ? null : <Line name={name} {...seen} />;
}

function Line({ name, times, values }: { name: string; times: number[]; values: (number | null)[] }) {
  const place = useRef<HTMLDivElement>(null);
  const data = useMemo<uPlot.AlignedData>(() => [times, values], [times, values]);
  usePlot(place, DRAWING, data);
  const last = values.at(-1);
  return (
    <figure className="plot trail" aria-label={`${name}, per cent: ${last == null ? "not told now" : Math.round(last)}`}>
      <h3>{name}, %</h3>
      <div ref={place} aria-hidden="true" />
    </figure>
  );
}
