// The account in the header: which wallet is connected, what it has, and the dialogs to connect, to change the chain and to leave.
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import type { Address } from "viem";
import type { Connector } from "wagmi";
import type { Chain } from "../chain/facts";
import { explain } from "../chain/refusal";
import { Dialog } from "../dialog";
import { formatEth, formatMill, short } from "../format";
import { Fact, Hex } from "../ui";
import { useConnect, useConnection, useConnectors, useDisconnect } from "./hooks";
import { useChain } from "./provider";
import { switchTo } from "./switch";

/** A balance changes with blocks. */
const POLL_MS = 5_000;

export function AccountButton() {
  const { chain } = useChain();
  return chain && <Known chain={chain} />;
}

function Known({ chain }: { chain: Chain }) {
  const { address, connector, chainId, status } = useConnection();
  const [choosing, setChoosing] = useState(false);
  const [open, setOpen] = useState(false);
  const balance = useBalances(chain, address);
  if (!address || !connector) {
    return (
      <>
        <button type="button" className="button account" data-testid="connect" disabled={status === "reconnecting"} onClick={() => setChoosing(true)}>
          {status === "reconnecting" ? "Connecting" : "Connect wallet"}
        </button>
        <WalletDialog opened={choosing} close={() => setChoosing(false)} />
      </>
    );
  }
  const elsewhere = chainId !== chain.facts.id;
  return (
    <>
      <button type="button" className="button account" data-testid="account" data-address={address} data-chain={chainId} aria-haspopup="dialog" onClick={() => setOpen(true)}>
        {elsewhere ? <b className="bad">Wrong chain</b> : balance && <span>{formatEth(balance.coin.toString())}</span>} <span className="dim address">{short(address)}</span>
      </button>
      <Dialog title={`Account in ${connector.name}`} opened={open} close={() => setOpen(false)}>
        <div className="form">
          <Hex value={address} what="your address" />
          {elsewhere && <WrongChain chain={chain} />}
          <dl className="facts">
            <Fact name="ETH"><span className="num">{balance ? formatEth(balance.coin.toString()) : "–"}</span></Fact>
            <Fact name="MILL"><span className="num">{balance ? formatMill(balance.mill) : "–"}</span></Fact>
            <Fact name="Chain"><span className="num">{chain.facts.name}, {chain.facts.id}</span></Fact>
          </dl>
          <Leave close={() => setOpen(false)} />
        </div>
      </Dialog>
    </>
  );
}

function Leave({ close }: { close: () => void }) {
  const leave = useDisconnect();
  return (
    <button type="button" className="button" data-testid="disconnect" onClick={() => leave.mutate(undefined, { onSettled: close })}>
      Disconnect
    </button>
  );
}

/** Coin and tokens of an account; undefined until they came. */
export function useBalances(chain: Chain, address: Address | undefined) {
  const { data } = useQuery({
    queryKey: ["chain", "balances", address],
    enabled: address !== undefined,
    refetchInterval: POLL_MS,
    queryFn: async () => {
      const [coin, mill] = await Promise.all([chain.client.getBalance({ address: address! }), chain.client.readContract({ ...chain.token, functionName: "balanceOf", args: [address!] })]);
      return { coin, mill };
    },
  });
  return data;
}

/** Says that the wallet is on another chain, and offers to change that. */
export function WrongChain({ chain }: { chain: Chain }) {
  const { connector, chainId } = useConnection();
  const [problem, setProblem] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const change = async () => {
    if (!connector) return;
    setBusy(true);
    setProblem(null);
    await switchTo(chain.facts, connector).catch((error) => setProblem(explain(error, Date.now() / 1000)));
    setBusy(false);
  };
  return (
    <div className="note warn" role="alert" data-testid="wrong-chain">
      The wallet is on chain {chainId}, and this network is on chain {chain.facts.id} ({chain.facts.name}).{" "}
      <button type="button" className="button" disabled={busy} onClick={() => void change()}>
        {busy ? "Asking the wallet" : "Change the wallet's chain"}
      </button>
      {problem && <div>{problem}</div>}
    </div>
  );
}

export function WalletDialog({ opened, close }: { opened: boolean; close: () => void }) {
  return (
    <Dialog title="Connect a wallet" opened={opened} close={close}>
      <Wallets connected={close} />
    </Dialog>
  );
}

/** The wallets that have announced themselves to this page. */
export function Wallets({ connected }: { connected?: () => void }) {
  const connectors = useConnectors();
  const connect = useConnect();
  const pick = (connector: Connector) => connect.mutate({ connector }, { onSuccess: () => connected?.() });
  return (
    <div className="wallets">
      {connectors.map((connector) => (
        <button key={connector.uid} type="button" className="wallet" data-testid="wallet" disabled={connect.isPending} onClick={() => pick(connector)}>
          {connector.icon?.startsWith("data:image/") && <img src={connector.icon.trim()} alt="" />}
          {connector.name}
        </button>
      ))}
      {connectors.length === 0 && (
        <p className="dim" data-testid="no-wallet">
          No wallet has announced itself to this page. Install a browser wallet that follows EIP-6963, such as MetaMask, Rabby or Frame, and load the page anew. Everything here can also be done on the command line, by <code>millrace stake</code>,{" "}
          <code>millrace wallet</code> and <code>millrace key</code>.
        </p>
      )}
      {connect.error && <div className="note bad" role="alert">{explain(connect.error, Date.now() / 1000)}</div>}
    </div>
  );
}
