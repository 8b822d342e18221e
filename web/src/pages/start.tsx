// Get started: the guide of this node's role; and for the others, which node's console leads on, and how to start one.
import { Link, useSearch } from "@tanstack/react-router";
import { type Address, getAddress } from "viem";
import type { NodeInfo } from "../api";
import { useNet } from "../app";
import type { Chain } from "../chain/facts";
import { Guide } from "../start/guide";
import { useBroadcasterSteps, useDelegatorSteps, useTranscoderSteps } from "../start/guides";
import { launch } from "../start/launch";
import { useSettings } from "../start/read";
import { known } from "../start/steps";
import "../start/start.css";
import { CopyButton, Loaded, Panel } from "../ui";
import { useConnection } from "../wallet/hooks";
import { useChain } from "../wallet/provider";
import { NoChain } from "../wallet/states";

const TITLES = { transcoder: "Lend a GPU", broadcaster: "Broadcast a stream", delegator: "Delegate to an operator" };

export function StartPage() {
  const { guide, operator } = useSearch({ from: "/start" });
  const { chain } = useChain();
  const { root } = useNet();
  const node = root.data;
  if (!chain) return <NoChain title="Get started" />;
  if (!node) return <Panel title="Get started"><Loaded load={root.error ? { state: "failed", message: `This node ${root.error.message}` } : { state: "loading" }} empty="">{() => null}</Loaded></Panel>;
  const isOpen = guide === "delegator" || (node.role !== "transcoder" && node.role !== "broadcaster");
  const chosen = operator ? getAddress(operator) : null;
  return (
    <>
      {node.role === "transcoder" ? <Transcode chain={chain} node={node} /> : null}
      {node.role === "broadcaster" ? <Broadcast chain={chain} node={node} /> : null}
      {isOpen ? <Delegation chain={chain} chosen={chosen} /> : <Closed />}
      {node.role !== "broadcaster" && <Elsewhere chain={chain} role="broadcaster" own={node} />}
      {node.role !== "transcoder" && <Elsewhere chain={chain} role="transcoder" own={node} />}
    </>
  );
}

const Transcode = ({ chain, node }: { chain: Chain; node: NodeInfo }) => <Guide name="transcoder" title={TITLES.transcoder} chain={chain} steps={useTranscoderSteps(chain, node)} />;
const Broadcast = ({ chain, node }: { chain: Chain; node: NodeInfo }) => <Guide name="broadcaster" title={TITLES.broadcaster} chain={chain} steps={useBroadcasterSteps(chain, node)} />;
const Delegation = ({ chain, chosen }: { chain: Chain; chosen: Address | null }) => <Guide name="delegator" title={TITLES.delegator} chain={chain} steps={useDelegatorSteps(chain, chosen)} />;

function Closed() {
  return (
    <Panel title={TITLES.delegator}>
      <div className="note">With MILL of your own you can share in an operator's fees; it needs no node. <Link to="/start" search={{ guide: "delegator" }} data-testid="open-delegator">Open the guide</Link></div>
    </Panel>
  );
}

/** A guide of another role's node: that node leads through it. */
function Elsewhere({ chain, role, own }: { chain: Chain; role: "transcoder" | "broadcaster"; own: NodeInfo }) {
  const net = useNet();
  const { address } = useConnection();
  const configured = known(useSettings())?.orchestrators[0];
  const peer = net.nodes.find((n) => n.role === "orchestrator")?.info.data?.address;
  const orchestrator = (own.role === "orchestrator" ? own.address : configured) ?? peer ?? null;
  const { file, text, command, console } = launch(role, chain.facts, orchestrator, role === "broadcaster" ? (address ?? null) : null);
  const lacks = [...(chain.facts.rpc_url ? [] : ["your endpoint of the chain"]), ...(orchestrator ? [] : ["the address of an orchestrator, of those that Stake lists"])];
  const running = net.nodes.filter((n) => n.role === role && n.url !== "");
  return (
    <Panel title={TITLES[role]}>
      <div className="launch" data-testid="launch" data-role={role}>
        <p>
          The console of a {role} leads through this.{" "}
          {running.length > 0 && <>Of those that this node knows: {running.map((n, i) => <span key={n.url}>{i > 0 && ", "}<a href={`${n.url}/start`}>{n.name}</a></span>)}. </>}
          To run one of your own in this network, write this to <code>{file}</code>
          {lacks.length > 0 && `, with ${lacks.join(" and ")}`}:
        </p>
        <pre data-testid="launch-file" tabIndex={0} aria-label={file}>{text}</pre>
        <p><CopyButton text={text} what={file} /></p>
        <p>Start it, and open its console at <a href={console}>{console}</a>:</p>
        <p><code data-testid="launch-command">{command}</code> <CopyButton text={command} what="the command" /></p>
        {role === "broadcaster" && (
          <p className="dim">
            {address ? "payer is the wallet that is connected: it locks the money, and the node's key signs tickets for it. Leave the line out, and the node pays from an account of its own." : "With a wallet connected, the file names it as the payer: its money is spent, and its key stays in the wallet."}
          </p>
        )}
      </div>
    </Panel>
  );
}
