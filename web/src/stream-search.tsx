// All streams: found by name, in the order that is asked for, a page at a time.
import { NativeSelect, TextInput } from "@mantine/core";
import { useMemo, useState } from "react";
import type { Stream } from "./api";
import { wei } from "./format";
import { usePage } from "./paged";
import { GLANCE, type ListProps, liveFirst, StreamRows, Streams } from "./stream-list";
import type { Told } from "./streams";

export function StreamSearch({ streams, pick }: ListProps) {
  return <Streams load={streams}>{(items) => (items.length > GLANCE ? <Searched items={items} pick={pick} /> : <StreamRows rows={items.toSorted(liveFirst)} first={0} total={items.length} pick={pick} />)}</Streams>;
}

const lame = (s: Stream) => s.renditions.filter((r) => r.state !== "ok").length + (s.ingest?.warnings.length ?? 0);

/** Live ones come first in every order, and the newest among equals. */
const ORDERS = {
  newest: () => 0,
  trouble: (a, b) => lame(b.item) - lame(a.item),
  viewers: (a, b) => b.item.viewers - a.item.viewers,
  slowest: (a, b) => (b.item.latency_ms?.p99 ?? -1) - (a.item.latency_ms?.p99 ?? -1),
  spent: (a, b) => Number((wei(b.item.spent_wei) ?? 0n) - (wei(a.item.spent_wei) ?? 0n)),
  name: (a, b) => a.item.name.localeCompare(b.item.name),
} satisfies Record<string, (a: Told, b: Told) => number>;
type Order = keyof typeof ORDERS;
const ORDER_NAMES: Record<Order, string> = { newest: "newest", trouble: "most trouble", viewers: "most viewers", slowest: "slowest", spent: "most spent", name: "name" };

export function sorted(all: Told[], by: Order): Told[] {
  const compare: (a: Told, b: Told) => number = ORDERS[by];
  return all.toSorted((a, b) => Number(b.item.state === "live") - Number(a.item.state === "live") || compare(a, b) || liveFirst(a, b));
}

/** Those with all words of `text` in their name, id or source, whatever their case. */
export function found(all: Told[], state: string, text: string): Told[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return all.filter(({ item: s }) => (state === "" || s.state === state) && words.every((word) => `${s.name} ${s.id} ${s.source?.codec ?? ""}`.toLowerCase().includes(word)));
}

function Searched({ items, pick }: { items: Told[]; pick: (stream: Told) => void }) {
  const [text, setText] = useState("");
  const [state, setState] = useState("");
  const [by, setBy] = useState<Order>("newest");
  const fits = useMemo(() => sorted(found(items, state, text), by), [items, state, text, by]);
  const { rows, first, pager } = usePage(fits, "Streams", `${state} ${by} ${text}`);
  return (
    <>
      <div className="filters">
        <TextInput label="Find" value={text} data-testid="stream-filter" onChange={(e) => setText(e.currentTarget.value)} />
        <NativeSelect label="State" value={state} data-testid="stream-state" onChange={(e) => setState(e.currentTarget.value)} data={[{ value: "", label: "all" }, "live", "ended"]} />
        <NativeSelect label="Order" value={by} data-testid="stream-order" onChange={(e) => setBy(e.currentTarget.value as Order)} data={Object.entries(ORDER_NAMES).map(([value, label]) => ({ value, label }))} />
      </div>
      {fits.length === 0 ? <div className="note">None of {items.length} streams is like that.</div> : <StreamRows rows={rows} first={first} total={fits.length} pick={pick} />}
      {pager}
    </>
  );
}
