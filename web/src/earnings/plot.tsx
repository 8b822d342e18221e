// The course of a node's earnings: expected with its band, won, redeemed.
import { useMemo, useRef } from "react";
import type uPlot from "uplot";
import { colour, usePlot } from "../plot";
import type { Course } from "./luck";

const GWEI = 1e9;

const line = (name: string, width: number, more: Partial<uPlot.Series> = {}): uPlot.Series => ({ stroke: () => colour(name), width, points: { show: false }, ...more });

const DRAWING = {
  height: 220,
  size: 64,
  bands: [{ series: [1, 2] as [number, number], fill: () => colour("--water-soft") }],
  series: (paths: typeof uPlot.paths) => {
    // A winner is a step: nothing is earned between two tickets.
    const steps = paths.stepped?.({ align: 1 });
    const stepped = steps ? { paths: steps } : {};
    return [line("--water-soft", 1), line("--water-soft", 1), line("--water", 1.5, { dash: [5, 4] }), line("--ok", 3, stepped), line("--warn", 1.5, stepped)];
  },
};

export function EarningsPlot({ course: c, label }: { course: Course; label: string }) {
  const place = useRef<HTMLDivElement>(null);
  const data = useMemo(() => [c.at, ...[c.high, c.low, c.expected, c.won, c.redeemed].map((sums) => sums.map((sum) => sum / GWEI))] as uPlot.AlignedData, [c]);
  usePlot(place, DRAWING, data);
  return (
    <figure className="plot" style={{ margin: 0 }} aria-label={label}>
      <ul className="delay-parts legend" aria-hidden="true">
        <li className="hold-back">expected</li>
        <li className="band">luck alone, 95 of 100 cases</li>
        <li className="part">won</li>
        <li className="late">redeemed</li>
        <li className="unit">gwei</li>
      </ul>
      <div ref={place} aria-hidden="true" />
    </figure>
  );
}
