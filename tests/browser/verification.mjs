// The owner of a network with a liar, who wants to see for himself: what failed with both pictures, what differs, who has signed it, and
// where the time of the segment went.
//   node verification.mjs CONSOLE_URL
// Prints one line of JSON for each thing seen and exits 0, or says what was not seen and exits 1. MILLRACE_SHOTS names a folder for pictures.
import { chromium } from "playwright-core";
import { look, settle } from "./screens.mjs";

const [url] = process.argv.slice(2);
/** Until the liar has had its first segment, on a machine that also encodes and draws. */
const CAUGHT_MS = 90_000;
const saw = (what, facts = {}) => console.log(JSON.stringify({ saw: what, ...facts }));

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  page.setDefaultTimeout(CAUGHT_MS);
  const errors = [];
  page.on("pageerror", (error) => errors.push(error.message));
  const go = (path) => page.goto(new URL(path, url).href);

  await go("/verification");
  await page.getByTestId("failure-row").first().waitFor();
  await page.locator('[data-testid=record-row]:not([data-failed="0"])').first().waitFor();
  await page.getByTestId("sampling").waitFor();
  saw("a rendition that failed", { fault: await page.getByTestId("failure-row").first().getByRole("link").textContent() });
  await look(page, "verification");

  // The segment that failed was made by another one: its row has both, and tells them. By keyboard, then by a click.
  await go("/segments");
  const again = page.locator('[data-testid=way-row]:not([data-attempts="1"])');
  await again.first().waitFor();
  await page.getByTestId("way").focus();
  await page.keyboard.press("Home");
  let told = await page.getByTestId("way-told").textContent();
  // Some were only late, or of a network that was just starting.
  for (const deadline = Date.now() + CAUGHT_MS; !(told.includes(" failed: ") && told.includes(" passed, paid ")); ) {
    if (Date.now() > deadline) throw new Error(`no way tells of a segment that failed and was made again; the last said ${told}`);
    for (const seq of await again.evaluateAll((rows) => rows.map((row) => row.dataset.seq))) {
      const before = told;
      await page.locator(`[data-testid=way-row][data-seq="${seq}"]`).click();
      await page.waitForFunction((was) => document.querySelector("[data-testid=way-told]")?.textContent !== was, before, { timeout: 5_000 }).catch(() => {});
      told = await page.getByTestId("way-told").textContent();
      if (told.includes(" failed: ") && told.includes(" passed, paid ")) break;
    }
  }
  saw("the way of the segment that failed", { told });
  await look(page, "way");
  await page.goBack();

  await page.getByTestId("failure-row").first().getByRole("link").click();
  /** Sides of a picture once it is drawn. */
  const sides = async (which) => {
    await page.waitForFunction((id) => document.querySelector(`[data-testid=${id}]`)?.naturalWidth > 0, which);
    return page.getByTestId(which).evaluate((e) => ({ width: e.naturalWidth, height: e.naturalHeight, shown: Math.round(e.getBoundingClientRect().width) }));
  };
  const [source, rendition] = [await sides("source-picture"), await sides("rendition-picture")];
  if (source.shown !== rendition.shown) throw new Error(`the pictures are ${source.shown} and ${rendition.shown} wide on the page`);
  saw("both pictures, of one size", { source, rendition });
  await page.locator('[data-testid=papers][data-linked=true]').waitFor();
  const papers = await page.getByTestId("papers").locator("summary").allTextContents();
  if (!papers.every((paper) => /signed by \S+, checked here/.test(paper))) throw new Error(`whose signatures these are was not told: ${papers}`);
  saw("who has signed it", { papers });
  await look(page, "evidence");

  await page.getByText("One over the other").click();
  const edge = () => page.locator(".edge").evaluate((e) => e.style.left);
  await page.getByRole("slider").focus();
  await page.keyboard.press("End");
  if ((await edge()) !== "100%") throw new Error(`after End the rendition covers ${await edge()}`);
  await page.keyboard.press("Home");
  await page.keyboard.press("ArrowRight");
  if ((await edge()) !== "1%") throw new Error(`after Home and a step the rendition covers ${await edge()}`);
  await look(page, "evidence-over");
  await page.getByText("Difference", { exact: true }).click();
  await page.locator("[data-testid=difference][data-mean]").waitFor();
  const mean = Number(await page.getByTestId("difference").getAttribute("data-mean"));
  if (!(mean > 1)) throw new Error(`a lie differs from its source by ${mean} levels only`);
  saw("what differs", { mean });
  await look(page, "evidence-difference");

  // The link can be kept, and its files play.
  const deep = page.url();
  await go(deep);
  await page.getByTestId("evidence").waitFor();
  for (const name of ["source", "rendition"]) {
    const file = await page.getByRole("link", { name, exact: true }).getAttribute("href");
    const reply = await fetch(new URL(file, url));
    const begins = Buffer.from(await reply.arrayBuffer()).toString("latin1", 4, 8);
    if (begins !== "ftyp") throw new Error(`the ${name} answers ${reply.status} and begins with ${begins}`);
  }
  saw("it by its own link, with its files", { url: deep });

  settle();
  if (errors.length > 0) throw new Error(`errors in the page: ${errors.join("; ")}`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  await browser.close();
}
