// Draws a guide: its steps in order, each with how it stands, and what can be done now.
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { formatEther } from "viem";
import { useNet } from "../app";
import type { Chain } from "../chain/facts";
import { count } from "../format";
import { fundActions } from "../funds/actions";
import { useFunds } from "../funds/read";
import { ffmpeg, Publish } from "../publish";
import { delegatorActions } from "../stake/actions";
import { useRecords } from "../stake/read";
import { Chip, CopyButton, Panel } from "../ui";
import { useBalances, WalletDialog, WrongChain } from "../wallet/account";
import { ActionButton } from "../wallet/action";
import { useConnection } from "../wallet/hooks";
import type { Tone } from "../words";
import { begin } from "./begin";
import { SendCoin } from "./coin";
import { Operators } from "./operators";
import { type Offer, progress, type State, type Step } from "./steps";

const STATES: Record<State, { tone: Tone; word: string }> = {
  done: { tone: "ok", word: "done" },
  next: { tone: "warn", word: "your turn" },
  waiting: { tone: "idle", word: "waits" },
  wrong: { tone: "bad", word: "needs a look" },
};

export function Guide({ name, title, chain, steps }: { name: string; title: string; chain: Chain; steps: Step[] }) {
  const { done, of, finished } = progress(steps);
  return (
    <Panel title={title} aside={finished ? "finished" : `${done} of ${count(of, "step")} done`}>
      <ol className="steps" data-testid="guide" data-guide={name} data-done={done} data-of={of} data-finished={finished}>
        {steps.map((s) => (
          <li key={s.name} data-testid="step" data-step={s.name} data-state={s.state} aria-current={s.state === "next" ? "step" : undefined}>
            <h3>{s.title}</h3>
            <Chip tone={STATES[s.state].tone}>{STATES[s.state].word}</Chip>
            <p role={s.state === "wrong" ? "alert" : undefined}>{s.words}</p>
            {s.state !== "waiting" && s.offers && (
              <div className="offers">
                {s.offers.map((offer) => (
                  <Offered key={offer.do} chain={chain} offer={offer} />
                ))}
              </div>
            )}
          </li>
        ))}
      </ol>
    </Panel>
  );
}

function Offered({ chain, offer }: { chain: Chain; offer: Offer }) {
  switch (offer.do) {
    case "connect":
      return <Connect />;
    case "switch":
      return <WrongChain chain={chain} />;
    case "send-coin":
      return <SendCoin chain={chain} to={offer.to} amount={offer.amount} />;
    case "send-mill":
    case "lock":
    case "session-key":
      return <Fund chain={chain} offer={offer} />;
    case "delegate":
      return <Delegate chain={chain} node={offer.node} />;
    case "choose":
      return <Operators chain={chain} />;
    case "choose-again":
      return <Link to="/start" search={{ guide: "delegator" }}>Choose another</Link>;
    case "run":
      return <Run command={offer.command} />;
    case "keys":
      return <Link className="button" to="/keys">Stream keys</Link>;
    case "publish":
      return <HowToPublish />;
    case "watch":
      return <Link className="button" to="/streams/$id" params={{ id: offer.stream }} data-testid="watch">Watch</Link>;
  }
}

function Connect() {
  const [open, setOpen] = useState(false);
  return (
    <>
      <button type="button" className="button" data-testid="connect-here" onClick={() => setOpen(true)}>Connect wallet</button>
      <WalletDialog opened={open} close={() => setOpen(false)} />
    </>
  );
}

/** A form of Funds that begins with what the guide knows. */
function Fund({ chain, offer }: { chain: Chain; offer: Extract<Offer, { do: "send-mill" | "lock" | "session-key" }> }) {
  const { address } = useConnection();
  return address ? <FundOf key={address} chain={chain} offer={offer} me={address} /> : <Connect />;
}

function FundOf({ chain, offer, me }: { chain: Chain; offer: Parameters<typeof Fund>[0]["offer"]; me: `0x${string}` }) {
  const { data, error } = useFunds(chain, me);
  if (!data) return <span className="dim" role="status">{error ? "The wallet's funds could not be read. Asking again every few seconds." : "Asking the chain"}</span>;
  const act = fundActions(chain, data);
  if (offer.do === "send-mill") return <ActionButton chain={chain} action={begin(act.send, { to: offer.to, amount: formatEther(offer.amount) })} />;
  if (offer.do === "session-key") return <ActionButton chain={chain} action={begin(act.addKey, { key: offer.key })} />;
  return <ActionButton chain={chain} action={begin(act.lock(null), { payee: offer.payee, amount: formatEther(offer.amount), payer: offer.payer ?? "" })} />;
}

function Delegate({ chain, node }: { chain: Chain; node: `0x${string}` }) {
  const { address } = useConnection();
  const records = useRecords(chain, [node], address);
  const balance = useBalances(chain, address);
  const record = records.data?.find((r) => r.address === node);
  if (!record || !balance) return <span className="dim" role="status">Asking the chain</span>;
  return <ActionButton chain={chain} action={delegatorActions(chain, record, balance.mill).delegate} />;
}

function Run({ command }: { command: string }) {
  return (
    <span className="run">
      or <code data-testid="run">{command}</code> <CopyButton text={command} what="the command" />
    </span>
  );
}

/** With the keys that the node may show; of others it has hashes only, and whoever made one has it. */
function HowToPublish() {
  const { ingest } = useNet();
  if (ingest.state !== "ready") return <Publish ingest={ingest} />;
  const own = ingest.data.filter(({ node }) => node.url === "");
  if (own.some(({ item }) => item.keys.length > 0)) return <Publish ingest={{ ...ingest, data: own }} />;
  return own.map(({ item }) => (
    <dl className="facts" key={item.rtmp_url}>
      <div className="fact"><dt>OBS server</dt><dd><code>{item.rtmp_url}</code> <CopyButton text={item.rtmp_url} what="the server" /></dd></div>
      <div className="fact"><dt>OBS stream key</dt><dd>the key that you made</dd></div>
      <div className="fact"><dt>ffmpeg, with your key for KEY</dt><dd><code data-testid="ffmpeg">{ffmpeg(item.rtmp_url, "KEY")}</code></dd></div>
    </dl>
  ));
}
