// A thousand streams and ten thousand tickets in the console: what it draws has a bound, and one finds what one looks for.
//   node large.mjs CONSOLE_URL PAID_NODE_URL
// The first is that of `millrace up` with its demo, the second its orchestrator's. Prints one line of JSON for each thing seen and exits 0, or
// says what was not seen and exits 1. Frame times are for people: a busy machine has longer ones.
import { chromium } from "playwright-core";
import { many, MARKUP } from "./many.mjs";
import { look, settle } from "./screens.mjs";

const [url, paid] = process.argv.slice(2);
const READY_MS = 60_000;
const LOOKED_MS = Number(process.env.MILLRACE_LOOK_MS ?? 5_000);
/** A second, as events come; and as many streams and tickets. */
const TICK_MS = 1_000;
const FEW = [10, 10];
const MANY = [1_000, 10_000];
/** Of a page of 50 rows, some 30 nodes each, and of a second list of as many; ten thousand rows would be a hundred times it. */
const MOST_NODES = 3_000;
const saw = (what, facts = {}) => console.log(JSON.stringify({ saw: what, ...facts }));
const expect = (holds, what) => {
  if (!holds) throw new Error(what);
};

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
let front;
let beat;
try {
  front = await many(url, paid);
  beat = setInterval(() => front.tick(), TICK_MS);
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  context.setDefaultTimeout(READY_MS);
  const page = await context.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(error.message));
  const id = (name) => page.getByTestId(name);
  const input = (name) => page.locator(`input[data-testid=${name}], [data-testid=${name}] input`);
  const choose = (name, value) => page.locator(`select[data-testid=${name}], [data-testid=${name}] select`).selectOption(value);
  const nodes = () => page.evaluate(() => document.getElementsByTagName("*").length);

  /** Opens a page with so many of each, scrolls it up and down while events come, and says how that went. */
  const visit = async (path, row, [streams, tickets]) => {
    front.set(streams, tickets);
    await page.goto(new URL(path, front.url).href);
    await id(row).first().waitFor();
    const frames = await page.evaluate(async (ms) => {
      const [times, tasks] = [[], []];
      const observer = new PerformanceObserver((list) => tasks.push(...list.getEntries().map((entry) => entry.duration)));
      observer.observe({ entryTypes: ["longtask"] });
      const scrolled = [document.scrollingElement, ...document.querySelectorAll(".scroll")];
      await new Promise((done) => {
        const start = performance.now();
        let before = start;
        const frame = (now) => {
          times.push(now - before);
          before = now;
          for (const part of scrolled) part.scrollTop = (part.scrollHeight - part.clientHeight) * (0.5 + 0.5 * Math.sin((now - start) / 400));
          if (now - start < ms) requestAnimationFrame(frame);
          else done();
        };
        requestAnimationFrame(frame);
      });
      observer.disconnect();
      times.sort((a, b) => a - b);
      const at = (share) => Math.round(times[Math.min(times.length - 1, Math.floor(times.length * share))]);
      return { frames: times.length, p50_ms: at(0.5), p99_ms: at(0.99), longest_ms: at(1), long_tasks: tasks.length, in_them_ms: Math.round(tasks.reduce((sum, ms) => sum + ms, 0)) };
    }, LOOKED_MS);
    const drawn = { rows: await id(row).count(), nodes: await nodes() };
    saw(`${path} with ${streams} streams and ${tickets} tickets`, { ...drawn, ...frames });
    return drawn;
  };

  for (const [path, row] of [["/", "stream-row"], ["/streams", "stream-row"], ["/earnings", "ledger-row"]]) {
    await visit(path, row, FEW);
    const all = await visit(path, row, MANY);
    expect(all.rows <= 50 && all.nodes < MOST_NODES, `${path} draws ${all.rows} rows and ${all.nodes} nodes`);
  }

  // Streams: found, in order, and a page further by keyboard.
  await page.goto(new URL("/streams", front.url).href);
  const names = () => page.locator("[data-testid=stream-row]").evaluateAll((rows) => rows.map((row) => row.dataset.name));
  const until = (check, arg, what) => page.waitForFunction(check, arg).catch(() => {
    throw new Error(what);
  });
  await id("page-at").filter({ hasText: /1 to 50 of 1.?000/ }).waitFor();
  const began = Date.now();
  await input("stream-filter").fill("camera-0777");
  await until(() => document.querySelectorAll("[data-testid=stream-row]").length === 1, null, "a stream is not found by its name");
  saw("a stream was found by its name", { ms: Date.now() - began });
  await input("stream-filter").fill("zz <img");
  await until((name) => [...document.querySelectorAll("[data-testid=stream-row]")].map((row) => row.dataset.name).join() === name, MARKUP, "a name with markup is not found");
  expect((await id("stream-row").locator("strong").textContent()) === MARKUP && (await id("stream-row").locator("img[src=x], b").count()) === 0, "a name's markup is drawn");
  await id("stream-row").click();
  await page.getByRole("heading", { level: 2, name: MARKUP }).waitFor();
  expect(!(await page.evaluate(() => "marked" in window)), "a name's markup runs");
  saw("a name with markup stays text");
  await page.goto(new URL("/streams", front.url).href);
  await choose("stream-order", "name");
  await until(() => document.querySelector("[data-testid=stream-row]")?.dataset.name === "camera-0001", null, "streams are not in the order of their names");
  const listed = await names();
  expect(listed.join() === listed.toSorted((a, b) => a.localeCompare(b)).join(), `streams are not in order: ${listed.slice(0, 5)}`);
  const next = page.getByRole("navigation", { name: "Pages of Streams" }).getByRole("button", { name: "Next" });
  await next.focus();
  await page.keyboard.press("Enter");
  await until(() => document.querySelector("[data-testid=stream-row]")?.dataset.name === "camera-0051", null, "the second page does not come by keyboard");
  const item = page.locator(".stream-list li").first();
  expect((await item.getAttribute("aria-posinset")) === "51" && (await item.getAttribute("aria-setsize")) === "1000", "a stream does not say which of how many it is");
  expect(await next.evaluate((button) => button === document.activeElement), "the keyboard is lost after a page was turned");
  await look(page, "streams-many");
  saw("streams in order, and the second page by keyboard");

  // Tickets: the same as a table.
  await page.goto(new URL("/earnings", front.url).href);
  await id("ledger-row").first().waitFor();
  const table = page.getByRole("table").filter({ has: id("ledger-row") });
  await until(() => document.querySelector("[data-testid=ledger-row]")?.closest("table")?.getAttribute("aria-rowcount") === "10001", null, "the table does not say that it has 10,000 rows and a head");
  await page.getByRole("navigation", { name: "Pages of Tickets" }).getByRole("button", { name: "Last" }).click();
  await until(() => document.querySelector("[data-testid=ledger-row]")?.getAttribute("aria-rowindex") === "9952", null, "the last page of tickets does not come");
  await choose("ledger-kind", "out");
  await page.getByText("No such ticket").waitFor();
  await choose("ledger-kind", "all");
  await choose("ledger-order", "worth");
  await until(() => document.querySelector("[data-testid=ledger-row]")?.getAttribute("aria-rowindex") === "2", null, "another order does not begin at the first page");
  await look(page, "earnings-many");
  const [file] = await Promise.all([page.waitForEvent("download"), id("csv").click()]);
  saw("tickets in order, and all of them as a file", { name: file.suggestedFilename() });

  settle();
  expect(errors.length === 0, `errors in the page: ${errors.join("; ")}`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  clearInterval(beat);
  front?.stop();
  await browser.close();
}
