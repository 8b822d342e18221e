// One action on the chain, from the button to the wallet: what is typed is checked, the call is simulated, its cost and what it changes
// are shown, and only then does the wallet get it.
import { type ReactNode, useState } from "react";
import type { Address } from "viem";
import { getWalletClient } from "wagmi/actions";
import type { Chain } from "../chain/facts";
import { explain } from "../chain/refusal";
import { Dialog } from "../dialog";
import { formatEth, formatMill, grouped } from "../format";
import { WalletDialog, WrongChain } from "./account";
import { check, type Field, Input, type Value } from "./fields";
import { useConnection, useWallets } from "./hooks";
import { type Call, clock, needsLeave, type Ready, simulate, withLeave } from "./send";
import { add } from "./store";

/** What an action comes to, once everything typed is right. */
export interface Plan {
  call: Call;
  /** What it does, for the list of what is on its way. */
  what: string;
  /** What changes, in sentences. */
  changes: string[];
}

export interface Action {
  /** For tests: `action-{name}`. */
  name: string;
  button: string;
  title: string;
  fields: Field[];
  /** `me` sends it; `now` is the chain's clock. */
  plan: (value: <T extends Value>(name: string) => T, me: Address, now: number) => Plan | { problem: string };
}

type Phase = { at: "form" } | { at: "busy"; doing: string } | { at: "review"; plan: Plan; ready: Ready };

export function ActionButton({ chain, action, disabled }: { chain: Chain; action: Action; disabled?: string | null }) {
  const { address } = useConnection();
  const [open, setOpen] = useState(false);
  return (
    <>
      <button type="button" className="button" data-testid={`action-${action.name}`} disabled={!!disabled} title={disabled ?? undefined} onClick={() => setOpen(true)}>
        {action.button}
      </button>
      {address ? (
        <Dialog title={action.title} opened={open} close={() => setOpen(false)}>
          <Steps key={address} chain={chain} action={action} me={address} close={() => setOpen(false)} />
        </Dialog>
      ) : (
        <WalletDialog opened={open} close={() => setOpen(false)} />
      )}
    </>
  );
}

function Steps({ chain, action, me, close }: { chain: Chain; action: Action; me: Address; close: () => void }) {
  const config = useWallets();
  const { connector, chainId } = useConnection();
  const [texts, setTexts] = useState(() => Object.fromEntries(action.fields.map((f) => [f.name, f.start ?? ""])));
  const [wrong, setWrong] = useState<Record<string, string>>({});
  const [problem, setProblem] = useState<string | null>(null);
  const [phase, setPhase] = useState<Phase>({ at: "form" });
  const elsewhere = chainId !== chain.facts.id;

  const fail = async (error: unknown) => {
    setProblem(explain(error, await clock(chain).catch(() => Date.now() / 1000)));
    setPhase({ at: "form" });
  };
  const wallet = () => getWalletClient(config, { ...(connector && { connector }) });

  const review = async () => {
    setProblem(null);
    const values: Record<string, Value> = {};
    const found: Record<string, string> = {};
    for (const field of action.fields) {
      const checked = check(field, texts[field.name] ?? "");
      if ("problem" in checked) found[field.name] = checked.problem;
      else values[field.name] = checked.value;
    }
    setWrong(found);
    if (Object.keys(found).length > 0) return;
    try {
      setPhase({ at: "busy", doing: "Asking the chain" });
      const plan = action.plan(<T extends Value>(name: string) => values[name] as T, me, await clock(chain));
      if ("problem" in plan) {
        setProblem(plan.problem);
        setPhase({ at: "form" });
        return;
      }
      let { call } = plan;
      if (await needsLeave(chain, me, call)) {
        setPhase({ at: "busy", doing: `The wallet asks for a signature: it lets the registry take ${formatMill(call.takes ?? 0n)}, and costs nothing` });
        call = await withLeave(chain, await wallet(), me, call);
        setPhase({ at: "busy", doing: "Simulating" });
      }
      setPhase({ at: "review", plan: { ...plan, call }, ready: await simulate(chain, me, call) });
    } catch (error) {
      await fail(error);
    }
  };

  const send = async (plan: Plan) => {
    try {
      setPhase({ at: "busy", doing: "Simulating once more" });
      // The state may have moved while it was read.
      const { to, data, value, gas } = await simulate(chain, me, plan.call);
      setPhase({ at: "busy", doing: "The wallet asks for your consent" });
      const nonce = await chain.client.getTransactionCount({ address: me, blockTag: "pending" });
      const hash = await (await wallet()).sendTransaction({ account: me, chain: chain.chain, to, data, value, gas });
      // The wallet may number it otherwise; the chain says, once it knows the transaction.
      add(chain.facts.id, me, { hash, what: plan.what, nonce });
      close();
    } catch (error) {
      await fail(error);
    }
  };

  const trouble: ReactNode = problem && <div className="note bad" role="alert" data-testid="problem">{problem}</div>;
  if (phase.at === "review") return <Review phase={phase} trouble={trouble} back={() => setPhase({ at: "form" })} send={() => void send(phase.plan)} />;
  const busy = phase.at === "busy";
  return (
    <form
      className="form"
      onSubmit={(e) => {
        e.preventDefault();
        if (!busy && !elsewhere) void review();
      }}
    >
      {elsewhere && <WrongChain chain={chain} />}
      {action.fields.map((field, i) => (
        <Input key={field.name} field={field} first={i === 0} text={texts[field.name] ?? ""} problem={wrong[field.name] ?? null} set={(text) => setTexts((before) => ({ ...before, [field.name]: text }))} />
      ))}
      {trouble}
      <div className="review">
        <div className="foot">
          <span className="dim" role="status">{busy ? phase.doing : "Nothing is sent before you have seen what it does and costs."}</span>
          <button type="submit" className="button main" data-testid="review" data-autofocus={action.fields.length === 0 || undefined} disabled={busy || elsewhere}>Review</button>
        </div>
      </div>
    </form>
  );
}

function Review({ phase: { plan, ready }, trouble, back, send }: { phase: Extract<Phase, { at: "review" }>; trouble: ReactNode; back: () => void; send: () => void }) {
  return (
    <div className="review" data-testid="reviewed">
      <ul>
        {plan.changes.map((change) => (
          <li key={change}>{change}</li>
        ))}
      </ul>
      <p className="dim">
        It was simulated and would pass. Gas {grouped(ready.gas)} at most, about <b className="num" data-testid="cost" data-wei={ready.cost.toString()}>{formatEth(ready.cost.toString())}</b> now
        {ready.value > 0n && <>, besides the {formatEth(ready.value.toString())}</>}.
      </p>
      {trouble}
      <div className="foot">
        <button type="button" className="button" onClick={back}>Back</button>
        <button type="button" className="button main" data-testid="send" data-autofocus onClick={send}>Send by the wallet</button>
      </div>
    </div>
  );
}
