// Where the time goes between a picture and its viewer, as far as the broadcaster knows it: one bar.
import type { Delay } from "./api";
import { formatMs } from "./format";

/** The parts in the order in which a picture meets them. */
export function shares(d: Delay): { name: string; ms: number; means: string }[] {
  return [
    { name: "picture", ms: d.picture, means: "a picture is written when the next one has shown how long it lasts" },
    { name: "part", ms: d.part, means: "the first picture of a part waits so long for the last, at most" },
    { name: "ladder", ms: d.ladder ?? 0, means: "to the orchestrator, transcoded, verified and back, half of the time; the source has none of it" },
    { name: "hold-back", ms: d.hold_back, means: "the playlists ask players to stay so far behind the newest part" },
  ].filter(({ ms }) => ms > 0);
}

export function DelayBar({ delay }: { delay: Delay }) {
  const parts = shares(delay);
  const whole = parts.reduce((sum, { ms }) => sum + ms, 0);
  const text = parts.map(({ name, ms }) => `${name} ${formatMs(ms)}`).join(", ");
  return (
    <div className="delay" data-testid="delay" data-ms={Math.round(whole)}>
      <h3>
        Delay behind the ingest <b className="num">{formatMs(whole)}</b>
      </h3>
      <div className="delay-bar" role="img" aria-label={`${formatMs(whole)}: ${text}`}>
        {parts.map(({ name, ms, means }) => (
          <i key={name} className={name} style={{ flexGrow: ms }} title={`${name} ${formatMs(ms)}: ${means}`} />
        ))}
      </div>
      <ul className="delay-parts">
        {parts.map(({ name, ms, means }) => (
          <li key={name} className={name} title={means}>
            {name} <span className="num">{formatMs(ms)}</span>
          </li>
        ))}
      </ul>
    </div>
  );
}
