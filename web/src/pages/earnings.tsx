// What tickets have earned each node, and one node's tickets against luck.
import { useNet } from "../app";
import { Ledger } from "../earnings/ledger";
import { Money } from "../money";

export function EarningsPage() {
  const net = useNet();
  return (
    <>
      <Money tickets={net.tickets} nodes={net.nodes} />
      <Ledger tickets={net.tickets} nodes={net.nodes} />
    </>
  );
}
