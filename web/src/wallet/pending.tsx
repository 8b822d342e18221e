// What is on its way: each transaction that this browser sent is followed until it is final, and its fate said in words.
import { useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";
import type { Address } from "viem";
import type { Chain } from "../chain/facts";
import { explain } from "../chain/refusal";
import { count } from "../format";
import { Ago, Chip, Hex } from "../ui";
import type { Tone } from "../words";
import { useConnection } from "./hooks";
import { useChain } from "./provider";
import { clock } from "./send";
import { change, forget, isOver, type Sent, type State, useSent } from "./store";

/** Blocks come every second to every dozen. */
const POLL_MS = 2_000;
/** Unknown to the node's endpoint for so long, it counts as dropped: a transaction that travels is known everywhere within seconds. */
const DROPPED_MS = 600_000;

const WORDS: Record<State, { tone: Tone; word: string }> = {
  waiting: { tone: "idle", word: "waits for a block" },
  mined: { tone: "ok", word: "in a block" },
  final: { tone: "ok", word: "final" },
  reverted: { tone: "bad", word: "refused by the contract" },
  replaced: { tone: "warn", word: "replaced" },
  dropped: { tone: "warn", word: "dropped" },
};

export function PendingBar() {
  const { chain } = useChain();
  return chain && <Bar chain={chain} />;
}

function Bar({ chain }: { chain: Chain }) {
  const { address } = useConnection();
  const sent = useSent(chain.facts.id, address);
  useWatch(chain, address, sent);
  if (!address || sent.length === 0) return null;
  const open = sent.filter((s) => !isOver(s)).length;
  return (
    <section className="panel pending" aria-label="Transactions that this browser sent" data-testid="pending">
      <div className="dim" role="status">{open > 0 ? `${count(open, "transaction")} on the way` : "Nothing is on the way any more"}</div>
      <ul>
        {sent.map((s) => (
          <li key={s.hash} data-testid="sent" data-state={s.state} data-hash={s.hash}>
            <Chip tone={WORDS[s.state].tone}>{s.state === "mined" && s.why ? s.why : WORDS[s.state].word}</Chip>
            <span>{s.what}</span>
            <Hex value={s.hash} what="transaction hash" />
            <span className="dim"><Ago at={s.at} /></span>
            {s.state !== "mined" && s.why && <span className={s.state === "reverted" ? "bad" : "dim"}>{s.why}</span>}
            {(isOver(s) || s.state === "dropped") && (
              <button type="button" className="button" aria-label={`Remove from the list: ${s.what}`} onClick={() => forget(chain.facts.id, address, s.hash)}>
                Remove
              </button>
            )}
          </li>
        ))}
      </ul>
    </section>
  );
}

/** Asks for each until it is over. Figures that it moves are read anew when it is mined. */
function useWatch(chain: Chain, account: Address | undefined, sent: Sent[]): void {
  const queries = useQueryClient();
  const open = sent.filter((s) => !isOver(s));
  const key = open.map((s) => s.hash).join(" ");
  useEffect(() => {
    if (!account || key === "") return;
    let gone = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const states = new Map(open.map((s) => [s.hash, s]));
    const look = async () => {
      for (const s of states.values()) {
        // The node may be away: the next beat asks again.
        const next = await fate(chain, account, s).catch(() => null);
        if (gone) return;
        if (!next || (next.state === s.state && next.why === s.why && next.nonce === s.nonce)) continue;
        states.set(s.hash, { ...s, ...next });
        change(chain.facts.id, account, s.hash, next);
        if (next.state !== s.state) void queries.invalidateQueries({ queryKey: ["chain"] });
      }
      timer = setTimeout(look, POLL_MS);
    };
    void look();
    return () => {
      gone = true;
      clearTimeout(timer);
    };
  }, [chain, account, key, queries]);
}

type Fate = Pick<Sent, "state" | "why" | "block" | "nonce">;

/** What the chain says of a transaction now. */
export async function fate(chain: Chain, account: Address, sent: Sent): Promise<Fate> {
  const { client, facts } = chain;
  const receipt = await client.getTransactionReceipt({ hash: sent.hash }).catch(orNull("TransactionReceiptNotFoundError"));
  if (receipt) {
    const block = Number(receipt.blockNumber);
    if (receipt.status === "reverted") return { state: "reverted", block, nonce: sent.nonce, why: await reason(chain, account, sent) };
    const after = Number(await client.getBlockNumber({ cacheTime: 0 })) - block;
    if (after >= facts.confirmations) return { state: "final", block, nonce: sent.nonce, why: null };
    return { state: "mined", block, nonce: sent.nonce, why: `in block ${block}, final after ${count(facts.confirmations - after, "more block")}` };
  }
  const known = await client.getTransaction({ hash: sent.hash }).catch(orNull("TransactionNotFoundError"));
  const nonce = known?.nonce ?? sent.nonce;
  if (known) return { state: "waiting", block: null, nonce, why: null };
  if (nonce !== null && (await client.getTransactionCount({ address: account, blockTag: "latest" })) > nonce) {
    // The receipt may have come in between.
    const late = await client.getTransactionReceipt({ hash: sent.hash }).catch(orNull("TransactionReceiptNotFoundError"));
    if (late) return { state: "waiting", block: null, nonce, why: null };
    return { state: "replaced", block: null, nonce, why: "Another transaction of this account took its place: it was sped up or cancelled in the wallet." };
  }
  if (Date.now() - sent.at > DROPPED_MS) return { state: "dropped", block: null, nonce, why: "No node knows it any more: it did nothing. Send it again, or look into the wallet." };
  return { state: "waiting", block: null, nonce, why: "not seen by this node's endpoint yet" };
}

function orNull(name: string): (error: Error) => null {
  return (error) => {
    if (error.name === name) return null;
    throw error;
  };
}

/** Why it would be refused now: it passed its simulation, so the state had changed by the time of its block. */
async function reason(chain: Chain, account: Address, sent: Sent): Promise<string> {
  try {
    const tx = await chain.client.getTransaction({ hash: sent.hash });
    await chain.client.call({ account, to: tx.to, data: tx.input, value: tx.value });
    return "It was refused in its block, and only its gas was paid; the same now would pass.";
  } catch (error) {
    return `Only its gas was paid. ${explain(error, await clock(chain).catch(() => Date.now() / 1000))}`;
  }
}
