// Draining this node: what will happen, how far it is, and how it ends. What was asked for is remembered over pages, not over a reload.
import { useQuery } from "@tanstack/react-query";
import { useSyncExternalStore } from "react";
import { get, type OwnDevices, type Stream, type Transcoder } from "./api";
import { Confirm } from "./confirm";
import { count, formatSpan } from "./format";
import { type From, isClosed, type Load, type Network } from "./network";
import { useSession } from "./session/session";
import { DEVICES, type Shape } from "./shapes";
import { Ago } from "./ui";
import { ready } from "./words";

/** The life of the node that was drained, and when. */
interface Asked {
  at: number;
  life: number;
}
let asked: Asked | null = null;
const listeners = new Set<() => void>();
function setAsked(next: Asked | null): void {
  asked = next;
  for (const listener of listeners) listener();
}
const useAsked = () =>
  useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => asked,
    () => asked,
  );

const DRAINING: Shape<{ draining: boolean }> = { draining: "boolean" };
const POLL_MS = 1_000;

/** What will happen to a node of this role, in sentences. */
export function consequences(role: string, streams: Load<From<Stream>[]>, transcoders: Load<From<Transcoder>[]>): string[] {
  const live = ready(streams).filter((s) => s.node.url === "" && s.item.state === "live");
  const busy = ready(transcoders).filter((t) => t.node.url === "" && t.item.state === "working");
  const own: Record<string, string[]> = {
    broadcaster: [
      live.length > 0 ? `${count(live.length, "live stream")} (${live.map((s) => s.item.name).join(", ")}) ${live.length === 1 ? "ends" : "end"}: publishers are cut off, and viewers see the end.` : "No stream is live. New publishers are refused.",
      "The last segments are paid for, and recordings get their end. It takes some 12 s.",
    ],
    orchestrator: [busy.length > 0 ? `${count(busy.length, "transcoder")} of this orchestrator ${busy.length === 1 ? "is" : "are"} at work: segments on their way are finished and paid.` : "No transcoder of this orchestrator is at work.", "Broadcasters go to their next orchestrator, or wait for this one."],
    transcoder: ["It takes no new segments; those in work are delivered and paid.", "Its orchestrator gives its streams to other transcoders. Winners that wait are redeemed after the next start."],
  };
  return [...(own[role] ?? ["It takes nothing new, and what runs is finished and paid."]), "Then its process ends. What restarts it in any case, as millrace up does, brings it back; else start it by hand."];
}

export function DrainButton({ net }: { net: Network }) {
  const { session, change } = useSession();
  const node = net.root.data;
  if (!node) return null;
  return (
    <Confirm
      name="drain"
      button="Drain this node"
      title={`Drain ${node.role} ${node.name}`}
      what={consequences(node.role, net.streams, net.transcoders)}
      yes="Drain it now"
      disabled={node.draining ? "It is draining" : net.root.error ? "The node is away" : session?.can_operate ? null : "Sign in as an owner first"}
      act={() => change<{ draining: boolean }>("POST", "drain", null, DRAINING)}
      done={() => setAsked({ at: Date.now(), life: node.started_at })}
    />
  );
}

/** Where a drain stands: nothing to say, going on, over, or over and begun anew. */
export function stage(net: Network, asked: Asked | null): "none" | "draining" | "ended" | "back" {
  const { data, error } = net.root;
  const sameLife = asked !== null && data !== undefined && data.started_at === asked.life;
  if (asked && data && !error && !sameLife) return "back";
  if (error?.silent && (asked !== null || data?.draining)) return "ended";
  return data?.draining || asked !== null ? "draining" : "none";
}

/** On every page, while it matters. */
export function DrainBanner({ net }: { net: Network }) {
  const asked = useAsked();
  const at = stage(net, asked);
  if (at === "none") return null;
  const node = net.root.data;
  return (
    <div className="banner warn" role="status" data-testid="draining" data-stage={at}>
      {at === "draining" && (
        <>
          <strong>This node is draining{asked && <>, asked <Ago at={asked.at} /></>}.</strong> It takes nothing new. <Left net={net} />
        </>
      )}
      {at === "ended" && (
        <>
          <strong>This node has drained, and its process has ended.</strong> {asked && net.root.at > asked.at && <>It took {formatSpan(net.root.at - asked.at)}. </>}Start it again to use it; this page will follow.
        </>
      )}
      {at === "back" && (
        <>
          <strong>This node has drained and is back</strong>, started {node && <Ago at={node.started_at} />}.{" "}
          <button type="button" className="button" onClick={() => setAsked(null)}>Good</button>
        </>
      )}
    </div>
  );
}

/** What still runs. */
function Left({ net }: { net: Network }) {
  const role = net.root.data?.role;
  const devices = useQuery({ queryKey: ["", "devices"], enabled: role === "transcoder", refetchInterval: POLL_MS, queryFn: ({ signal }) => get<OwnDevices>("", "devices", DEVICES, signal) });
  if (role === "transcoder") {
    if (!devices.data || isClosed(devices.error)) return null;
    const sessions = devices.data.devices.reduce((sum, d) => sum + d.sessions, 0);
    return <>{sessions === 0 ? "Nothing is in work any more." : `${count(sessions, "session")} still in work.`}</>;
  }
  const live = ready(net.streams).filter((s) => s.node.url === "" && s.item.state === "live").length;
  const busy = ready(net.transcoders).filter((t) => t.node.url === "" && t.item.state === "working").length;
  if (role === "broadcaster") return <>{live === 0 ? "No stream is live any more." : `${count(live, "stream")} still live.`}</>;
  return <>{busy === 0 ? "No transcoder is at work any more." : `${count(busy, "transcoder")} still at work.`}</>;
}
