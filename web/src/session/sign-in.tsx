// The way in: the dialog behind the button in the header.
import { useContext, useState } from "react";
import type { Address } from "viem";
import type { Connector } from "wagmi";
import { Dialog } from "../dialog";
import { formatSpan, short } from "../format";
import { Fact, Hex, Now } from "../ui";
import { Wallets } from "../wallet/account";
import { useConnection } from "../wallet/hooks";
import { useChain } from "../wallet/provider";
import { useSession } from "./session";
import { signIn, whyNot } from "./sign";

export function SignIn() {
  const { session, asking, ask } = useSession();
  const close = () => ask(false);
  const { chain } = useChain();
  const owner = session?.who === "owner";
  return (
    <Dialog title={owner ? "Signed in as owner" : "Sign in to this node"} opened={asking} close={close}>
      {owner ? <In close={close} /> : chain ? <Out /> : <div className="note">This node has not said yet which chain it is on. Wait a moment.</div>}
    </Dialog>
  );
}

function In({ close }: { close: () => void }) {
  const { session, leave } = useSession();
  const now = useContext(Now);
  const [problem, setProblem] = useState<string | null>(null);
  const out = () =>
    leave().then(close, (error: unknown) => {
      setProblem(whyNot(error));
    });
  return (
    <div className="form">
      {session?.address && <Hex value={session.address} what="owner's address" />}
      <dl className="facts">
        <Fact name="Ends in"><span className="num">{session?.expires_at ? formatSpan(session.expires_at - now) : "–"}</span></Fact>
        <Fact name="May">read and change everything here</Fact>
      </dl>
      {problem && <div className="note bad" role="alert">{problem}</div>}
      <button type="button" className="button" data-testid="sign-out" data-autofocus onClick={() => void out()}>
        Sign out
      </button>
    </div>
  );
}

function Out() {
  const { session, expired } = useSession();
  const { address, connector } = useConnection();
  return (
    <div className="form">
      {expired && <div className="note warn" role="status">Your session is over: it lasts twelve hours, and no longer than the node runs.</div>}
      <p>
        {session?.who === "this_machine"
          ? "From this machine everything can be read without signing in. What changes the node is for its owners."
          : "An owner reads and changes everything here; everybody else sees what the chain says anyway."}{" "}
        The wallet signs a text: that costs nothing and sends no transaction.
      </p>
      {address && connector ? <Sign key={address} address={address} connector={connector} /> : <Wallets />}
    </div>
  );
}

function Sign({ address, connector }: { address: Address; connector: Connector }) {
  const { opened } = useSession();
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const sign = async () => {
    setBusy(true);
    setProblem(null);
    try {
      opened(await signIn(address, connector));
    } catch (error) {
      setProblem(whyNot(error));
      setBusy(false);
    }
  };
  return (
    <>
      {problem && <div className="note bad" role="alert" data-testid="sign-in-problem">{problem}</div>}
      <div className="review">
        <div className="foot">
          <span className="dim" role="status">{busy ? "The wallet asks for your signature" : ""}</span>
          <button type="button" className="button main" data-testid="sign-in" data-autofocus disabled={busy} onClick={() => void sign()}>
            Sign in as {short(address)}
          </button>
        </div>
      </div>
    </>
  );
}
