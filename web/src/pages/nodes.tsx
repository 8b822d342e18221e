// Every node of the network that this one knows, and the end of this one.
import { useNet } from "../app";
import { DrainButton } from "../drain";
import { DeviceShort } from "../devices/cards";
import { Nodes } from "../nodes";
import { OwnersOnly } from "../session/closed";
import { Panel } from "../ui";

export function NodesPage() {
  const net = useNet();
  return (
    <>
      <Nodes net={net} more={(own) => <DeviceShort net={net} node={own} />} />
      {net.root.data && (
        <Panel title="This node">
          <p className="pad">Draining ends it well: it takes nothing new, finishes what runs, has it paid, and stops. Do it before an update, or to move the machine.</p>
          <OwnersOnly what="Draining" />
          <div className="actions"><DrainButton net={net} /></div>
        </Panel>
      )}
    </>
  );
}
