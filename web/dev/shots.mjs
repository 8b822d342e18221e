// Takes pictures of the console with made-up data, and drives the player as a viewer would. Development only.
//   node dev/shots.mjs OUTPUT_FOLDER
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { start } from "./mock.mjs";

const out = process.argv[2] ?? "shots";
mkdirSync(out, { recursive: true });
const mock = await start("live");
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
const SIZES = { wide: { width: 1440, height: 1000 }, narrow: { width: 390, height: 844 } };

async function open(size, colorScheme) {
  const page = await browser.newPage({ viewport: SIZES[size], colorScheme });
  page.on("pageerror", (e) => console.log("page error:", e.message));
  await page.goto(mock.url);
  return page;
}
/** The page of the live stream. */
const toStream = (page) => page.locator("[data-testid=stream-row][data-state=live]").first().click();
const shot = async (page, name, fullPage = false) => {
  await page.screenshot({ path: join(out, `${name}.png`), fullPage });
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  if (overflow > 0) console.log(`${name}: ${overflow} px too wide`);
};

try {
  const page = await open("wide", "light");
  await page.getByTestId("stream-row").first().waitFor();
  await shot(page, "overview-wide-light");
  await toStream(page);
  const player = page.getByTestId("player");
  await page.waitForFunction(() => Number(document.querySelector("[data-testid=player]")?.dataset.currentTime) > 2, null, { timeout: 60_000 });
  await shot(page, "live-wide-light");
  await page.getByTestId("level-select").selectOption("360p");
  await page.waitForFunction(() => document.querySelector("[data-testid=player]").dataset.levelHeight === "360", null, { timeout: 20_000 });
  await page.waitForFunction(() => document.querySelector("video").videoHeight === 360, null, { timeout: 20_000 });
  console.log("level 360p is on screen; live latency", await player.getAttribute("data-live-latency"), "stalls", await player.getAttribute("data-stalls"));
  await page.getByTestId("level-select").selectOption("720p");
  await page.waitForFunction(() => document.querySelector("[data-testid=player]").dataset.levelHeight === "720" && document.querySelector("video").videoHeight === 720, null, { timeout: 20_000 });
  console.log("level 720p is on screen;", await page.getByTestId("current-level").textContent());
  for (const [size, scheme] of [["wide", "dark"], ["narrow", "light"], ["narrow", "dark"]]) {
    const other = await open(size, scheme);
    await toStream(other);
    await other.waitForFunction(() => Number(document.querySelector("[data-testid=player]")?.dataset.currentTime) > 1, null, { timeout: 60_000 });
    await shot(other, `live-${size}-${scheme}`, true);
    await other.close();
  }
  for (const scene of ["trouble", "empty"]) {
    mock.set(scene);
    for (const [size, scheme] of [["wide", "light"], ["wide", "dark"], ["narrow", "light"]]) {
      const other = await open(size, scheme);
      await other.waitForTimeout(3000);
      await shot(other, `${scene}-${size}-${scheme}`, size === "narrow");
      await other.close();
    }
  }
  mock.set("live");
  await page.waitForTimeout(2000);
  for (const s of mock.servers) {
    s.close();
    s.closeAllConnections();
  }
  await page.waitForTimeout(5000);
  await shot(page, "offline-wide-light");
} finally {
  await browser.close();
  mock.stop();
}
