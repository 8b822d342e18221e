// Looks at every screen of the console of `millrace up` with its demo, as people do: wide and narrow, light and dark, by keyboard.
//   node looks.mjs CONSOLE_URL
// Prints one line of JSON for each thing seen and exits 0, or says what is wrong and exits 1. MILLRACE_SHOTS names a folder for pictures.
import { chromium } from "playwright-core";
import { parseAbi, parseEther } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { look, settle } from "./screens.mjs";
import { install, newAccount, open } from "./wallet.mjs";

const [url] = process.argv.slice(2);
/** The first segments, on a machine that also encodes and draws. */
const READY_MS = 60_000;
const saw = (what, facts = {}) => console.log(JSON.stringify({ saw: what, ...facts }));

const ABI = parseAbi([
  "function approve(address spender, uint256 value) returns (bool)",
  "function delegate(address node, uint96 amount)",
  "function register(uint8 roles, string serviceURI, bytes32 fingerprint, uint96 bond)",
  "function fund(address payee) payable",
  "function requestUnlock(address payee, uint96 amount)",
  "function setSessionKey(address key, uint40 expiry, uint96 dailyCap)",
  "function setCarrier(address carrier, bool allowed)",
]);

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
try {
  const net = await open(url);
  const { registry, broker, token } = net.facts.contracts;
  const account = await newAccount(net, "10", "1000");
  const info = await (await fetch(new URL("/api/v1/node", url))).json();
  const orchestrator = (await (await fetch(new URL("/api/v1/node", info.peers.find((p) => p.role === "orchestrator").url))).json()).address;
  // An account that has something of everything.
  const other = privateKeyToAccount(generatePrivateKey()).address;
  const now = Number((await net.client.getBlock()).timestamp);
  for (const [at, name, args, value] of [
    [token, "approve", [registry, parseEther("1000")]],
    [registry, "register", [4, "quic://checker.example:4433", `0x${"ab".repeat(32)}`, parseEther("200")]],
    [registry, "delegate", [orchestrator, parseEther("50")]],
    [broker, "fund", [orchestrator], parseEther("0.5")],
    [broker, "requestUnlock", [orchestrator, parseEther("0.2")]],
    [broker, "setSessionKey", [other, now + 864_000, parseEther("0.1")]],
    [broker, "setCarrier", [other, true]],
  ]) await net.call(account, at, ABI, name, args, value);

  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  context.setDefaultTimeout(READY_MS);
  const errors = [];
  const follow = (page) => page.on("pageerror", (error) => errors.push(error.message));
  const wallet = await install(context, net, account);
  const page = await context.newPage();
  follow(page);
  const go = (path) => page.goto(new URL(path, url).href);

  await go("/stake");
  await page.getByTestId("operator").first().waitFor();
  await look(page, "stake-without-wallet");
  await page.getByTestId("connect").click();
  await page.getByTestId("wallet").waitFor();
  await look(page, "wallets");
  await page.getByTestId("wallet").click();
  await page.getByTestId("account").waitFor();

  await go("/");
  await page.getByTestId("segment-row").first().waitFor();
  await look(page, "overview");
  await page.locator("[data-testid=stream-row][data-state=live]").first().click();
  await page.waitForFunction(() => Number(document.querySelector("[data-testid=player]")?.dataset.currentTime) > 3);
  await page.locator('[data-testid=player][data-phase=playing]:not([data-level-name=""])').waitFor();
  await page.locator(".plot canvas").first().waitFor();
  await look(page, "stream");
  const deep = page.url();
  for (const [name, path, shown] of [
    ["streams", "/streams", "stream-row"],
    ["keys", "/keys", "owners-only"],
    ["recordings", "/recordings", "no-recording"],
    ["segments", "/segments", "way-row"],
    ["verification", "/verification", "record-row"],
    ["nodes", "/nodes", "transcoder-row"],
    ["devices", "/devices", "device"],
    ["earnings", "/earnings", "ledger-row"],
    ["stake", "/stake", "own"],
    ["operator", `/stake/${orchestrator}`, "delegation"],
    ["funds", "/funds", "lock"],
    ["start", "/start", "guide"],
    ["start-choose", `/start?guide=delegator&operator=${other}`, "choice"],
    ["log", "/log", "log-line"],
    ["config", "/config", "setting"],
  ]) {
    await go(path);
    await page.getByTestId(shown).first().waitFor();
    if (name === "devices") await page.locator(".plot canvas").first().waitFor();
    if (name === "earnings") await page.getByTestId("luck").waitFor();
    await look(page, name);
  }
  await go(deep);
  await page.getByTestId("player").waitFor();
  saw("a stream by its own link", { url: deep });

  // By keyboard: the way past the navigation, a dialog and back, and always something to see where one is.
  await go("/funds");
  await page.getByTestId("action-add-key").waitFor();
  await page.keyboard.press("Tab");
  const focused = () => page.evaluate(() => document.activeElement?.textContent?.trim().slice(0, 40));
  if ((await focused()) !== "Skip to the page") throw new Error(`the first stop of the keyboard is ${await focused()}`);
  const stops = new Set();
  for (let i = 0; i < 60; i += 1) {
    await page.keyboard.press("Tab");
    const stop = await page.evaluate(() => {
      const e = document.activeElement;
      if (!e || e === document.body) return null;
      const [box, style] = [e.getBoundingClientRect(), getComputedStyle(e)];
      return { name: (e.getAttribute("aria-label") ?? e.textContent).trim().slice(0, 40), seen: box.width > 0 && box.height > 0 && box.right > 0 && (style.outlineStyle !== "none" || style.boxShadow !== "none") };
    });
    if (stop && !stop.seen) throw new Error(`the keyboard stops at ${stop.name}, and nothing shows it`);
    if (stop) stops.add(stop.name);
  }
  for (const name of ["Stake", "Lock coin for a payee", "Announce anew", "Revoke", "Add a carrier"]) {
    if (!stops.has(name)) throw new Error(`the keyboard does not come to ${name}, only to ${[...stops].join(", ")}`);
  }
  // The page is drawn anew each second, and the keyboard stays where it is.
  const copy = page.getByTestId("lock").first().getByRole("button").first();
  await copy.focus();
  await page.waitForTimeout(2_500);
  if (!(await copy.evaluate((button) => button === document.activeElement))) throw new Error("the keyboard is lost in the table of locks");
  await page.getByTestId("action-add-key").focus();
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").waitFor();
  await look(page, "dialog");
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "hidden" });
  // A dialog gives the focus back a moment after it has gone.
  await page.waitForFunction(() => document.activeElement?.textContent?.trim() === "Add a session key", null, { timeout: 5_000 }).catch(async () => {
    throw new Error(`after a dialog the keyboard is at ${await focused()}`);
  });
  saw("the keyboard goes everywhere", { stops: stops.size });

  // On a phone the navigation folds.
  await page.setViewportSize({ width: 390, height: 844 });
  const link = page.getByRole("link", { name: "Earnings" });
  if (await link.isVisible({ timeout: 1000 }) && (await link.boundingBox()).x >= 0) throw new Error("the navigation is open on a phone from the beginning");
  await page.getByRole("button", { name: "Open the navigation" }).click();
  await look(page, "navigation");
  await page.setViewportSize({ width: 390, height: 844 });
  await page.getByRole("link", { name: "Earnings" }).click();
  await page.getByRole("heading", { level: 1, name: "Earnings" }).waitFor();
  saw("the navigation on a phone");

  await page.setViewportSize({ width: 1280, height: 900 });
  await go("/no/such/page");
  await page.getByText("The console has nothing at").waitFor();
  await look(page, "nowhere");

  // The chain does not answer: a wallet is known, and what it has is not.
  await context.route("**/api/v1/rpc", (route) => route.abort());
  await go("/");
  await page.getByTestId("account").waitFor();
  await look(page, "no-balance");
  await context.unroute("**/api/v1/rpc");

  // Parts that the node does not give: the page says so, and they come when it does.
  const first = await (await browser.newContext({ viewport: { width: 1280, height: 900 } })).newPage();
  first.setDefaultTimeout(READY_MS);
  follow(first);
  const withheld = ["**/assets/streams-*", "**/assets/hls-*"];
  for (const part of withheld) await first.route(part, (route) => route.abort());
  // For each it is loaded anew once: looked at is what comes after that.
  const anew = (text, since) => first.waitForFunction(([text, since]) => performance.timeOrigin > since && performance.getEntriesByType("navigation")[0]?.type === "reload" && document.body?.innerText.includes(text), [text, since]);
  await first.goto(deep);
  await anew("The node did not give this page", 0);
  await look(first, "page-withheld");
  const since = await first.evaluate(() => performance.timeOrigin);
  await first.unroute(withheld[0]);
  await anew("The node did not give the player", since);
  await look(first, "player-withheld");
  await first.unroute(withheld[1]);
  await first.waitForFunction(() => Number(document.querySelector("[data-testid=player]")?.dataset.currentTime) > 1);
  saw("what was withheld has come");
  await first.context().close();

  // Away, with old figures; and a browser without a wallet.
  await go("/");
  await page.getByTestId("segment-row").first().waitFor();
  await page.getByTestId("session").waitFor();
  await page.getByTestId("account").locator("span + .address").waitFor({ state: "attached" });
  await context.setOffline(true);
  await page.getByText(/This node (cannot be reached|gave no answer)/).first().waitFor();
  await look(page, "offline");
  await context.setOffline(false);

  const bare = await browser.newPage();
  follow(bare);
  await bare.goto(new URL("/funds", url).href);
  await bare.getByTestId("connect").click();
  await bare.getByTestId("no-wallet").waitFor();
  await look(bare, "no-wallet");
  if (wallet.sent.length > 0) throw new Error("looking sent a transaction");
  settle();
  if (errors.length > 0) throw new Error(`errors in the page: ${errors.join("; ")}`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  await browser.close();
}
