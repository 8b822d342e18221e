// Segments: the last attempts, newest first, with the verification's result and who was paid what.
import type { Segment, Stream, Transcoder } from "./api";
import { formatMs, grouped, short, wei } from "./format";
import type { From, Load, Seen } from "./network";
import { Ago, Amount, Chip, Loaded, Panel, Scroll } from "./ui";
import { ready, verdict } from "./words";

interface Props {
  segments: Load<From<Segment>[]>;
  streams: Load<From<Stream>[]>;
  transcoders: Load<From<Transcoder>[]>;
  nodes: Seen[];
}

export function Segments({ segments, streams, transcoders, nodes }: Props) {
  const names = new Map<string, string>();
  for (const { item } of ready(streams)) names.set(item.id.toLowerCase(), item.name);
  for (const { item } of ready(transcoders)) names.set(item.address.toLowerCase(), item.name);
  for (const n of nodes) if (n.info.data) names.set(n.info.data.address.toLowerCase(), n.info.data.name);
  const name = (id: string) => names.get(id.toLowerCase()) ?? short(id);

  const told = ready(segments).map((s) => s.item);
  const passed = told.filter((s) => s.result === "pass").length;
  return (
    <Panel title="Segments" className="segments" aside={told.length > 0 ? `${passed} of the last ${told.length} passed` : null}>
      <Loaded load={segments} empty="No segment yet. They appear here two seconds after a stream goes live.">
        {(items) => (
          <Scroll label="Last segments">
            <table className="table stack">
              <thead>
                <tr>
                  <th>When</th>
                  <th>Stream</th>
                  <th className="right">Seq</th>
                  <th className="right wide" title="Which try at this segment">Try</th>
                  <th>Worker</th>
                  <th>Verification</th>
                  <th className="right">Latency</th>
                  <th className="right">Paid</th>
                </tr>
              </thead>
              <tbody>
                {items.map(({ node, item }) => (
                  <Row key={`${node.url} ${item.stream} ${item.seq} ${item.attempt} ${item.worker} ${item.at}`} segment={item} name={name} />
                ))}
              </tbody>
            </table>
          </Scroll>
        )}
      </Loaded>
    </Panel>
  );
}

function Row({ segment: s, name }: { segment: Segment; name: (id: string) => string }) {
  const { tone, word, why } = verdict(s);
  const paid = (wei(s.paid_wei) ?? 0n) > 0n;
  return (
    <tr data-testid="segment-row" data-seq={s.seq} data-attempt={s.attempt} data-result={s.result} data-worker={s.worker} data-paid-wei={s.paid_wei ?? "0"}>
      <td className="when"><Ago at={s.at} /></td>
      <td className="cut stream-of" title={s.stream}>{name(s.stream)}</td>
      <td className="right num seq">{grouped(s.seq)}</td>
      <td className="right num wide">{s.attempt + 1}</td>
      <td className="cut worker" title={s.worker}>{s.worker_name || name(s.worker)}</td>
      <td className="verdict" title={why ?? undefined}>
        <Chip tone={tone}>{word}</Chip>
        {why && <span className="why">{why.replaceAll(/0x[0-9a-f]{40}\b/gi, name)}</span>}
      </td>
      <td className="right num took">{formatMs(s.latency_ms)}</td>
      <td className="right paid" title={paid && s.payer ? `by ${name(s.payer)}` : undefined}>
        {paid ? (
          <>
            <Amount wei={s.paid_wei} /> <span className="dim wide">to {s.payee ? name(s.payee) : "its worker"}</span>
          </>
        ) : (
          <span className="dim">not paid</span>
        )}
      </td>
    </tr>
  );
}
