// Streams: the list with how to publish, and one stream with its player and its health.
import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { useNet } from "../app";
import { BrowserPublish } from "../camera";
import { Publish } from "../publish";
import { StreamSearch } from "../stream-search";
import { choose, Detail } from "../streams";
import { Loaded, Panel } from "../ui";
import { ready } from "../words";

export function StreamsPage() {
  const net = useNet();
  const go = useNavigate();
  return (
    <div className="columns even">
      <Panel title="Streams" className="streams">
        <StreamSearch streams={net.streams} pick={(s) => void go({ to: "/streams/$id", params: { id: s.item.id } })} />
      </Panel>
      <div className="column">
        <Panel title="Publish from an encoder">
          <Publish ingest={net.ingest} />
        </Panel>
        <Panel title="Publish from this browser">
          <BrowserPublish ingest={net.ingest} />
        </Panel>
      </div>
    </div>
  );
}

/** One stream; once it has ended, its successor of the same name. */
export function StreamPage() {
  const { id } = useParams({ from: "/streams/$id" });
  const net = useNet();
  const own = ready(net.streams).find((s) => s.item.id === id);
  const shown = own && choose(ready(net.streams), `${own.node.url} ${id}`);
  return (
    <Panel title={shown ? shown.item.name : "Stream"} className="streams" aside={<Link to="/streams">all streams</Link>}>
      {shown ? (
        <Detail key={`${shown.node.url} ${shown.item.id}`} stream={shown} nodes={net.nodes} />
      ) : (
        <Loaded load={net.streams} empty="This node knows no stream now.">
          {() => <div className="note">This stream is over, and the node has forgotten it. <Link to="/streams">All streams</Link></div>}
        </Loaded>
      )}
    </Panel>
  );
}
