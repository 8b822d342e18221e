// One node's tickets: what they were worth against what they brought, the winners that wait, and the list, also as a file.
import { NativeSelect, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { get, sorry, type Ticket, type Tickets } from "../api";
import { csv, save } from "../csv";
import { count, formatChance, formatEth, formatWei, grouped, iso, wei } from "../format";
import { isClosed, type Load, type From, namesOf, type Seen } from "../network";
import { rowCount, rowPlace, usePage } from "../paged";
import { Closed } from "../session/closed";
import { TICKETS } from "../shapes";
import { Ago, Amount, Chip, Fact, Hex, Panel, Scroll, Skeleton } from "../ui";
import { ready, TICKET_STATES } from "../words";
import { course, judge, received, waiting } from "./luck";
import { EarningsPlot } from "./plot";

/** As many as a node gives. */
const ROWS = 500;
const POLL_MS = 4_000;

export function Ledger({ tickets, nodes }: { tickets: Load<From<Tickets>[]>; nodes: Seen[] }) {
  const earners = ready(tickets);
  const [picked, setPicked] = useState<string | null>(null);
  const richest = earners.find((t) => t.node.url === "" && t.item.received.count > 0) ?? earners.find((t) => t.item.received.count > 0) ?? earners[0];
  const shown = earners.find((t) => t.node.url === picked) ?? richest;
  const known = JSON.stringify([...namesOf(nodes)]);
  const names = useMemo(() => new Map(JSON.parse(known) as [string, string][]), [known]);
  // This page's own node comes first: until it has answered, or will not, no other takes its place.
  const asked = tickets.state === "ready" && (tickets.trouble !== null || earners.some((t) => t.node.url === ""));
  if (!shown || !asked) return null;
  return (
    <Panel title={`Tickets of ${shown.node.name}`} className="ledger">
      {earners.length > 1 && (
        <div className="filters">
          <NativeSelect label="Node" value={shown.node.url} data-testid="ledger-node" onChange={(e) => setPicked(e.currentTarget.value)} data={earners.map(({ node }) => ({ value: node.url, label: `${node.role} ${node.name}` }))} />
        </div>
      )}
      <Asked key={shown.node.url} node={shown.node} names={names} />
    </Panel>
  );
}

function Asked({ node, names }: { node: Seen; names: Map<string, string> }) {
  const path = `tickets?limit=${ROWS}`;
  const query = useQuery({ queryKey: [node.url, path], queryFn: ({ signal }) => get<Tickets>(node.url, path, TICKETS, signal), refetchInterval: POLL_MS });
  if (isClosed(query.error)) return <Closed />;
  return (
    <>
      {query.error && <div className="note warn" role="status">{query.data ? "Old figures. " : ""}{sorry(query.error)}</div>}
      {query.data ? <Book node={node} tickets={query.data} names={names} /> : !query.error && <Skeleton />}
    </>
  );
}

export function Book({ node, tickets, names }: { node: Seen; tickets: Tickets; names: Map<string, string> }) {
  const own = useMemo(() => received(tickets.recent), [tickets]);
  const drawn = useMemo(() => course(own), [own]);
  const end = judge(drawn);
  const eth = (sum: number) => formatEth(BigInt(Math.round(sum)).toString());
  return (
    <>
      {end ? (
        <>
          <dl className="facts pad" data-testid="luck" data-within={end.within}>
            <Fact name="Expected" title={`Face values times their chances, of the last ${own.length} tickets received`}><span className="num">{eth(end.expected)}</span></Fact>
            <Fact name="Luck alone gives" title="In 95 of 100 cases, as if face values were many; with few winners it is wider"><span className="num">{eth(end.low)} to {eth(end.high)}</span></Fact>
            <Fact name="Won" title="Face values of the winners among them"><span className="num">{eth(end.won)}</span></Fact>
            <Fact name="Redeemed" title="Of those, what is in a block"><span className="num">{eth(end.redeemed)}</span></Fact>
          </dl>
          <p className="pad">{end.within ? `What the last ${count(own.length, "ticket")} won is what luck explains.` : end.won < end.low ? "Less was won than luck explains in 95 of 100 cases. Once in twenty times that happens; if it stays so, look at dropped winners." : "More was won than luck explains in 95 of 100 cases: once in twenty times that happens."}</p>
          {own.length > 1 && <EarningsPlot course={drawn} label={`The last ${own.length} tickets: expected ${eth(end.expected)}, won ${eth(end.won)}, redeemed ${eth(end.redeemed)}`} />}
        </>
      ) : (
        <div className="note">{node.name} has received no ticket yet{tickets.sent.count > 0 ? `; it pays, and sent ${grouped(tickets.sent.count)}` : ""}.</div>
      )}
      {tickets.received.count > 0 && <Queue tickets={tickets} names={names} />}
      <List node={node} tickets={tickets.recent} names={names} />
    </>
  );
}

function Queue({ tickets, names }: { tickets: Tickets; names: Map<string, string> }) {
  const queue = useMemo(() => waiting(tickets.recent), [tickets]);
  const { rows, first, pager } = usePage(queue, "Waiting winners", "");
  return (
    <>
      <h3 className="sub">Winners that wait for the chain: <b className="num" data-testid="waiting">{grouped(Math.max(queue.length, tickets.received.queued))}</b></h3>
      {queue.length === 0 ? (
        <p className="pad">None among the last tickets. Winners go to the chain several at once, when the gas is worth it.</p>
      ) : (
        <Scroll label="Waiting winners">
          <table className="table cards" {...rowCount(queue.length)}>
            <thead>
              <tr aria-rowindex={1}><th>Won</th><th>Paid by</th><th className="right">Face value</th><th>State</th><th>Transaction</th></tr>
            </thead>
            <tbody>
              {rows.map((t, i) => (
                <tr key={first + i} {...rowPlace(first + i)} data-testid="waiting-row">
                  <td><Ago at={t.at} /></td>
                  <td data-label="paid by"><Who address={t.peer} names={names} /></td>
                  <td className="right" data-label="face value"><Amount wei={t.face_value_wei} /></td>
                  <td data-label="state"><State ticket={t} /></td>
                  <td data-label="transaction">{t.tx ? <Hex value={t.tx} what="transaction hash" /> : <span className="dim">not yet</span>}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
      {pager}
    </>
  );
}

const KINDS = { all: "all", in: "received", winners: "winners", out: "sent" } as const;
type Kind = keyof typeof KINDS;

const most = (field: "face_value_wei" | "expected_wei") => (a: Ticket, b: Ticket) => Number((wei(b[field]) ?? 0n) - (wei(a[field]) ?? 0n));
/** As the node gives them, the newest come first. */
const ORDERS: Record<string, { name: string; compare: (a: Ticket, b: Ticket) => number }> = {
  newest: { name: "newest", compare: () => 0 },
  face: { name: "largest face value", compare: most("face_value_wei") },
  worth: { name: "most worth", compare: most("expected_wei") },
  chance: { name: "best chance", compare: (a, b) => b.win_prob - a.win_prob },
};

/** Tickets of a kind whose peer or transaction has `text` in its name or address. */
export function pickTickets(tickets: Ticket[], kind: Kind, text: string, names: Map<string, string>): Ticket[] {
  const wanted = text.trim().toLowerCase();
  const has = (t: Ticket) => [t.peer, names.get(t.peer.toLowerCase()), t.tx, t.state].some((value) => value?.toLowerCase().includes(wanted));
  return tickets.filter((t) => (kind === "all" || (kind === "winners" ? t.winner === true : t.direction === kind)) && (wanted === "" || has(t)));
}

function List({ node, tickets, names }: { node: Seen; tickets: Ticket[]; names: Map<string, string> }) {
  const [kind, setKind] = useState<Kind>("all");
  const [text, setText] = useState("");
  const [order, setOrder] = useState("newest");
  const fits = useMemo(() => pickTickets(tickets, kind, text, names).toSorted(ORDERS[order]?.compare), [tickets, kind, text, order, names]);
  const { rows, first, pager } = usePage(fits, "Tickets", `${kind} ${order} ${text}`);
  const file = () => save(`tickets-${node.name.replaceAll(/[^\w.-]+/g, "-")}.csv`, ticketsCsv(node, fits, names));
  return (
    <>
      <div className="filters">
        <NativeSelect label="Tickets" value={kind} data-testid="ledger-kind" onChange={(e) => setKind(e.currentTarget.value as Kind)} data={Object.entries(KINDS).map(([value, label]) => ({ value, label }))} />
        <TextInput label="Find" value={text} data-testid="ledger-filter" onChange={(e) => setText(e.currentTarget.value)} />
        <NativeSelect label="Order" value={order} data-testid="ledger-order" onChange={(e) => setOrder(e.currentTarget.value)} data={Object.entries(ORDERS).map(([value, { name }]) => ({ value, label: name }))} />
        <button type="button" className="button" data-testid="csv" disabled={fits.length === 0} onClick={file}>Save {count(fits.length, "ticket")} as CSV</button>
      </div>
      {fits.length === 0 ? (
        <div className="note">No such ticket among the last {tickets.length}.</div>
      ) : (
        <Scroll label="Table of tickets">
          <table className="table cards" {...rowCount(fits.length)}>
            <thead>
              <tr aria-rowindex={1}><th>When</th><th>Way</th><th>With</th><th className="right">Face value</th><th className="right">Chance</th><th className="right">Worth</th><th>State</th><th>Transaction</th></tr>
            </thead>
            <tbody>
              {rows.map((t, i) => (
                <tr key={first + i} {...rowPlace(first + i)} data-testid="ledger-row" data-winner={t.winner ?? ""}>
                  <td><Ago at={t.at} /></td>
                  <td data-label="way">{t.direction === "in" ? "received" : "sent"}</td>
                  <td data-label="with"><Who address={t.peer} names={names} /></td>
                  <td className="right" data-label="face value"><Amount wei={t.face_value_wei} /></td>
                  <td className="right num" data-label="chance">{formatChance(t.win_prob)}</td>
                  <td className="right" data-label="worth" title={formatWei(t.expected_wei)}><Amount wei={t.expected_wei} /></td>
                  <td data-label="state"><State ticket={t} /></td>
                  <td data-label="transaction">{t.tx ? <Hex value={t.tx} what="transaction hash" /> : <span className="dim">none</span>}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
      {pager}
    </>
  );
}

/** Wei and times exactly, as programs take them. */
export function ticketsCsv(node: Seen, tickets: Ticket[], names: Map<string, string>): string {
  const head = ["time", "node", "direction", "peer", "peer_name", "face_value_wei", "win_prob", "expected_wei", "winner", "state", "transaction"];
  return csv(head, tickets.map((t) => [iso(t.at), node.name, t.direction, t.peer, names.get(t.peer.toLowerCase()) ?? null, t.face_value_wei, t.win_prob, t.expected_wei, t.winner, t.state, t.tx]));
}

function Who({ address, names }: { address: string; names: Map<string, string> }) {
  return names.get(address.toLowerCase()) ?? <Hex value={address} what="address" />;
}

function State({ ticket: t }: { ticket: Ticket }) {
  if (t.winner === null) return <span className="dim" title="A payer learns it when the ticket is redeemed">not known</span>;
  if (!t.winner) return <span className="dim">did not win</span>;
  const state = t.state ? TICKET_STATES[t.state] : undefined;
  return <Chip tone={state?.tone ?? "idle"} title={state?.means}>{t.state ?? "stored"}</Chip>;
}
