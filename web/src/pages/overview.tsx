// What needs a look, what is live, who works, what was earned: one screen, with links to the rest.
import { useNavigate } from "@tanstack/react-router";
import { useContext } from "react";
import { useNet } from "../app";
import { formatEth, grouped, sumWei } from "../format";
import { Money } from "../money";
import type { Network } from "../network";
import { Nodes } from "../nodes";
import { Publish } from "../publish";
import { Segments } from "../segments";
import { StartLine } from "../start/line";
import { StreamList } from "../streams";
import { Chip, Fact, Now, Panel } from "../ui";
import { health, ready } from "../words";

/** Rows of the log here; its own page has the rest. */
const SEGMENTS = 8;

export function Overview() {
  const net = useNet();
  const go = useNavigate();
  const none = net.streams.state === "ready" && !net.streams.data.some((s) => s.item.state === "live");
  const segments = net.segments.state === "ready" ? { ...net.segments, data: net.segments.data.slice(0, SEGMENTS) } : net.segments;
  return (
    <>
      <StartLine />
      <Alerts net={net} />
      <div className="columns">
        <div className="column">
          <Panel title="Streams" className="streams">
            <StreamList streams={net.streams} pick={(s) => void go({ to: "/streams/$id", params: { id: s.item.id } })} />
            {none && <Publish ingest={net.ingest} />}
          </Panel>
          <Segments segments={segments} streams={net.streams} nodes={net.nodes} transcoders={net.transcoders} />
        </div>
        <div className="column">
          <Nodes net={net} />
          <Money tickets={net.tickets} nodes={net.nodes} brief />
        </div>
      </div>
    </>
  );
}

function Alerts({ net }: { net: Network }) {
  const now = useContext(Now);
  const state = health(net, now);
  const live = ready(net.streams).filter((s) => s.item.state === "live");
  const workers = ready(net.transcoders).filter((t) => t.item.state === "ready" || t.item.state === "working");
  const told = ready(net.segments);
  const redeemed = sumWei(ready(net.tickets).map((t) => t.item.received.redeemed_wei));
  const known = net.root.data !== undefined;
  const figure = (value: string) => <span className="num figure">{known ? value : "–"}</span>;
  return (
    <Panel title="Now" className="now-panel">
      <ul className="alerts" aria-label="Alerts">
        {state.details.map((text) => (
          <li key={text}>
            <Chip tone={state.tone}>{text}</Chip>
          </li>
        ))}
      </ul>
      <dl className="facts tiles">
        <Fact name="Streams live">{figure(grouped(live.length))}</Fact>
        <Fact name="Viewers" title="Who asked for a playlist in the last half minute">{figure(grouped(live.reduce((n, s) => n + s.item.viewers, 0)))}</Fact>
        <Fact name="Transcoders able">{figure(grouped(workers.length))}</Fact>
        <Fact name="Segments passed" title={`Of the last ${told.length} attempts`}>{figure(told.length === 0 ? "–" : `${told.filter((s) => s.item.result === "pass").length} of ${told.length}`)}</Fact>
        <Fact name="Redeemed" title="Face values that the chain has paid, of all nodes shown here">{figure(formatEth(redeemed))}</Fact>
      </dl>
    </Panel>
  );
}
