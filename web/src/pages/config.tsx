// The configuration: every value, where it comes from, and what it does.
import { Checkbox, TextInput } from "@mantine/core";
import { useState } from "react";
import type { Setting } from "../api";
import { type Load, useConfig } from "../network";
import { Chip, Loaded, Panel, Scroll } from "../ui";

export function ConfigPage() {
  return <Config settings={useConfig()} />;
}

export function Config({ settings }: { settings: Load<Setting[]> }) {
  const [text, setText] = useState("");
  const [changed, setChanged] = useState(false);
  return (
    <Panel title="Configuration" aside={settings.state === "ready" && `${settings.data.filter((s) => originOf(s.origin).word !== "default").length} of ${settings.data.length} set`}>
      <p className="pad">Read when the node starts. A flag goes before a variable, a variable before the file. Secrets stay with the node: of one that is there, it says so.</p>
      <div className="filters">
        <TextInput label="Filter" placeholder="part of a name, value or text" value={text} data-testid="config-filter" onChange={(e) => setText(e.currentTarget.value)} />
        <Checkbox label="Only what somebody has set" checked={changed} onChange={(e) => setChanged(e.currentTarget.checked)} />
      </div>
      <Loaded load={settings} empty="The node tells of no setting.">
        {(all) => {
          const shown = all.filter((s) => fits(s, text) && (!changed || originOf(s.origin).word !== "default"));
          if (shown.length === 0) return <div className="note">No setting fits the filter.</div>;
          return (
            <Scroll label="Table of settings">
              <table className="table cards settings">
                <thead>
                  <tr><th>Name</th><th>Value</th><th>From</th><th>What it does</th></tr>
                </thead>
                <tbody>
                  {shown.map((s) => <Row key={s.key} setting={s} />)}
                </tbody>
              </table>
            </Scroll>
          );
        }}
      </Loaded>
    </Panel>
  );
}

function Row({ setting: s }: { setting: Setting }) {
  const { word, where } = originOf(s.origin);
  return (
    <tr data-testid="setting" data-key={s.key} data-origin={word}>
      <td><code>{s.key}</code></td>
      <td data-label="value" className="value">{s.secret ? <Chip tone={s.value === "set" ? "ok" : "idle"}>{s.value === "set" ? "set, and secret" : "not set"}</Chip> : <code>{valueOf(s.value)}</code>}</td>
      <td data-label="from">{word === "default" ? <span className="dim">default</span> : <span title={where}>{word}<span className="dim where"> {where}</span></span>}</td>
      <td data-label="what it does" className="doc">
        {s.doc}
        {word !== "default" && !s.secret && <span className="dim"> Default: <code>{valueOf(s.default)}</code>.</span>}
      </td>
    </tr>
  );
}

/** Where a value comes from: the kind of place, and which. */
export function originOf(origin: unknown): { word: "default" | "file" | "environment" | "flag" | "unknown"; where: string } {
  if (origin === "default") return { word: "default", where: "" };
  if (typeof origin === "object" && origin !== null) {
    for (const [word, where] of Object.entries(origin)) {
      if ((word === "file" || word === "environment" || word === "flag") && typeof where === "string") return { word, where };
    }
  }
  return { word: "unknown", where: JSON.stringify(origin) ?? "" };
}

export function valueOf(value: unknown): string {
  if (value === "" || (Array.isArray(value) && value.length === 0)) return "empty";
  return typeof value === "string" ? value : (JSON.stringify(value) ?? "none");
}

function fits(s: Setting, text: string): boolean {
  const whole = `${s.key} ${s.secret ? "" : valueOf(s.value)} ${s.doc} ${originOf(s.origin).where}`.toLowerCase();
  return text.toLowerCase().split(/\s+/).every((word) => whole.includes(word));
}
