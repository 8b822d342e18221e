// The last segments of all streams.
import { useNet } from "../app";
import { Segments } from "../segments";

export function SegmentsPage() {
  const net = useNet();
  return <Segments segments={net.segments} streams={net.streams} nodes={net.nodes} transcoders={net.transcoders} />;
}
