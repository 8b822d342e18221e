// One rendition that failed, with all that is kept of it.
import { useQuery } from "@tanstack/react-query";
import { capital, formatAbsolute, formatBitrate, grouped, short } from "../format";
import { partOf } from "../later";
import type { From } from "../network";
import { Ago, CopyButton, Fact, Hex } from "../ui";
import { bars, type Evidence, type Figures, fileUrl, type Signed } from "./evidence";
import { inWords } from "./fault";
import { Pictures } from "./pictures";

const FILES = [
  { file: "source.mp4", name: "source" },
  { file: "rendition.mp4", name: "rendition" },
];

export function Opened({ shown, stream }: { shown: From<Evidence>; stream: string }) {
  const { node, item: e } = shown;
  const files = FILES.filter((f) => e.files.includes(f.file));
  return (
    <div className="evidence" data-testid="evidence" data-id={e.id} data-code={e.code}>
      <p className="note bad">{capital(inWords(e.fault))}.</p>
      <Pictures shown={shown} />
      {e.figures ? <FigureBars figures={e.figures} /> : <p className="note">Its pixels were not looked at any more: what the container says was enough.</p>}
      <dl className="facts pad">
        <Fact name="When"><span title={formatAbsolute(e.at)}><Ago at={e.at} /></span></Fact>
        <Fact name="Transcoder">{e.worker_name} <Hex value={e.worker} what="transcoder" /></Fact>
        <Fact name="Stream"><span title={e.stream}>{stream}</span></Fact>
        <Fact name="Segment"><span className="num">{grouped(e.seq)}, try {e.attempt + 1}</span></Fact>
        <Fact name="Agreed"><span className="num">{e.rendition}, {e.width}×{e.height}, {formatBitrate(e.bitrate)}</span></Fact>
        <Fact name="Code" title="Of the fault in the signed verdict"><span className="num">{e.code}</span></Fact>
        {files.length > 0 && (
          <Fact name="Files that play">
            {files.map(({ file, name }, i) => (
              <span key={file}>{i > 0 && ", "}<a href={fileUrl(node, e.id, file)} download={`${e.id}-${file}`}>{name}</a></span>
            ))}
          </Fact>
        )}
      </dl>
      <Papers shown={shown} />
    </div>
  );
}


function FigureBars({ figures }: { figures: Figures }) {
  return (
    <ul className="evidence-bars">
      {bars(figures).map((bar) => (
        <li key={bar.name} title={bar.means} data-beyond={bar.beyond}>
          <b>{bar.name}</b>
          <span className="evidence-bar" aria-hidden="true">
            <i style={{ width: `${bar.value * 100}%` }} />
            <u style={{ left: `${bar.limit * 100}%` }} />
          </span>
          <span className="num">{bar.text}</span>
        </li>
      ))}
    </ul>
  );
}

const reader = partOf("the reader of signatures", () => import("./signed"));

/** What both sides have signed, and who that was, found here from the signatures. */
function Papers({ shown: { node, item } }: { shown: From<Evidence> }) {
  const chain = node.info.data?.chain;
  const found = useQuery({
    queryKey: ["signers", item.id, chain?.id, chain?.broker],
    enabled: chain !== undefined,
    staleTime: Number.POSITIVE_INFINITY,
    queryFn: async ({ signal }) => (await reader.get(signal)).signers(item, chain!),
  });
  const by = (address: string | undefined, want: string, who: string) =>
    found.isError ? "whose signature it is cannot be told" : address === undefined ? "its signature is being checked" : address.toLowerCase() === want.toLowerCase() ? `signed by ${who}, checked here` : `signed by ${short(address)}, who is not ${who}`;
  const { assignment, receipt } = item;
  return (
    <div className="papers" data-testid="papers" data-linked={found.data?.linked}>
      <Paper name="Assignment" by={by(found.data?.assignment, assignment.body.payer, node.name)} paper={assignment} />
      <Paper name="Receipt" by={`${by(found.data?.receipt, item.worker, item.worker_name || short(item.worker))}${found.data ? (found.data.linked ? ", for this assignment" : ", for another assignment") : ""}`} paper={receipt} />
    </div>
  );
}

function Paper({ name, by, paper }: { name: string; by: string; paper: Signed<object> }) {
  const text = JSON.stringify(paper, null, 2);
  return (
    <details>
      <summary>
        <b>{name}</b> <span className="dim">{by}</span>
      </summary>
      <div className="paper">
        <CopyButton text={text} what={name.toLowerCase()} />
        <pre tabIndex={0}>{text}</pre>
      </div>
    </details>
  );
}
