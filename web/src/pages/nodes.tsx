// Every node of the network that this one knows.
import { useNet } from "../app";
import { Nodes } from "../nodes";

export function NodesPage() {
  return <Nodes net={useNet()} />;
}
