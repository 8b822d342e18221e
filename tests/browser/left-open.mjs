// The console left open: one page plays a stream, one follows the log, one is used, while events come, and in a short test faster than ever.
// What they hold is counted after each garbage collection: it may not grow.
//   node left-open.mjs CONSOLE_URL PAID_NODE_URL
// MILLRACE_OPEN_MINUTES (1) says for how long. Prints one line of JSON for each look and exits 0, or says what grew and exits 1.
import { chromium } from "playwright-core";
import { many } from "./many.mjs";
import { trend } from "./trend.mjs";

const [url, paid] = process.argv.slice(2);
const MINUTES = Number(process.env.MILLRACE_OPEN_MINUTES ?? 1);
const READY_MS = 60_000;
const DRAWN_MS = 5_000;
/** Each is a second of a node's life: in a minute, 20 minutes of events. Where there is time, they come as they do. */
const LONG = MINUTES >= 20;
const TICK_MS = LONG ? 1_000 : 50;
const LOOK_MS = LONG ? 60_000 : 10_000;
/** Until all is loaded, laid out and cached. */
const WARM = 2;
const STREAMS = 20;
const TICKETS = 500;
/** Beyond what there was when it was warm: of nodes one page that was left, which is sometimes held until another takes its place; of the heap
 * what the collector leaves. */
const MARGIN = { nodes: [1.15, 2_500], listeners: [1.15, 60], urls: [1, 4], heap_mb: [1.5, 15] };
/** The heap swings, so a slow leak is told by its trend: over the later half of the looks, when all that is bounded is full, and of no fewer than
 * these. It may come to so many MB in the time that was watched, or to so much of what there was. */
const TREND_LOOKS = 10;
const TREND_MB = 10;
const TREND_PART = 0.25;
const PLACES = ["/", "/streams", "/earnings", "/nodes", "/segments", "/verification", "/config", "/recordings", "/keys", "/funds", "/stake", "/start"];
const saw = (what, facts = {}) => console.log(JSON.stringify({ saw: what, ...facts }));

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required"],
});
let front;
let beat;
try {
  front = await many(url, paid);
  front.set(STREAMS, TICKETS);
  const errors = [];
  const open = async (path) => {
    // A context each: tabs of one would share six connections to the node.
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
    context.setDefaultTimeout(READY_MS);
    const page = await context.newPage();
    page.on("pageerror", (error) => errors.push(`${path}: ${error.message}`));
    await page.addInitScript(() => {
      window.openUrls = new Set();
      const { createObjectURL, revokeObjectURL } = URL;
      URL.createObjectURL = (of) => {
        const made = createObjectURL.call(URL, of);
        window.openUrls.add(made);
        return made;
      };
      URL.revokeObjectURL = (made) => {
        window.openUrls.delete(made);
        revokeObjectURL.call(URL, made);
      };
    });
    const cdp = await context.newCDPSession(page);
    await cdp.send("HeapProfiler.enable");
    await page.goto(new URL(path, front.url).href);
    const count = async () => {
      await cdp.send("HeapProfiler.collectGarbage");
      const [{ usedSize }, { nodes, jsEventListeners }] = await Promise.all([cdp.send("Runtime.getHeapUsage"), cdp.send("Memory.getDOMCounters")]);
      const drawn = await page.evaluate(() => document.getElementsByTagName("*").length);
      return { nodes, drawn, listeners: jsEventListeners, urls: await page.evaluate(() => window.openUrls.size), heap_mb: Math.round(usedSize / 1e5) / 10 };
    };
    return { page, count };
  };
  const pages = { playing: await open(`/streams/${front.live.id}`), log: await open("/log"), used: await open("/") };
  const time = () => pages.playing.page.evaluate(() => Number(document.querySelector("[data-testid=player]")?.dataset.currentTime));
  await pages.playing.page.waitForFunction(() => Number(document.querySelector("[data-testid=player]")?.dataset.currentTime) > 1);
  await pages.log.page.getByTestId("log-line").first().waitFor();
  beat = setInterval(() => front.tick(), TICK_MS);

  /** Somebody who looks at everything, and comes back to where it began. */
  const round = async () => {
    for (const place of [...PLACES, "/"]) {
      await pages.used.page.locator(`nav a[href="${place}"]`).click();
      await pages.used.page.waitForTimeout(300);
      // What is drawn for the first time later than this would be taken for growth.
      await pages.used.page.waitForFunction(() => !document.querySelector("main .skeleton"), null, { timeout: DRAWN_MS }).catch(() => {});
    }
  };
  const looks = [];
  let warmed = 0;
  const began = Date.now();
  const before = await time();
  for (let look = 1; look <= WARM + 2 || Date.now() - began < MINUTES * 60_000; look += 1) {
    const next = began + look * LOOK_MS;
    await round();
    await new Promise((wait) => setTimeout(wait, Math.max(0, next - Date.now())));
    const held = Object.fromEntries(await Promise.all(Object.entries(pages).map(async ([name, { count }]) => [name, await count()])));
    looks.push({ ...held, minute: (Date.now() - began) / 60_000 });
    if (look === WARM) warmed = Date.now();
    saw("a look", { s: Math.round((Date.now() - began) / 1000), ...held });
  }
  const minutes = (Date.now() - warmed) / 60_000;
  const grown = [];
  for (const name of Object.keys(pages)) {
    const [first, last] = [looks[WARM - 1][name], looks.at(-1)[name]];
    const later = looks.slice(Math.ceil((looks.length + WARM) / 2)).map((look) => [look.minute, look[name].heap_mb]);
    const { slope, sure } = trend(later);
    const round = (n) => Math.round(n * 100) / 100;
    saw(`what ${name} holds`, { ticks: Math.round((Date.now() - began) / TICK_MS), heap_mb_a_minute: round(slope), at_least: round(sure), first, last });
    if (later.length >= TREND_LOOKS && sure * minutes > Math.max(TREND_MB, first.heap_mb * TREND_PART)) grown.push(`heap_mb of ${name} by ${round(sure)} or more a minute`);
    for (const [what, [times, more]] of Object.entries(MARGIN)) {
      // Of the last two looks the smaller: one may fall into the middle of something.
      const end = Math.min(last[what], looks.at(-2)[name][what]);
      if (end > first[what] * times + more) grown.push(`${what} of ${name} from ${first[what]} to ${end}`);
    }
  }
  if (grown.length > 0) throw new Error(`it grows: ${grown.join(", ")}`);
  const now = await time();
  await pages.playing.page.waitForFunction((at) => Number(document.querySelector("[data-testid=player]")?.dataset.currentTime) > at + 1, now);
  saw("it plays on", { s: Math.round(now - before), of: Math.round((Date.now() - began) / 1000) });
  if (errors.length > 0) throw new Error(`errors in the page: ${errors.join("; ")}`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  clearInterval(beat);
  front?.stop();
  await browser.close();
}
