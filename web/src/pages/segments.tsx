// The last segments: the way of each in time, and all attempts as a table.
import { useNet } from "../app";
import { Segments } from "../segments";
import { WayPanel } from "../way/picture";

export function SegmentsPage() {
  const net = useNet();
  return (
    <div className="column">
      <WayPanel net={net} />
      <Segments segments={net.segments} streams={net.streams} nodes={net.nodes} transcoders={net.transcoders} />
    </div>
  );
}
