// Sends coin to a node's account. It is no call of a contract, so the node has nothing to simulate: the wallet shows what it costs.
import { useState } from "react";
import { type Address, formatEther } from "viem";
import { getWalletClient } from "wagmi/actions";
import type { Chain } from "../chain/facts";
import { explain } from "../chain/refusal";
import { Dialog } from "../dialog";
import { short } from "../format";
import { useBalances, WrongChain } from "../wallet/account";
import { check, type Field, Input } from "../wallet/fields";
import { useConnection, useWallets } from "../wallet/hooks";
import { add } from "../wallet/store";
import { eth } from "./steps";

export function SendCoin({ chain, to, amount }: { chain: Chain; to: Address; amount: bigint }) {
  const { address } = useConnection();
  const [open, setOpen] = useState(false);
  return (
    <>
      <button type="button" className="button" data-testid="action-send-coin" disabled={!address} title={address ? undefined : "Connect a wallet first"} onClick={() => setOpen(true)}>
        Send ETH
      </button>
      {address && (
        <Dialog title={`Send ETH to ${short(to)}`} opened={open} close={() => setOpen(false)}>
          <Form chain={chain} me={address} to={to} amount={amount} close={() => setOpen(false)} />
        </Dialog>
      )}
    </>
  );
}

function Form({ chain, me, to, amount, close }: { chain: Chain; me: Address; to: Address; amount: bigint; close: () => void }) {
  const config = useWallets();
  const { connector, chainId } = useConnection();
  const balance = useBalances(chain, me);
  const [text, setText] = useState(formatEther(amount));
  const [problem, setProblem] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const elsewhere = chainId !== chain.facts.id;
  const most = balance && { value: balance.coin, why: "that is all the ETH that the account has, and the gas comes on top" };
  const field: Field = { name: "amount", label: "Amount", kind: "eth", ...(most && { most }) };

  const send = async () => {
    const checked = check(field, text);
    if ("problem" in checked) return setProblem(checked.problem);
    const value = checked.value as bigint;
    setProblem(null);
    setBusy(true);
    try {
      const nonce = await chain.client.getTransactionCount({ address: me, blockTag: "pending" });
      const wallet = await getWalletClient(config, { ...(connector && { connector }) });
      const hash = await wallet.sendTransaction({ account: me, chain: chain.chain, to, value });
      add(chain.facts.id, me, { hash, what: `Send ${eth(value)} to ${short(to)}`, nonce });
      close();
    } catch (error) {
      setProblem(explain(error, Date.now() / 1000));
      setBusy(false);
    }
  };

  return (
    <form
      className="form"
      onSubmit={(e) => {
        e.preventDefault();
        if (!busy && !elsewhere) void send();
      }}
    >
      {elsewhere && <WrongChain chain={chain} />}
      <p>To {to}, the node's account. What it does not use stays there: with the node stopped, <code>millrace wallet send</code> brings it back.</p>
      <Input field={field} first text={text} problem={problem} set={setText} />
      <div className="review">
        <div className="foot">
          <span className="dim" role="status">{busy ? "The wallet asks for your consent" : "The wallet shows what the gas costs."}</span>
          <button type="submit" className="button main" data-testid="send" disabled={busy || elsewhere}>Send by the wallet</button>
        </div>
      </div>
    </form>
  );
}
