// Small pieces that every panel uses. They know nothing of streams or money.
import { createContext, type ReactNode, useContext, useEffect, useId, useState } from "react";
import { formatAbsolute, formatAgo, formatEth, formatWei, iso, short } from "./format";
import type { Load } from "./network";
import { Closed } from "./session/closed";
import type { Tone } from "./words";

/** The page's clock, one beat a second, so that all relative times move together. */
export const Now = createContext(0);

export function useClock(): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const beat = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(beat);
  }, []);
  return now;
}

export function Panel(props: { title: string; aside?: ReactNode; className?: string; children: ReactNode }) {
  const id = useId();
  return (
    <section className={`panel ${props.className ?? ""}`} aria-labelledby={id}>
      <header className="panel-head">
        <h2 id={id}>{props.title}</h2>
        <div className="aside">{props.aside}</div>
      </header>
      {props.children}
    </section>
  );
}

/** Draws a load in each of its states; `empty` says what an empty list means and how it fills. */
export function Loaded<T>(props: { load: Load<T[]>; empty: ReactNode; children: (items: T[]) => ReactNode }) {
  const { load } = props;
  if (load.state === "loading") return <Skeleton />;
  if (load.state === "closed") return <Closed />;
  if (load.state === "failed") {
    return (
      <div className="note bad" role="alert">
        <strong>No data.</strong> {load.message}. Asking again every few seconds.
      </div>
    );
  }
  return (
    <>
      {load.trouble && (
        <div className="note warn" role="status">
          Old or incomplete: {load.trouble}.
        </div>
      )}
      {load.data.length === 0 ? load.trouble ? null : <div className="note">{props.empty}</div> : props.children(load.data)}
    </>
  );
}

export function Skeleton() {
  return (
    <div className="skeleton" role="status" aria-label="Loading">
      <i />
      <i />
      <i />
    </div>
  );
}

export function Chip(props: { tone: Tone; children: ReactNode; title?: string | undefined }) {
  return (
    <span className={`chip ${props.tone}`} title={props.title}>
      {props.children}
    </span>
  );
}

/** Wei in a legible unit, exact on hover. */
export function Amount(props: { wei: string | null | undefined }) {
  return (
    <span className="num" title={formatWei(props.wei)}>
      {formatEth(props.wei)}
    </span>
  );
}

/** How long ago, and exactly when on hover. */
export function Ago(props: { at: number }) {
  const now = useContext(Now);
  return (
    <time className="num" dateTime={iso(props.at) ?? undefined} title={formatAbsolute(props.at)}>
      {formatAgo(props.at, now)}
    </time>
  );
}

/** A shortened address or hash: whole on hover, copied by a click. */
export function Hex(props: { value: string; what: string }) {
  const [copied, copy] = useCopy(props.value);
  return (
    <button type="button" className="hex" title={`${props.value} (click to copy)`} aria-label={copied === "yes" ? `${props.what} copied` : `Copy ${props.what} ${short(props.value)}`} onClick={copy}>
      {copied === "yes" ? "copied" : short(props.value)}
    </button>
  );
}

/** `text` may be made when it is asked for. */
export function CopyButton(props: { text: string | (() => string); what: string }) {
  const [copied, copy] = useCopy(props.text);
  return (
    <button type="button" className="button" aria-label={`Copy ${props.what}`} onClick={copy}>
      {copied === "yes" ? "Copied" : copied === "no" ? "Select and copy by hand" : "Copy"}
    </button>
  );
}

/** Copies, and says so for a moment. */
function useCopy(text: string | (() => string)): ["" | "yes" | "no", () => void] {
  const [copied, setCopied] = useState<"" | "yes" | "no">("");
  useEffect(() => {
    if (!copied) return;
    const done = setTimeout(() => setCopied(""), 1500);
    return () => clearTimeout(done);
  }, [copied]);
  return [copied, () => void copyText(typeof text === "string" ? text : text()).then((ok) => setCopied(ok ? "yes" : "no"))];
}

async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Plain http away from loopback has no clipboard: the old way still works there.
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const ok = document.execCommand("copy");
    area.remove();
    return ok;
  }
}

/** How much of a capacity is in use. */
export function Meter(props: { value: number; of: number; label: string }) {
  const share = props.of > 0 ? Math.min(1, Math.max(0, props.value / props.of)) : 0;
  const tone = share > 0.9 ? "warn" : "ok";
  return (
    <span className={`meter ${tone}`} role="meter" aria-label={props.label} aria-valuenow={props.value} aria-valuemin={0} aria-valuemax={props.of}>
      <i style={{ width: `${share * 100}%` }} />
    </span>
  );
}

/** A named figure. */
export function Fact(props: { name: string; title?: string | undefined; children: ReactNode }) {
  return (
    <div className="fact" title={props.title}>
      <dt>{props.name}</dt>
      <dd>{props.children}</dd>
    </div>
  );
}

/** A table's own scroll area, reachable by keyboard. */
export function Scroll(props: { label: string; children: ReactNode }) {
  return (
    <div className="scroll" role="region" aria-label={props.label} tabIndex={0}>
      {props.children}
    </div>
  );
}
