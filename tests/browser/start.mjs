// A person who follows the guides of "Get started" by what the screen says alone, from nothing to finished: a delegator at the console of
// `millrace up`, a GPU owner at that of a transcoder, an operator at that of a broadcaster, both started by the file and the command shown.
//   node start.mjs CONSOLE_URL MILLRACE
// Prints one line of JSON for each thing seen, with the clicks and seconds that each guide took, and exits 0; or says what was not seen and
// exits 1. MILLRACE_SHOTS names a folder for pictures.
import { spawn } from "node:child_process";
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { look, settle } from "./screens.mjs";
import { install, newAccount, open } from "./wallet.mjs";

const [url, millrace] = process.argv.slice(2);
/** The longest of a guide's waits: devices are measured, a stream begins, a segment is transcoded, on a busy machine. */
const STEP_MS = 60_000;
/** From SIGTERM to the exit of a node. */
const DRAIN_MS = 20_000;
const saw = (what, facts = {}) => console.log(JSON.stringify({ saw: what, ...facts }));
const expect = (holds, what) => {
  if (!holds) throw new Error(what);
};

const dir = mkdtempSync(join(tmpdir(), "millrace-start-"));
const children = [];
const start = (program, args, name) => {
  const log = openSync(join(dir, `${name}.log`), "a");
  const child = spawn(program, args, { cwd: dir, stdio: ["ignore", log, log] });
  children.push(child);
  return child;
};
const stop = (child) =>
  new Promise((gone) => {
    if (child.exitCode !== null || child.signalCode !== null) return gone();
    const hard = setTimeout(() => child.kill("SIGKILL"), DRAIN_MS);
    child.once("exit", () => (clearTimeout(hard), gone()));
    child.kill("SIGTERM");
  });
/** A port that was free a moment ago. */
const freePort = () =>
  new Promise((found) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => found(port));
    });
  });
