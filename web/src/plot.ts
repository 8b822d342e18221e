// One uPlot in the page: made when its place is there, as wide as it, in the colours of the day, and gone with it.
import { type RefObject, useEffect, useRef } from "react";
import type uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { formatAbsolute } from "./format";
import { partOf } from "./later";

const library = partOf("uPlot", () => import("uplot"));

/** A colour of styles.css as it is now: light and dark differ. */
export const colour = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name);

interface Drawing {
  height: number;
  /** Of the scale at the left. */
  size: number;
  series: (paths: typeof uPlot.paths) => uPlot.Series[];
  bands?: uPlot.Band[];
}

/** Draws `data`, whose first column is unix seconds, from 0 up. The drawing must not change: make it outside the component. */
export function usePlot(place: RefObject<HTMLDivElement | null>, drawing: Drawing, data: uPlot.AlignedData): void {
  const plot = useRef<uPlot | null>(null);
  const latest = useRef(data);
  latest.current = data;
  useEffect(() => {
    const element = place.current;
    if (!element) return;
    const { height, size, series, bands } = drawing;
    const width = () => Math.max(120, element.clientWidth);
    const resize = new ResizeObserver(() => plot.current?.setSize({ width: width(), height }));
    const draw = () => {
      const loaded = library.now();
      if (plot.current || loaded === null || loaded === "away") return;
      const { default: Plot } = loaded;
      const axis: uPlot.Axis = { stroke: () => colour("--dim"), grid: { stroke: () => colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
      const times = (_: uPlot, ticks: number[], __: number, ___: number, step: number) => ticks.map((t) => formatAbsolute(t * 1000).slice(11, step < 60 ? 19 : 16));
      plot.current = new Plot(
        {
          width: width(),
          height,
          legend: { show: false },
          cursor: { show: false },
          scales: { y: { range: (_, __, most) => [0, Math.max(1, most * 1.1)] } },
          axes: [{ ...axis, space: 70, values: times }, { ...axis, size, space: 30 }],
          series: [{}, ...series(Plot.paths)],
          ...(bands && { bands }),
        },
        latest.current,
        element,
      );
      resize.observe(element);
    };
    const leave = library.wait(draw);
    draw();
    return () => {
      leave();
      resize.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [place, drawing]);
  useEffect(() => plot.current?.setData(data), [data]);
}
