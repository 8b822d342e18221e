// The page: header, live streams, nodes, segments, money.
import { type ReactNode, useEffect } from "react";
import { grouped } from "./format";
import mark from "./mark.svg?raw";
import { Money } from "./money";
import { type Network, useNetwork } from "./network";
import { Nodes } from "./nodes";
import { Segments } from "./segments";
import { Streams } from "./streams";
import { Ago, Chip, Now, useClock } from "./ui";
import { health } from "./words";

export function App() {
  const net = useNetwork();
  const now = useClock();
  const name = net.root.data?.name;
  useEffect(() => {
    document.title = name ? `${name} · Millrace` : "Millrace";
  }, [name]);
  return (
    <Now value={now}>
      <Header net={net} now={now} />
      {net.root.error && (
        <div className="banner" role="alert">
          <strong>This node {net.root.error.message}.</strong> {net.root.at > 0 && <>The figures below are from <Ago at={net.root.at} />. </>}
          Asking again every few seconds; if it was stopped, start it and this page will follow.
        </div>
      )}
      <Body net={net} />
    </Now>
  );
}

function Body({ net }: { net: Network }): ReactNode {
  return (
    <main>
      <div className="column">
        <Streams streams={net.streams} ingest={net.ingest} nodes={net.nodes} />
        <Segments segments={net.segments} streams={net.streams} nodes={net.nodes} transcoders={net.transcoders} />
      </div>
      <div className="column">
        <Nodes net={net} />
        <Money tickets={net.tickets} nodes={net.nodes} />
      </div>
    </main>
  );
}

function Header({ net, now }: { net: Network; now: number }) {
  const info = net.root.data;
  const state = health(net, now);
  return (
    <header className="top">
      <span className="mark" aria-hidden="true" dangerouslySetInnerHTML={{ __html: mark }} />
      <h1>Millrace</h1>
      {info && (
        <p className="who">
          <strong data-testid="node-name">{info.name}</strong> {info.role}
          <span className="sep" />
          <span title={`Registry ${info.chain.registry}\nTicket broker ${info.chain.broker}\n${info.chain.rpc_url}`}>
            chain <b className="num">{info.chain.id}</b>, block <b className="num" data-testid="block">{grouped(info.chain.block)}</b>
          </span>
          <span className="sep wide" />
          <span className="wide">version {info.version}</span>
        </p>
      )}
      <div className="health" role="status" data-testid="health" data-tone={state.tone}>
        <Chip tone={state.tone} title={state.details.join("\n")}>
          {state.text}
          {state.details.length > 1 && <span className="more"> and {state.details.length - 1} more</span>}
        </Chip>
      </div>
    </header>
  );
}
