// A transcoder's devices: what each can do and does, how busy it is, and how its process has lived.
import type { DeviceProcess, OwnDevice, OwnDevices } from "../api";
import { count, grouped } from "../format";
import type { Network, Seen } from "../network";
import { Chip, Fact, Loaded, Meter } from "../ui";
import { ready } from "../words";
import { loadLine, memory, processes, useDevices } from "./devices";
import { Trail } from "./trail";

export function DeviceCards({ net, node }: { net: Network; node: Seen }) {
  return (
    <Loaded load={useDevices(net, [node])} empty="It has no device that can encode.">
      {(items) => items.map(({ item }) => <Cards key={node.url} told={item} />)}
    </Loaded>
  );
}

function Cards({ told }: { told: OwnDevices }) {
  const lives = processes(told);
  return (
    <>
      {told.draining && <div className="note warn">It ends, and takes no new segments.</div>}
      {told.devices.length === 0 && <div className="note">It has no device that can encode.</div>}
      {told.devices.map((device, i) => (
        // Two cards of one kind have one name: their order is what tells them apart.
        <Card key={i} device={device} process={lives[i] ?? null} />
      ))}
    </>
  );
}

function Card({ device: d, process }: { device: OwnDevice; process: DeviceProcess | null }) {
  const { load } = d;
  const stored = load && memory(load);
  const share = d.megapixels_per_second > 0 ? (d.in_use / d.megapixels_per_second) * 100 : null;
  const measured = load?.utilisation != null;
  return (
    <article className="node device-card" data-testid="device" data-name={d.name} data-kind={d.kind}>
      <header className="node-head">
        <strong>{d.name}</strong>
        <span className="dim">{d.detail.toLowerCase().startsWith(d.kind.toLowerCase()) ? d.detail : `${d.kind}, ${d.detail}`}</span>
        {d.megapixels_per_second === 0 && <Chip tone="warn">its process is not ready</Chip>}
        {load?.throttled && <Chip tone="warn">slowed: {load.throttled}</Chip>}
      </header>
      <div className="device-use">
        <Meter value={d.in_use} of={d.megapixels_per_second} label={`${d.name}: megapixels per second in use`} />
        <span className="num">{grouped(d.in_use)} of {grouped(d.megapixels_per_second)} Mpx/s in use</span>
      </div>
      <dl className="facts">
        <Fact name="Streams" title="That it serves now"><span className="num">{d.sessions}</span></Fact>
        {measured && <Fact name="Busy" title={d.kind === "x264" ? "What its process takes of the machine's processor" : "As its driver says"}><span className="num">{Math.round(load.utilisation!)} %</span></Fact>}
        {stored && <Fact name="Memory"><span className="num">{stored}</span></Fact>}
        {load?.temperature_c != null && <Fact name="Temperature"><span className="num">{Math.round(load.temperature_c)} °C</span></Fact>}
        {load?.encoder_sessions != null && <Fact name="Encoder sessions" title="Of all programs on this machine"><span className="num">{grouped(load.encoder_sessions)}</span></Fact>}
        {process && <Fact name="Process"><span className="num">{process.pid == null ? "between two lives" : process.pid}</span></Fact>}
        {process && <Fact name="Restarts"><span className={`num ${process.restarts > 0 ? "bad" : ""}`}>{grouped(process.restarts)}</span></Fact>}
      </dl>
      {process?.last_end && <p className="dim">Its process last ended: {process.last_end}.</p>}
      <Trail key={measured ? "busy" : "capacity"} name={measured ? "Busy" : "Capacity in use"} value={measured ? load.utilisation : share} />
    </article>
  );
}

/** In a transcoder's row: what it says of its devices beyond what its orchestrator knows. Nothing where there is nothing to say. */
export function DeviceShort({ net, node }: { net: Network; node: Seen }) {
  const told = ready(useDevices(net, [node]))[0]?.item;
  if (!told) return null;
  const lives = processes(told);
  const lines = told.devices.flatMap((d, i) => {
    const restarts = lives[i]?.restarts ?? 0;
    const said = [loadLine(d.load), d.load?.throttled && `slowed: ${d.load.throttled}`, restarts > 0 && `started again ${count(restarts, "time")}`].filter(Boolean).join(", ");
    return said ? [`${d.name}: ${said}`] : [];
  });
  return lines.length === 0 ? null : <p className="doing dim" data-testid="device-short">{lines.map((line) => <span key={line}>{line}</span>)}</p>;
}
