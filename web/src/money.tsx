// Money: what tickets are worth against what was redeemed, per node, and the last winners with their transactions.
import type { Ticket, Tickets } from "./api";
import { formatChance, formatEth, formatWei, grouped, sumWei } from "./format";
import { type From, type Load, namesOf, type Seen } from "./network";
import { Ago, Amount, Chip, Fact, Hex, Loaded, Panel, Scroll } from "./ui";
import { ready, TICKET_STATES } from "./words";

/** Winners shown: those of several nodes are joined, newest first. */
const SHOWN = 30;

/** `brief` leaves the single winners out. */
export function Money({ tickets, nodes, brief = false }: { tickets: Load<From<Tickets>[]>; nodes: Seen[]; brief?: boolean }) {
  const all = ready(tickets);
  const redeemed = sumWei(all.map((t) => t.item.received.redeemed_wei));
  const names = namesOf(nodes);
  return (
    <Panel
      title="Earnings"
      className="money"
      aside={
        all.length > 0 && (
          <span title={formatWei(redeemed)}>
            redeemed <b className="num total" data-testid="redeemed-total" data-wei={redeemed}>{formatEth(redeemed)}</b>
          </span>
        )
      }
    >
      <Loaded load={tickets} empty="No ticket yet. Workers are paid with one per verified segment.">
        {(items) => (
          <>
            <Balance items={items} />
            {!brief && <Winners items={items} names={names} />}
          </>
        )}
      </Loaded>
    </Panel>
  );
}

function Balance({ items }: { items: From<Tickets>[] }) {
  return (
    <Scroll label="Tickets per node">
      <table className="table stack books">
        <thead>
          <tr>
            <th>Node</th>
            <th className="right" title="Expected value of the tickets this node sent">Sent</th>
            <th className="right" title="Expected value of the tickets this node accepted">Received</th>
            <th className="right" title="Face values of its winners that the chain has paid">Redeemed</th>
            <th className="right">Winners</th>
          </tr>
        </thead>
        <tbody>
          {items.map(({ node, item: { sent, received } }) => (
            <tr key={node.url} data-testid="money-row" data-role={node.role} data-redeemed-wei={received.redeemed_wei} data-expected-wei={received.expected_wei}>
              <td className="cut name">{node.name}</td>
              <td className="right" data-label="sent">{sent.count === 0 ? <span className="dim">none</span> : <Side wei={sent.expected_wei} n={sent.count} />}</td>
              <td className="right" data-label="received">{received.count === 0 ? <span className="dim">none</span> : <Side wei={received.expected_wei} n={received.count} />}</td>
              <td className="right" data-label="redeemed">{received.count === 0 ? <span className="dim">none</span> : <Amount wei={received.redeemed_wei} />}</td>
              <td className="right wins" data-label="winners">
                {grouped(received.winners)}
                {received.queued > 0 && <>, <span className="dim">{grouped(received.queued)} queued</span></>}
                {received.dropped > 0 && <>, <span className="bad">{grouped(received.dropped)} dropped</span></>}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

function Side({ wei, n }: { wei: string; n: number }) {
  return (
    <>
      <Amount wei={wei} /> <span className="dim wide">in {grouped(n)}</span>
    </>
  );
}

function Winners({ items, names }: { items: From<Tickets>[]; names: Map<string, string> }) {
  const winners = items
    .flatMap(({ node, item }) => item.recent.filter((t) => t.direction === "in" && t.winner).map((ticket) => ({ node, ticket })))
    .toSorted((a, b) => b.ticket.at - a.ticket.at);
  if (winners.length === 0) return <div className="note">No winner among the last tickets. Most tickets do not win; a winner pays its whole face value.</div>;
  const shown = winners.slice(0, SHOWN);
  return (
    <>
      <dl className="facts states" aria-label={`States of the last ${winners.length} winners`}>
        {Object.entries(TICKET_STATES).map(([state, { means }]) => {
          const n = winners.filter((w) => w.ticket.state === state).length;
          return state === "dropped" && n === 0 ? null : (
            <Fact key={state} name={state} title={means}>
              <span className="num" data-testid={`winners-${state}`}>{n}</span>
            </Fact>
          );
        })}
      </dl>
      <Scroll label="Recent winners">
        <table className="table stack">
          <thead>
            <tr>
              <th>Won</th>
              <th>Winner</th>
              <th>Paid by</th>
              <th className="right">Face value</th>
              <th>State</th>
              <th>Transaction</th>
            </tr>
          </thead>
          <tbody>
            {shown.map(({ node, ticket }, i) => (
              <Row key={`${node.url} ${ticket.at} ${ticket.peer} ${i}`} node={node} ticket={ticket} names={names} />
            ))}
          </tbody>
        </table>
      </Scroll>
    </>
  );
}

function Row({ node, ticket: t, names }: { node: Seen; ticket: Ticket; names: Map<string, string> }) {
  const state = t.state ? TICKET_STATES[t.state] : undefined;
  return (
    <tr data-testid="ticket-row" data-state={t.state ?? ""} data-tx={t.tx ?? ""} data-face-value-wei={t.face_value_wei}>
      <td className="when"><Ago at={t.at} /></td>
      <td className="cut winner">{node.name}</td>
      <td className="cut payer" title={t.peer}>{names.get(t.peer.toLowerCase()) ?? <Hex value={t.peer} what="payer's address" />}</td>
      <td className="right face" title={`Chance to win ${formatChance(t.win_prob)}, worth ${formatEth(t.expected_wei)} on average`}>
        <Amount wei={t.face_value_wei} />
      </td>
      <td className="status">
        <Chip tone={state?.tone ?? "idle"} title={state?.means}>{t.state ?? "stored"}</Chip>
      </td>
      <td className="tx">{t.tx ? <Hex value={t.tx} what="transaction hash" /> : <span className="dim">not yet</span>}</td>
    </tr>
  );
}
