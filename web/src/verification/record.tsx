// How each transcoder has done, and whether the samples of its verifier can be checked by others.
import { useContext } from "react";
import type { Transcoder } from "../api";
import { formatAbsolute, formatSpan, grouped } from "../format";
import type { From, Load } from "../network";
import { Chip, Loaded, Now, Scroll } from "../ui";
import { ready, TRANSCODER_TONE } from "../words";
import { type Sampling, secrets } from "./evidence";
import { inWords } from "./fault";

export function Record({ transcoders }: { transcoders: Load<From<Transcoder>[]> }) {
  return (
    <Loaded load={transcoders} empty="No transcoder has joined yet.">
      {(items) => (
        <Scroll label="The transcoders' record">
          <table className="table stack record">
            <thead>
              <tr>
                <th>Transcoder</th>
                <th>State</th>
                <th className="right">Segments</th>
                <th className="right" title="Failed, came late, or were refused by the transcoder">Not delivered</th>
                <th>Suspended</th>
              </tr>
            </thead>
            <tbody>
              {items.map(({ node, item }) => (
                <Row key={`${node.url} ${item.address}`} transcoder={item} />
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </Loaded>
  );
}

function Row({ transcoder: t }: { transcoder: Transcoder }) {
  const now = useContext(Now);
  return (
    <tr data-testid="record-row" data-name={t.name} data-failed={t.segments_failed}>
      <td className="cut worker" title={t.address}>{t.name}</td>
      <td className="state"><Chip tone={TRANSCODER_TONE[t.state] ?? "idle"}>{t.state}</Chip></td>
      <td className="right num checked" data-label="segments">{grouped(t.segments_ok + t.segments_failed)}</td>
      <td className={`right num failed ${t.segments_failed > 0 ? "bad" : "dim"}`} data-label="not delivered">{grouped(t.segments_failed)}</td>
      <td className="why">
        {t.suspended && (
          <>
            {inWords(t.suspended.reason)}; {t.suspended.until === null ? "it ends by itself" : t.suspended.until > now ? <span title={formatAbsolute(t.suspended.until)}>for {formatSpan(t.suspended.until - now)} more</span> : "its time is over"}
          </>
        )}
      </td>
    </tr>
  );
}

export function SamplingLines({ sampling }: { sampling: Load<From<Sampling>[]> }) {
  const now = useContext(Now);
  return ready(sampling).map(({ node, item }) => {
    const { text, bad } = secrets(node.name, item, now);
    return <p key={node.url} className={`note ${bad ? "warn" : ""}`} data-testid="sampling">{text}</p>;
  });
}