/** A command as it is on the screen, run where its files are. */
const run = (command, more = []) => {
  const [program, ...args] = command.split(" ");
  expect(program === "millrace", `the screen says to run ${command}`);
  return { program: millrace, args: [...args, ...more] };
};
/** An encoder with a small moving picture, so that one rendition is made. */
const publish = (to, name) =>
  start("ffmpeg", ["-loglevel", "error", "-re", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=30", "-f", "lavfi", "-i", "sine=frequency=330:sample_rate=48000", "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-b:v", "800k", "-g", "60", "-c:a", "aac", "-f", "flv", to], name);

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required"],
});
let page;
try {
  const net = await open(url);
  const account = await newAccount(net, "10", "1000");
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  context.setDefaultTimeout(STEP_MS);
  const errors = [];
  const wallet = await install(context, net, account);
  page = await context.newPage();
  page.on("pageerror", (error) => errors.push(error.message));
  const id = (name) => page.getByTestId(name);
  let clicks = 0;
  const click = async (locator) => {
    await locator.click();
    clicks += 1;
  };
  const type = (name, value) => page.locator(`input[data-testid=field-${name}]`).or(id(`field-${name}`).locator("input")).fill(value);
  /** An action's dialog from its review to the wallet. */
  const send = async () => {
    await id("review").or(id("send")).first().waitFor();
    if (await id("review").isVisible()) await click(id("review"));
    await click(id("send"));
    await page.getByRole("dialog").waitFor({ state: "hidden" });
  };

  /** What a person does at what a step offers; by the test id of what is offered. */
  const hands = {
    "connect-here": async () => {
      await id("wallet").waitFor();
      // Who declines is told so, and may try again where they are.
      wallet.declines = true;
      await id("wallet").click();
      await page.getByRole("dialog").getByText("You declined it").waitFor();
      await click(id("wallet"));
    },
    "wrong-chain": async (offered) => click(offered.getByRole("button")),
    "action-send-mill": send,
    "action-send-coin": send,
    "action-lock": send,
    "action-add-key": async () => {
      await type("cap", "0.1");
      await send();
    },
    "action-delegate": async () => {
      await type("amount", "100");
      await send();
    },
    choose: () => {},
    watch: async () => {
      await page.waitForFunction(() => Number(document.querySelector("[data-testid=player]")?.dataset.currentTime) > 2);
      await page.goBack();
    },
  };
  /** What is not clicked, but done elsewhere. */
  const elsewhere = {
    run: async (offered) => {
      const { program, args } = run(await offered.textContent(), ["--json"]);
      const made = start(program, args, "key");
      await new Promise((done) => made.once("exit", done));
      hands.key = JSON.parse(readFileSync(join(dir, "key.log"), "utf8")).key;
    },
    ffmpeg: async (offered) => {
      const [, to] = /"(rtmp:\/\/[^"]+)\/KEY"/.exec(await offered.textContent());
      publish(`${to}/${hands.key}`, "encoder");
    },
  };

  /** Follows a guide until it is finished. */
  async function follow(name) {
    const began = Date.now();
    const guide = page.locator(`[data-testid=guide][data-guide=${name}]`);
    await guide.waitFor();
    clicks = 0;
    let reloaded = false;
    const deadline = began + 5 * STEP_MS;
    for (;;) {
      const count = await guide.getAttribute("data-done");
      if (count === (await guide.getAttribute("data-of"))) break;
      expect(Date.now() < deadline, `the guide ${name} is at ${await guide.innerText()}`);
      const turn = guide.locator("[data-testid=step]:is([data-state=next], [data-state=wrong])").first();
      const what = [...Object.keys(hands), ...Object.keys(elsewhere)].map((testid) => `[data-testid="${testid}"]`).join(", ");
      const offered = turn.locator(what).first();
      if (!(await offered.isVisible())) {
        await page.waitForTimeout(200);
        continue;
      }
      const [testid, stepName] = [await offered.getAttribute("data-testid"), await turn.getAttribute("data-step")];
      const words = await turn.locator("p").first().textContent();
      const it = page.locator(`[data-guide=${name}] [data-step=${stepName}] [data-testid="${testid}"]`).first();
      if (hands[testid]) {
        if (testid !== "wrong-chain") await click(it);
        await hands[testid](it);
      } else {
        await elsewhere[testid](it);
      }
      // It is gone once the chain or the node says so.
      await it.waitFor({ state: "detached" });
      saw(`${name}: ${stepName}`, { words, by: testid });
      if (!reloaded && testid !== "wrong-chain") {
        // Nothing is stored: the next page knows as much.
        const before = await done(guide);
        await page.reload();
        await page.waitForFunction(([g, steps]) => steps.every((s) => document.querySelector(`[data-guide=${g}] [data-step=${s}][data-state=done]`)), [name, before]);
        reloaded = true;
      }
    }
    await look(page, `start-${name}`);
    const words = await guide.locator("[data-testid=step] p").allTextContents();
    saw(`finished: ${name}`, { clicks, seconds: Math.round((Date.now() - began) / 1000), words });
  }
  const done = (guide) => guide.locator("[data-testid=step][data-state=done]").evaluateAll((all) => all.map((s) => s.dataset.step));

  /** Starts a node by what the screen says: the file with other ports, since many run on this machine, and the command. */
  async function launch(role, change) {
    const shown = page.locator(`[data-testid=launch][data-role=${role}]`);
    await shown.getByTestId("launch-file").filter({ hasNotText: "..." }).waitFor();
    const command = await shown.getByTestId("launch-command").textContent();
    const port = await freePort();
    const file = (await shown.getByTestId("launch-file").textContent()).replace(/http_listen = .*/, `http_listen = "127.0.0.1:${port}"`);
    writeFileSync(join(dir, `${role}.toml`), change ? change(file) : file);
    const { program, args } = run(command);
    const node = start(program, args, role);
    const home = `http://127.0.0.1:${port}`;
    for (const deadline = Date.now() + STEP_MS; ; await new Promise((next) => setTimeout(next, 200))) {
      if (await fetch(`${home}/healthz`).then((r) => r.ok, () => false)) break;
      expect(node.exitCode === null && Date.now() < deadline, `${command} does not come up: ${readFileSync(join(dir, `${role}.log`), "utf8").slice(-2000)}`);
    }
    saw(`started: ${role}`, { command });
    return home;
  }
  /** The line on Overview, which goes once the guide is finished. */
  const line = async (home, state) => {
    await page.goto(`${home}/`);
    await page.getByTestId("node-name").waitFor();
    await id("start-line").waitFor({ state });
    return state === "visible" ? id("start-line").textContent() : null;
  };

  // A delegator, whose wallet is on another chain.
  wallet.chainId = 1;
  wallet.knows = new Set([1]);
  await page.goto(new URL("/start", url).href);
  await id("open-delegator").click();
  await follow("delegator");

  // A GPU owner. Somebody's stream is live meanwhile, so that there is work.
  const { rtmp_url, keys } = await (await fetch(new URL("/api/v1/ingest", url))).json();
  publish(`${rtmp_url}/${keys[0].key}`, "somebody");
  const { peers } = await (await fetch(new URL("/api/v1/node", url))).json();
  const orchestrator = `${peers.find((p) => p.role === "orchestrator").url}/start`;
  wallet.permitted = false; // each console is a site of its own to a wallet
  await page.goto(orchestrator);
  await page.locator("[data-guide=delegator]").waitFor();
  saw("an orchestrator's console leads delegators, and says how to start the other roles");
  const gpu = await launch("transcoder");
  saw("the line on Overview", { text: await line(gpu, "visible") });
  await id("start-line").getByRole("link").click();
  await look(page, "start-new");
  await follow("transcoder");
  await line(gpu, "hidden");

  // An operator, whose wallet pays for a node with a key of its own.
  wallet.permitted = false;
  await page.goto(orchestrator);
  await id("connect").click();
  await id("wallet").click();
  await id("account").waitFor();
  const rtmp = await freePort();
  const own = await launch("broadcaster", (file) => {
    expect(file.includes(`payer = "${account.account.address}"`), `the file does not name the wallet as its payer: ${file}`);
    return `${file}rtmp_listen = "127.0.0.1:${rtmp}"\n`;
  });
  wallet.permitted = false;
  saw("the line on Overview", { text: await line(own, "visible") });
  await id("start-line").getByRole("link").click();
  await follow("broadcaster");
  await line(own, "hidden");

  expect(wallet.asked.every((method) => !/personal_sign|eth_sign$/.test(method)), `the wallet was asked for ${wallet.asked}`);
  settle();
  if (errors.length > 0) throw new Error(`errors in the page: ${errors.join("; ")}`);
} catch (error) {
  console.error(error.message);
  if (process.env.MILLRACE_SHOTS && page) await page.screenshot({ path: `${process.env.MILLRACE_SHOTS}/failed.png`, fullPage: true }).catch(() => {});
  process.exitCode = 1;
} finally {
  await browser.close();
  // In the order in which a stream flows.
  for (const child of children.toReversed()) await stop(child);
  if (process.exitCode !== 1) rmSync(dir, { recursive: true, force: true });
  else console.error(`the nodes' logs are in ${dir}`);
}
