// The course of a node's earnings: expected with its band, won, redeemed.
import { useEffect, useRef } from "react";
import type uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { Course } from "./luck";

const HEIGHT = 220;
const GWEI = 1e9;

const series = (c: Course): uPlot.AlignedData => [c.at, ...[c.high, c.low, c.expected, c.won, c.redeemed].map((sums) => sums.map((sum) => sum / GWEI))] as uPlot.AlignedData;

export function EarningsPlot({ course, label }: { course: Course; label: string }) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const data = useRef(course);
  data.current = course;
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
      const line = (name: string, width: number, dash?: number[]): uPlot.Series => ({ stroke: () => colour(name), width, points: { show: false }, ...(dash && { dash }) });
      // A winner is a step: nothing is earned between two tickets.
      const steps = Plot.paths.stepped?.({ align: 1 });
      plot.current = new Plot(
        {
          width: width(),
          height: HEIGHT,
          legend: { show: false },
          cursor: { show: false },
          scales: { y: { range: (_, __, most) => [0, Math.max(1, most * 1.05)] } },
          axes: [{ ...axis, space: 70 }, { ...axis, size: 64, space: 34 }],
          bands: [{ series: [1, 2], fill: () => colour("--water-soft") }],
          series: [{}, line("--water-soft", 1), line("--water-soft", 1), line("--water", 1.5, [5, 4]), { ...line("--ok", 1.5), ...(steps && { paths: steps }) }, { ...line("--warn", 1.5), ...(steps && { paths: steps }) }],
        },
        series(data.current),
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
  }, []);
  useEffect(() => plot.current?.setData(series(course)), [course]);
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
