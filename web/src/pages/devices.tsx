// The devices of this transcoder, or of those that this node can ask.
import { useNet } from "../app";
import { DeviceCards } from "../devices/cards";
import "../devices/devices.css";
import { short } from "../format";
import type { Seen } from "../network";
import { Closed } from "../session/closed";
import { useSession } from "../session/session";
import { Panel, Skeleton } from "../ui";

export function DevicesPage() {
  const net = useNet();
  const { session } = useSession();
  const own = net.nodes.filter((n) => n.role === "transcoder");
  if (session && !session.can_read) return <Panel title="Devices"><Closed what="What devices do" /></Panel>;
  if (!net.root.error && (!net.root.data || !session)) return <Panel title="Devices"><Skeleton /></Panel>;
  if (own.length === 0) return <Panel title="Devices"><div className="note">Transcoders have devices, and this node knows none that it can ask. Open the console of one, or list it in node.peers.</div></Panel>;
  const named = own.map((n) => n.name);
  const title = ({ name, info }: Seen) => {
    const address = info.data && short(info.data.address);
    return [name || "Devices", named.filter((other) => other === name).length > 1 && address].filter(Boolean).join(", ");
  };
  return (
    <div className="column devices">
      {own.map((node) => (
        <Panel key={node.url} title={title(node)}>
          <DeviceCards net={net} node={node} />
        </Panel>
      ))}
    </div>
  );
}
