// What the first page of a node's console weighs, and how soon it says something: on this machine, and over a line as a home has it.
//   node weight.mjs CONSOLE_URL
// Prints one line of JSON for each line and exits 0, or says what is wrong and exits 1: the times are for people, only what is loaded is judged.
import { connect, createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { chromium } from "playwright-core";

const [url] = process.argv.slice(2);
const TIMES = Number(process.env.MILLRACE_TIMES ?? 5);
/** 10 Mbit/s each way, and 40 ms there and back. */
const HOME = { bytesPerMs: 10e6 / 8 / 1_000, roundTripMs: 40 };
/** What a connection may have on its way; then its sender waits. */
const ON_ITS_WAY = 64 * 1_024;
const READY_MS = 30_000;
/** What the page must have before it can draw, compressed: more, and something has come along that the first figures do not need. */
const MOST_BYTES = 200_000;
/** Large, and not for everybody: loaded where they are first needed. */
const LATER = /^(chain|hls|uPlot)/;

const median = (all) => all.toSorted((a, b) => a - b)[Math.floor(all.length / 2)];

/**
 * A console's node at the far end of a line, for as long as it is not closed. (Chromium's own emulation is none: of thirty pages over it,
 * one or two are never read to their end.)
 */
async function over({ bytesPerMs, roundTripMs }) {
  const { hostname, port } = new URL(url);
  const ends = new Set();
  /** One way of the line, which all connections share: each piece leaves when the one before it has. */
  const way = () => {
    let free = 0;
    return (from, to, notBefore) => {
      let [waiting, passed] = [0, Promise.resolve()];
      from.on("data", (piece) => {
        free = Math.max(performance.now(), free) + piece.length / bytesPerMs;
        const at = Math.max(free, notBefore) + roundTripMs / 2;
        waiting += piece.length;
        if (waiting > ON_ITS_WAY) from.pause();
        passed = passed.then(() => sleep(at - performance.now())).then(() => {
          waiting -= piece.length;
          if (waiting <= ON_ITS_WAY) from.resume();
          if (to.writable) to.write(piece);
        });
      });
      from.on("close", () => passed.then(() => to.end()));
      from.on("error", () => from.destroy());
      ends.add(from);
    };
  };
  const [up, down] = [way(), way()];
  const server = createServer((viewer) => {
    const node = connect({ host: hostname, port: Number(port) });
    // A viewer cannot ask before its connection stands.
    up(viewer, node, performance.now() + roundTripMs);
    down(node, viewer, 0);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const close = () => {
    server.close();
    for (const end of ends) end.destroy();
  };
  return { url: `http://127.0.0.1:${server.address().port}/`, close };
}

/** Opens Overview as somebody who was never there. */
async function visit(browser, url) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  try {
    const page = await context.newPage();
    // The first figure is the first tile that says more than that nothing is known.
    await page.addInitScript(() => {
      const look = () => {
        const told = [...document.querySelectorAll(".figure")].some((figure) => figure.textContent !== "–");
        if (told) window.firstFigure = performance.now();
        else requestAnimationFrame(look);
      };
      requestAnimationFrame(look);
    });
    await page.goto(url);
    await page.waitForFunction(() => "firstFigure" in window, null, { timeout: READY_MS });
    await page.waitForLoadState("networkidle").catch(() => undefined);
    return await page.evaluate(() => {
      const files = performance.getEntriesByType("resource").filter((e) => e.name.includes("/assets/"));
      const bytes = (some) => some.reduce((sum, file) => sum + file.transferSize, 0);
      return {
        paint_ms: performance.getEntriesByName("first-contentful-paint")[0].startTime,
        figure_ms: window.firstFigure,
        bytes_until_then: bytes(files.filter((file) => file.responseEnd <= window.firstFigure)),
        bytes: bytes(files),
      };
    });
  } finally {
    await context.close();
  }
}

/** The files that the page names itself: what it draws with. */
async function needed() {
  const html = await (await fetch(url)).text();
  const paths = [...html.matchAll(/<(?:script|link)[^>]+(?:src|href)="([^"]+\.(?:js|css))"/g)].map((found) => found[1]);
  const sizes = await Promise.all(paths.map(async (path) => {
    const answer = await fetch(new URL(path, url), { headers: { "accept-encoding": "gzip" } });
    if (!/immutable/.test(answer.headers.get("cache-control") ?? "")) throw new Error(`${path} is not kept by browsers`);
    if (answer.headers.get("content-encoding") !== "gzip") throw new Error(`${path} is not compressed`);
    return gzipSync(await answer.arrayBuffer()).length;
  }));
  return { paths, bytes: sizes.reduce((sum, size) => sum + size, 0) };
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
let home;
try {
  home = await over(HOME);
  for (const [name, there] of [["this machine", url], ["10 Mbit/s, 40 ms", home.url]]) {
    const visits = [];
    for (let i = 0; i < TIMES; i += 1) visits.push(await visit(browser, there));
    const figures = Object.keys(visits[0]).map((key) => [key, Math.round(median(visits.map((visit) => visit[key])))]);
    console.log(JSON.stringify({ line: name, ...Object.fromEntries(figures), visits: visits.length }));
  }
  const { paths, bytes } = await needed();
  const names = paths.map((path) => path.split("/").at(-1));
  console.log(JSON.stringify({ needed: names, bytes }));
  if (names.some((name) => LATER.test(name))) throw new Error(`the page waits for what it does not draw with: ${names}`);
  if (bytes > MOST_BYTES) throw new Error(`the page takes ${bytes} bytes before it can draw, more than ${MOST_BYTES}`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  home?.close();
  await browser.close();
}
