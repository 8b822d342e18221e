// One line on Overview until the guide of this node's role is finished.
import { Link } from "@tanstack/react-router";
import type { NodeInfo } from "../api";
import { useNet } from "../app";
import type { Chain } from "../chain/facts";
import { count } from "../format";
import { useChain } from "../wallet/provider";
import { useBroadcasterSteps, useTranscoderSteps } from "./guides";
import { progress, type Step } from "./steps";

export function StartLine() {
  const { chain } = useChain();
  const node = useNet().root.data;
  if (!chain || !node) return null;
  if (node.role === "transcoder") return <OfTranscoder chain={chain} node={node} />;
  return node.role === "broadcaster" ? <OfBroadcaster chain={chain} node={node} /> : null;
}

const OfTranscoder = ({ chain, node }: { chain: Chain; node: NodeInfo }) => <Line steps={useTranscoderSteps(chain, node)} />;
const OfBroadcaster = ({ chain, node }: { chain: Chain; node: NodeInfo }) => <Line steps={useBroadcasterSteps(chain, node)} />;

/** Nothing is said before all is known, nor to those whom the node tells less. */
function Line({ steps }: { steps: Step[] }) {
  const { done, of, finished } = progress(steps);
  if (finished || steps.some((s) => s.unknown)) return null;
  return (
    <div className="banner start" data-testid="start-line">
      {done} of {count(of, "step")} done. <Link to="/start">Get started</Link>
    </div>
  );
}
