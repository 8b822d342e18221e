// What stands where something is not for everybody: what it is, and how one gets in.
import { useSession } from "./session";

/** Said of a part of a page that only those may read whom the node knows. */
export function Closed({ what = "This" }: { what?: string }) {
  const { session, ask } = useSession();
  return (
    <div className="note" data-testid="closed">
      {what} is not for the public. {session?.who === "machine" ? "This token may not read it: it takes one of the role operate." : "Sign in with a wallet that owns the node, or open the console on the node's own machine."}{" "}
      {session?.who !== "machine" && (
        <button type="button" className="button" onClick={() => ask()}>
          Sign in
        </button>
      )}
    </div>
  );
}

/** Said beside what can be seen, and not done. */
export function OwnersOnly({ what }: { what: string }) {
  const { session, ask } = useSession();
  if (!session || session.can_operate) return null;
  return (
    <div className="note" data-testid="owners-only">
      {what} is for the node's owners.{" "}
      <button type="button" className="button" onClick={() => ask()}>
        Sign in
      </button>
    </div>
  );
}
