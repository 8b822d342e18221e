// A page that broadcasters alone have: by a kept link one may come to it at another node.
import type { ReactNode } from "react";
import { useNet } from "../app";
import { Panel } from "../ui";

export function OfBroadcasters({ title, children }: { title: string; children: ReactNode }) {
  const role = useNet().root.data?.role;
  if (role === undefined || role === "broadcaster") return children;
  return (
    <Panel title={title}>
      <div className="note">This node is of the role {role}: {title.toLowerCase()} are at a broadcaster's console.</div>
    </Panel>
  );
}
