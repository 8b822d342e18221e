// Nodes: each broadcaster, orchestrator and transcoder, what it is doing and how it has done.
import { type ReactNode, useContext } from "react";
import type { Device, Transcoder } from "./api";
import { count, formatAbsolute, formatMs, formatSpan, grouped } from "./format";
import { type From, MAX_NODES, type Network, type Seen } from "./network";
import { Ago, Amount, Chip, Fact, Hex, Loaded, Meter, Now, Panel, Skeleton } from "./ui";
import { inWords } from "./verification/fault";
import { ready, TRANSCODER_TONE } from "./words";

/** `more` is what a page adds to the row of a transcoder that it can ask itself. */
export function Nodes({ net, more }: { net: Network; more?: (own: Seen) => ReactNode }) {
  const others = net.nodes.filter((n) => n.role !== "transcoder" && n.role !== "");
  const workers = ready(net.transcoders);
  const listed = new Set(workers.map((w) => w.item.address.toLowerCase()));
  // A transcoder that runs but that no orchestrator lists: it cannot earn, and its owner should see why.
  const told = net.transcoders.state === "ready" && net.transcoders.trouble === null;
  const loose = net.transcoders.state === "loading" ? [] : net.nodes.filter((n) => n.role === "transcoder" && !(n.info.data && listed.has(n.info.data.address.toLowerCase())) && !workers.some((w) => w.item.name === n.name));
  return (
    <Panel title="Nodes" className="nodes" aside={net.unasked > 0 ? `${net.unasked} more are not asked (limit ${MAX_NODES})` : null}>
      {!net.root.data && !net.root.error && <Skeleton />}
      {others.map((n) => (
        <NodeRow key={n.url} node={n} doing={doing(n, net)} />
      ))}
      {net.root.data && !(net.root.data.role === "transcoder" && loose.length > 0 && workers.length === 0) && (
        <Loaded load={net.transcoders} empty={loose.length > 0 ? "No orchestrator lists a transcoder." : "No transcoder has joined. Start one with: millrace transcoder"}>
          {(items) => items.map((w) => <TranscoderRow key={`${w.node.url} ${w.item.address}`} worker={w} own={ownNode(w.item, net.nodes)} more={more} />)}
        </Loaded>
      )}
      {loose.map((n) => (
        <NodeRow key={n.url} node={n} doing={told ? (net.nodes.some((o) => o.role === "orchestrator") ? "not connected to an orchestrator" : "its orchestrator is not among node.peers") : null} />
      ))}
    </Panel>
  );
}

function ownNode(t: Transcoder, nodes: Seen[]): Seen | undefined {
  return nodes.find((n) => n.role === "transcoder" && n.info.data?.address.toLowerCase() === t.address.toLowerCase());
}

function doing(node: Seen, net: Network): string | null {
  const mine = <T,>(all: From<T>[]) => all.filter((x) => x.node.url === node.url).map((x) => x.item);
  if (node.role === "broadcaster" && net.streams.state === "ready") {
    const streams = mine(net.streams.data);
    const live = streams.filter((s) => s.state === "live").length;
    const segments = streams.reduce((n, s) => n + s.segments, 0);
    return `${live === 0 ? "no stream live" : `${count(live, "stream")} live`}, ${count(segments, "segment")} sent out`;
  }
  if (node.role === "orchestrator" && net.transcoders.state === "ready") {
    const workers = mine(net.transcoders.data);
    const busy = workers.filter((w) => w.state === "working").length;
    const ok = workers.reduce((n, w) => n + w.segments_ok, 0);
    return `${count(workers.length, "transcoder")}, ${busy} working, ${count(ok, "segment")} verified`;
  }
  return null;
}

function NodeRow({ node, doing }: { node: Seen; doing: string | null }) {
  const info = node.info.data;
  const now = useContext(Now);
  return (
    <article className="node" data-testid={`${node.role}-row`} data-name={node.name}>
      <Head role={node.role} name={node.name} address={info?.address} balance={info?.balance_wei} />
      <p className="doing">
        {node.info.error ? (
          <Chip tone="bad">does not answer{info ? ", figures are old" : ""}</Chip>
        ) : !info ? (
          "asking"
        ) : (
          <>
            {doing && <span>{doing}</span>}
            <span className="dim" title={formatAbsolute(info.started_at)}>
              up {formatSpan(now - info.started_at)}
            </span>
          </>
        )}
        {info && node.role === "broadcaster" && node.url !== "" && <a href={node.url}>its console</a>}
      </p>
    </article>
  );
}

function TranscoderRow({ worker, own, more }: { worker: From<Transcoder>; own: Seen | undefined; more: ((own: Seen) => ReactNode) | undefined }) {
  const t = worker.item;
  return (
    <article className="node" data-testid="transcoder-row" data-name={t.name} data-address={t.address} data-state={t.state} data-earned-wei={t.earned_wei}>
      <Head role="transcoder" name={t.name} address={t.address} balance={own?.info.data?.balance_wei}>
        <Chip tone={TRANSCODER_TONE[t.state] ?? "idle"}>{t.state}</Chip>
      </Head>
      {t.suspended && (
        <p className="note bad">
          Suspended: {inWords(t.suspended.reason)}. {t.suspended.until === null ? "It ends by itself." : <Until at={t.suspended.until} />}
        </p>
      )}
      {t.devices.length === 0 && <p className="doing dim">{t.state === "gone" ? <>left, last seen <Ago at={t.since} /></> : "no device reported"}</p>}
      {t.state !== "gone" && t.devices.map((d, i) => <DeviceLine key={`${d.name} ${i}`} device={d} />)}
      {own && more?.(own)}
      <dl className="facts">
        <Fact name="Bond"><span className="num">{t.bond_mill} MILL</span></Fact>
        <Fact name="Segments" title={`${grouped(t.segments_ok)} passed, ${grouped(t.segments_failed)} failed`}>
          <span className="num">{grouped(t.segments_ok)} ok</span>
          {t.segments_failed > 0 ? <span className="num bad">, {grouped(t.segments_failed)} failed</span> : <span className="dim">, 0 failed</span>}
        </Fact>
        <Fact name="Earned" title="Expected value of its accepted tickets"><Amount wei={t.earned_wei} /></Fact>
        <Fact name="Round trip"><span className="num">{formatMs(t.rtt_ms)}</span></Fact>
      </dl>
    </article>
  );
}

function Until({ at }: { at: number }) {
  const now = useContext(Now);
  return at > now ? <span title={formatAbsolute(at)}>Back in {formatSpan(at - now)}.</span> : <>Its time is over.</>;
}

function DeviceLine({ device: d }: { device: Device }) {
  return (
    <div className="device">
      <span className="device-name" title={d.detail}>
        <b>{d.kind}</b> {d.name}
      </span>
      <span className="dim">{d.sessions === 0 ? "idle" : count(d.sessions, "session")}</span>
      <Meter value={d.in_use} of={d.capacity} label={`${d.name}: megapixels per second in use`} />
      <span className="num load" title="Megapixels per second in use, of those it can encode">
        {grouped(d.in_use)}/{grouped(d.capacity)} Mpx/s
      </span>
    </div>
  );
}

function Head(props: { role: string; name: string; address: string | undefined; balance: string | null | undefined; children?: ReactNode }) {
  return (
    <header className="node-head">
      <span className="role">{props.role || "node"}</span>
      <strong>{props.name}</strong>
      {props.children}
      {props.address && <Hex value={props.address} what="address" />}
      {props.balance !== undefined && props.balance !== null && (
        <span className="balance">
          <Amount wei={props.balance} />
        </span>
      )}
    </header>
  );
}

