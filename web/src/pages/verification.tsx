// Verification: what failed, with its evidence; the transcoders' record.
import { Link, useParams } from "@tanstack/react-router";
import { useNet } from "../app";
import { grouped, short } from "../format";
import type { From } from "../network";
import { Closed } from "../session/closed";
import { useSession } from "../session/session";
import { Ago, Loaded, Panel, Scroll, Skeleton } from "../ui";
import { type Evidence, useVerification } from "../verification/evidence";
import { inWords } from "../verification/fault";
import { Opened } from "../verification/opened";
import { Record, SamplingLines } from "../verification/record";
import "../verification/verification.css";
import { ready } from "../words";

const CHECKED = "Nothing failed. Of each segment that comes back, size, codec, frames and times are held against the source, and the pixels of a key frame: black, other or earlier pictures, flips, crops, overlays, other colours.";

export function VerificationPage() {
  const net = useNet();
  const { session } = useSession();
  const { evidence, sampling } = useVerification(net);
  const kept = ready(evidence).length;
  return (
    <div className="column">
      <Panel title="What failed" aside={kept > 0 ? `${kept} kept` : null}>
        {session && !session.can_read ? (
          <Closed what="What failed" />
        ) : net.root.data && !session ? (
          <Skeleton />
        ) : ready(net.transcoders).length === 0 && net.root.data && !net.nodes.some((n) => n.role === "orchestrator") ? (
          <div className="note">Orchestrators verify, and this node knows none. Open the console of one, or list it in node.peers.</div>
        ) : (
          <Loaded load={evidence} empty={CHECKED}>
            {(items) => <Failures items={items} />}
          </Loaded>
        )}
      </Panel>
      <Panel title="Transcoders' record">
        <Record transcoders={net.transcoders} />
        <SamplingLines sampling={sampling} />
      </Panel>
    </div>
  );
}

function Failures({ items }: { items: From<Evidence>[] }) {
  return (
    <Scroll label="Renditions that failed">
      <table className="table stack failures">
        <thead>
          <tr>
            <th>When</th>
            <th>Transcoder</th>
            <th>Rendition</th>
            <th className="right">Segment</th>
            <th>Fault</th>
          </tr>
        </thead>
        <tbody>
          {items.map(({ node, item: e }) => (
            <tr key={`${node.url} ${e.id}`} data-testid="failure-row" data-id={e.id}>
              <td className="when"><Ago at={e.at} /></td>
              <td className="cut worker" title={e.worker}>{e.worker_name || short(e.worker)}</td>
              <td className="rendition">{e.rendition}</td>
              <td className="right num seq">{grouped(e.seq)}</td>
              <td className="why"><Link to="/verification/$id" params={{ id: e.id }}>{inWords(e.fault)}</Link></td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

/** One of them. */
export function EvidencePage() {
  const { id } = useParams({ from: "/verification/$id" });
  const net = useNet();
  const { evidence } = useVerification(net);
  const shown = ready(evidence).find((e) => e.item.id === id);
  const stream = shown && ready(net.streams).find((s) => s.item.id.toLowerCase() === shown.item.stream.toLowerCase())?.item.name;
  return (
    <Panel title={shown ? `${shown.item.rendition} by ${shown.item.worker_name || short(shown.item.worker)}` : "A rendition that failed"} aside={<Link to="/verification">all that failed</Link>}>
      {shown ? (
        <Opened key={id} shown={shown} stream={stream ?? short(shown.item.stream)} />
      ) : (
        <Loaded load={evidence} empty="Nothing that failed is kept here.">
          {() => <div className="note">This is not kept any more: an orchestrator keeps the last 64. <Link to="/verification">All that failed</Link></div>}
        </Loaded>
      )}
    </Panel>
  );
}
