// Every node of the network that this one knows.
import { useNet } from "../app";
import { DeviceShort } from "../devices/cards";
import { Nodes } from "../nodes";

export function NodesPage() {
  const net = useNet();
  return <Nodes net={net} more={(own) => <DeviceShort net={net} node={own} />} />;
}
