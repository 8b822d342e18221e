// What needs a look, what is live, who works, what was earned: one screen, with links to the rest.
import { Link, useNavigate } from "@tanstack/react-router";
import { useContext } from "react";
import { alerts, cost, lasts } from "../alerts";
import { useKnown } from "../app";
import { count, formatEth, formatSpan, grouped, sumWei } from "../format";
import { later } from "../later";
import { Money } from "../money";
import { Nodes } from "../nodes";
import { Publish } from "../publish";
import { Segments } from "../segments";
import { StreamList } from "../stream-list";
import { Closed } from "../session/closed";
import { Chip, Fact, Now as Clock, Panel } from "../ui";
import { useChain } from "../wallet/provider";
import { health, ready } from "../words";

const StartLine = later(() => import("../start/line"), "StartLine");

/** Rows of the log here; its own page has the rest. */
const SEGMENTS = 8;
/** More than these are not read one by one. */
const ALERTS = 10;

export function Overview() {
  const { net } = useKnown();
  const { chain } = useChain();
  const go = useNavigate();
  const none = net.streams.state === "ready" && !net.streams.data.some((s) => s.item.state === "live");
  const segments = net.segments.state === "ready" ? { ...net.segments, data: net.segments.data.slice(0, SEGMENTS) } : net.segments;
  return (
    <>
      {chain && <StartLine />}
      <Now />
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

function Now() {
  const { net, purse } = useKnown();
  const now = useContext(Clock);
  const state = health(net, now, purse);
  const found = net.root.data || net.root.error ? alerts(net, purse, now) : [];
  const live = ready(net.streams).filter((s) => s.item.state === "live");
  const workers = ready(net.transcoders).filter((t) => t.item.state === "ready" || t.item.state === "working");
  const told = ready(net.segments);
  const redeemed = sumWei(ready(net.tickets).map((t) => t.item.received.redeemed_wei));
  const lasting = purse && lasts(net, purse, now);
  const known = net.root.data !== undefined && net.streams.state !== "closed";
  const figure = (value: string) => <span className="num figure">{known ? value : "–"}</span>;
  return (
    <Panel title="Now" className="now-panel">
      <ul className="alerts" aria-label="Alerts">
        {found.slice(0, ALERTS).map(({ tone, text, way, to }) => (
          <li key={text} data-testid="alert" data-tone={tone}>
            <Chip tone={tone}>{text}</Chip> <Link to={to}>{way}</Link>
          </li>
        ))}
        {found.length > ALERTS && <li><Chip tone="warn">{count(found.length - ALERTS, "more thing")} to look at</Chip> <Link to="/streams">See the streams with most trouble</Link></li>}
        {found.length === 0 && <li><Chip tone={state.tone}>{state.text}</Chip></li>}
      </ul>
      {net.streams.state === "closed" && <Closed what="How this node does" />}
      <dl className="facts tiles">
        <Fact name="Streams live">{figure(grouped(live.length))}</Fact>
        <Fact name="Viewers" title="Who asked for a playlist in the last half minute">{figure(grouped(live.reduce((n, s) => n + s.item.viewers, 0)))}</Fact>
        <Fact name="Transcoders able">{figure(grouped(workers.length))}</Fact>
        <Fact name="Segments passed" title={`Of the last ${told.length} attempts`}>{figure(told.length === 0 ? "–" : `${told.filter((s) => s.item.result === "pass").length} of ${told.length}`)}</Fact>
        <Fact name="Redeemed" title="Face values that the chain has paid, of all nodes shown here">{figure(formatEth(redeemed))}</Fact>
        {lasting && <Fact name="Funds last" title={`${cost(lasting)}, as the live streams cost now`}>{figure(lasting.ms > 365 * 86_400_000 ? "over a year" : formatSpan(lasting.ms))}</Fact>}
      </dl>
    </Panel>
  );
}
