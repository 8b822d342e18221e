// One line on Overview until the guide of this node's role is finished.
import { Link } from "@tanstack/react-router";
import { useEffect, useState } from "react";
import type { NodeInfo } from "../api";
import { useNet } from "../app";
import type { Chain } from "../chain/facts";
import { count } from "../format";
import { useSession } from "../session/session";
import { useChain } from "../wallet/provider";
import { useBroadcasterSteps, useTranscoderSteps } from "./guides";
import { progress, type Step } from "./steps";

export function StartLine() {
  const { chain } = useChain();
  const node = useNet().root.data;
  const { session } = useSession();
  const [over, setOver] = useState(false);
  // Once it is finished, nothing more is asked for it; and a stranger's questions would all be refused.
  if (!chain || !node || over || !session?.can_read) return null;
  const props = { chain, node, end: () => setOver(true) };
  if (node.role === "transcoder") return <OfTranscoder {...props} />;
  return node.role === "broadcaster" ? <OfBroadcaster {...props} /> : null;
}

interface Props {
  chain: Chain;
  node: NodeInfo;
  end: () => void;
}

const OfTranscoder = ({ chain, node, end }: Props) => <Line steps={useTranscoderSteps(chain, node)} end={end} />;
const OfBroadcaster = ({ chain, node, end }: Props) => <Line steps={useBroadcasterSteps(chain, node)} end={end} />;

/** Nothing is said before all is known, nor to those whom the node tells less. */
function Line({ steps, end }: { steps: Step[]; end: () => void }) {
  const { done, of, finished } = progress(steps);
  useEffect(() => {
    if (finished) end();
  }, [finished, end]);
  if (finished || steps.some((s) => s.unknown)) return null;
  return (
    <div className="banner start" data-testid="start-line">
      {done} of {count(of, "step")} done. <Link to="/start">Get started</Link>
    </div>
  );
}
