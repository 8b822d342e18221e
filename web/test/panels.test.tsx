// Each panel in each of its states, as the markup that a browser would first get.
import type { ReactElement } from "react";
import { renderToStaticMarkup } from "react-dom/server";
import { describe, expect, test } from "vitest";
import { Money } from "../src/money";
import { Nodes } from "../src/nodes";
import { Segments } from "../src/segments";
import { Publish } from "../src/publish";
import { StreamList } from "../src/stream-list";
import { choose, Detail } from "../src/streams";
import { Now } from "../src/ui";
import { ready } from "../src/words";
import { failed, loaded, NOW, network, segment, seen, silent, sluice, stream, tickets, transcoder, unwell, weir, wheel } from "./mock";

const html = (element: ReactElement) => renderToStaticMarkup(<Now value={NOW}>{element}</Now>);
const times = (text: string, part: string) => text.split(part).length - 1;
const loading = { state: "loading" } as const;

const panels: { name: string; row: string; draw: (change: Parameters<typeof network>[0]) => string; key: "streams" | "segments" | "transcoders" | "tickets"; empty: string }[] = [
  { name: "streams", key: "streams", row: "stream-row", empty: "No stream is live", draw: (c) => html(<StreamList streams={network(c).streams} pick={() => {}} />) },
  { name: "nodes", key: "transcoders", row: "transcoder-row", empty: "No orchestrator lists a transcoder", draw: (c) => html(<Nodes net={network(c)} />) },
  { name: "segments", key: "segments", row: "segment-row", empty: "No segment yet", draw: (c) => { const n = network(c); return html(<Segments segments={n.segments} streams={n.streams} transcoders={n.transcoders} nodes={n.nodes} />); } },
  { name: "money", key: "tickets", row: "ticket-row", empty: "No ticket yet", draw: (c) => { const n = network(c); return html(<Money tickets={n.tickets} nodes={n.nodes} />); } },
];

describe.each(panels)("$name", ({ key, row, empty, draw }) => {
  test("with data shows its rows", () => expect(times(draw({}), `data-testid="${row}"`)).toBe(1));
  test("while loading", () => {
    const text = draw({ [key]: loading });
    expect(text).toContain('aria-label="Loading"');
    expect(text).not.toContain(row);
  });
  test("when empty says what that means", () => expect(draw({ [key]: loaded(sluice) })).toContain(empty));
  test("when it failed says why", () => {
    const text = draw({ [key]: failed });
    expect(text).toContain('role="alert"');
    expect(text).toContain("sluice cannot be reached");
  });
  test("with old data keeps the rows and says that they are old", () => {
    const load = network()[key];
    const text = draw({ [key]: { ...load, trouble: "sluice cannot be reached" } });
    expect(text).toContain("Old or incomplete: sluice cannot be reached");
    expect(times(text, `data-testid="${row}"`)).toBe(1);
  });
});

const detail = (c: Parameters<typeof network>[0] = {}) => {
  const n = network(c);
  return html(<Detail stream={choose(ready(n.streams), null)!} nodes={n.nodes} />);
};

test("a stream tells state, uptime, source, ladder, latency and cost", () => {
  const text = panels[0]!.draw({}) + detail();
  for (const part of ["1 min 05 s", "H.264 1280×720 30 fps 3 Mb/s", "no audio", "480p", "150 ms / 290 ms", "0.005 ETH", "<video", 'data-testid="level-select"', 'data-testid="current-level"']) expect(text).toContain(part);
});

test("a live stream tells how it comes in, and what its encoder should do better", () => {
  const text = detail({ streams: loaded(weir, unwell) });
  for (const part of ["8.3 s", "3 Mb/s", "From the encoder: a keyframe comes every 8.3 s: set the encoder&#x27;s keyframe interval to 2 s."]) expect(text).toContain(part);
  expect(detail({ streams: loaded(weir, { ...stream, ingest: null }) })).not.toContain("ingest-warning");
});

test("the list of streams links to each, and says so when none is live", () => {
  expect(panels[0]!.draw({})).toContain(`href="/streams/${stream.id}"`);
  const text = panels[0]!.draw({ streams: loaded(weir, { ...stream, state: "ended" as const, ended_at: NOW }) });
  expect(text).toContain("No stream is live");
  expect(text).toContain('data-testid="stream-row"');
});

test("the way to publish is shown, its key hidden", () => {
  const text = html(<Publish ingest={network().ingest} />);
  expect(text).toContain('data-testid="publish"');
  expect(text).toContain("rtmp://127.0.0.1:1935/live");
  expect(text).not.toContain("secret-key");
});

test("a segment tells who was paid what, and a failed one why it was not", () => {
  const passed = panels[2]!.draw({});
  for (const part of ["3 s ago", "demo", "wheel-1", "Pass", "212 ms", "9\u202f000 gwei", "by sluice"]) expect(passed).toContain(part);
  const text = panels[2]!.draw({ segments: loaded(sluice, { ...segment, result: "fail" as const, fault: "480p is black", paid_wei: null }) });
  for (const part of ['data-result="fail"', "480p is black", "not paid"]) expect(text).toContain(part);
  const late = panels[2]!.draw({ segments: loaded(sluice, { ...segment, result: "lost" as const, fault: `${segment.worker} did not deliver` }) });
  expect(late).toContain("wheel-1 did not deliver");
});

test("a suspended transcoder says why and for how long", () => {
  const text = panels[1]!.draw({ transcoders: loaded(sluice, { ...transcoder, state: "suspended" as const, suspended: { reason: "black picture", until: NOW + 90_000 } }) });
  expect(text).toContain("Suspended: black picture. <span");
  expect(text).toContain("Back in 1 min 30 s");
});

test("a node that does not answer stays on the page, and so does a transcoder that nobody lists", () => {
  const text = panels[1]!.draw({ nodes: [weir, seen("orchestrator", "sluice", "2", silent), wheel], transcoders: loaded(sluice) });
  expect(text).toContain("does not answer, figures are old");
  expect(text).toContain("not connected to an orchestrator");
});

test("money adds up what was redeemed, and shows winners only", () => {
  const n = network({ tickets: { ...loaded(wheel, tickets), data: [{ node: wheel, item: tickets }, { node: sluice, item: tickets }] } as ReturnType<typeof network>["tickets"] });
  const text = html(<Money tickets={n.tickets} nodes={n.nodes} />);
  expect(text).toContain('data-testid="redeemed-total" data-wei="6000000000000000"');
  expect(times(text, 'data-testid="ticket-row"')).toBe(2);
  expect(text).toContain("0xcdcd…cdcd");
});
