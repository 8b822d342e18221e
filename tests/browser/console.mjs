// A viewer at the console: opens the live stream, sees it play, picks a level and sees it on the screen, and waits among the earnings until tickets
// are redeemed.
//   node console.mjs CONSOLE_URL LEVEL [SCREENSHOT.png]
// Prints one line of JSON for each thing seen and exits 0, or says what was not seen in time and exits 1.
import { chromium } from "playwright-core";

const [url, level, screenshot] = process.argv.slice(2);
/** First picture: the page, hls.js, and three segments behind live. Generous, since two cores also encode four renditions. */
const PLAY_MS = 60_000;
/** A level change takes effect with the next segment after what is buffered. */
const SWITCH_MS = 40_000;
/** Tickets win by chance, and winners wait for company. */
const REDEEM_MS = 120_000;

const saw = (what, facts = {}) => console.log(JSON.stringify({ saw: what, ...facts }));
const errors = [];

// These two run in the page.
const playing = (since) => {
  const video = document.querySelector("[data-testid=player] video");
  return video && video.videoHeight > 0 && video.currentTime > since + 2;
};
const showing = (height) => {
  const player = document.querySelector("[data-testid=player]");
  return player?.dataset.levelHeight === String(height) && player.querySelector("video").videoHeight === height;
};

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
try {
  const page = await browser.newPage({ viewport: { width: 1440, height: 1000 } });
  page.on("pageerror", (error) => errors.push(error.message));
  const player = page.getByTestId("player");
  /** Waits until `test`, run in the page with `argument`, holds. */
  const until = async (what, test, argument, timeout) => {
    const facts = async () => ((await player.count()) > 0 ? player.evaluate((e) => ({ ...e.dataset })) : { player: "none on the page" });
    await page.waitForFunction(test, argument, { timeout, polling: 100 }).catch(async () => {
      throw new Error(`not within ${timeout / 1000} s: ${what}; last seen: ${JSON.stringify(await facts())}`);
    });
    saw(what, await facts());
  };

  await page.goto(url, { timeout: PLAY_MS });
  await page.locator('[data-testid=stream-row][data-state=live]').first().click({ timeout: PLAY_MS });
  await until("the stream plays", playing, 0, PLAY_MS);
  const before = await page.evaluate(() => document.querySelector("video").currentTime);
  await until("it goes on", playing, before, PLAY_MS);

  await page.getByTestId("level-select").selectOption(level);
  const height = Number.parseInt(level, 10);
  await until(`level ${level} is on the screen`, showing, height, SWITCH_MS);

  if (screenshot) {
    await page.evaluate(() => window.scrollTo(0, 0));
    await page.screenshot({ path: screenshot });
    saw("picture taken", { screenshot });
  }
  await page.getByRole("link", { name: "Earnings" }).click();
  const redeemed = () => BigInt(document.querySelector("[data-testid=redeemed-total]")?.dataset.wei || "0") > 0n;
  await until("tickets are redeemed", redeemed, null, REDEEM_MS);
  saw("the sum", { wei: await page.getByTestId("redeemed-total").getAttribute("data-wei") });

  if (errors.length > 0) throw new Error(`errors in the page: ${errors.join("; ")}`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  await browser.close();
}
