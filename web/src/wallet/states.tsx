// What the pages of the chain show while they cannot show it.
import { Panel, Skeleton } from "../ui";
import { explain } from "../chain/refusal";
import { useChain } from "./provider";

/** The node has not said yet which chain it is on. */
export function NoChain({ title }: { title: string }) {
  const { trouble } = useChain();
  return (
    <Panel title={title}>
      {trouble ? (
        <div className="note bad" role="alert">
          <strong>The chain is not known.</strong> This node {trouble}. Asking again every few seconds.
        </div>
      ) : (
        <Skeleton />
      )}
    </Panel>
  );
}

/** A question to the chain that has no answer yet, or failed. Old figures stay elsewhere; this stands where there are none. */
export function Unread({ title, query }: { title?: string; query: { error: Error | null } }) {
  const body = query.error ? (
    <div className="note bad" role="alert">
      <strong>No data from the chain.</strong> {explain(query.error, Date.now() / 1000).replace(", so nothing was sent", "")} Asking again every few seconds.
    </div>
  ) : (
    <Skeleton />
  );
  return title ? <Panel title={title}>{body}</Panel> : body;
}

/** Says that what is shown is old, when asking anew has failed. */
export function Stale({ query }: { query: { error: Error | null } }) {
  return (
    query.error && (
      <div className="note warn" role="status">
        Old figures. {explain(query.error, Date.now() / 1000).replace(", so nothing was sent", "")}
      </div>
    )
  );
}
