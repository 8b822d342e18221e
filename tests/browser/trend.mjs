// A straight line through points, by least squares.

/** How steep it is through `points` ([x, y]), and how steep it surely is at least: three standard errors less. Two points are sure of nothing. */
export function trend(points) {
  const mean = (of) => points.reduce((sum, point) => sum + of(point), 0) / points.length;
  const [x0, y0] = [mean(([x]) => x), mean(([, y]) => y)];
  const spread = points.reduce((sum, [x]) => sum + (x - x0) ** 2, 0);
  const slope = points.reduce((sum, [x, y]) => sum + (x - x0) * (y - y0), 0) / spread;
  const off = points.reduce((sum, [x, y]) => sum + (y - y0 - slope * (x - x0)) ** 2, 0);
  const error = points.length > 2 ? Math.sqrt(off / (points.length - 2) / spread) : Number.POSITIVE_INFINITY;
  return { slope, sure: slope - 3 * error };
}
