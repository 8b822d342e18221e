// The way in, in the header: it says who one is.
import { useChain } from "../wallet/provider";
import { useSession } from "./session";

export function SessionButton() {
  const { session, expired, ask } = useSession();
  const { chain } = useChain();
  if (!session || !chain) return null;
  const owner = session.who === "owner";
  return (
    <button type="button" className="button account" data-testid="session" data-who={session.who} aria-haspopup="dialog" onClick={() => ask()}>
      {owner ? "Owner" : session.who === "machine" ? `Token ${session.name ?? ""}` : expired ? "Sign in again" : "Sign in"}
    </button>
  );
}
