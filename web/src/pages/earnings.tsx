// What tickets have earned each node, and the winners on their way to the chain.
import { useNet } from "../app";
import { Money } from "../money";

export function EarningsPage() {
  const net = useNet();
  return <Money tickets={net.tickets} nodes={net.nodes} />;
}
