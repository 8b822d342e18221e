// An owner at the consoles of `millrace up`, whose broadcaster records: gets in, makes a key and takes it back, reads the log and the
// configuration, deletes a recording, drains a transcoder, comes by HTTPS too; and everybody else is kept out.
//   node operator.mjs CONSOLE_URL KEY_FILE TRANSCODER_URL KEY_FILE HTTPS_URL
// The files hold the nodes' own keys, whose accounts own them. Prints one line of JSON for each thing seen and exits 0, or says what was
// not seen and exits 1. MILLRACE_SHOTS names a folder for pictures.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { chromium } from "playwright-core";
import { look, settle } from "./screens.mjs";
import { install, newAccount, open } from "./wallet.mjs";

const [url, keyFile, workerUrl, workerKeyFile, secureUrl] = process.argv.slice(2);
/** A page, a signature, an event: each takes less than a second; a busy machine takes longer. */
const STEP_MS = 30_000;
/** A publisher is waited for before its stream ends, and then the recording gets its end. */
const ENDED_MS = 60_000;
/** Somebody at another machine, as far as the node can tell. */
const ELSEWHERE = { "x-forwarded-for": "192.0.2.7" };
/** A name that leads to the node, and that nobody has told the node. */
const STRANGE = "node.example";

const saw = (what, facts = {}) => console.log(JSON.stringify({ saw: what, ...facts }));
const expect = (holds, what) => {
  if (!holds) throw new Error(what);
};
const keyIn = (file) => {
  const text = readFileSync(file, "utf8").trim();
  return text.startsWith("0x") ? text : `0x${text}`;
};

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", `--host-resolver-rules=MAP ${STRANGE} 127.0.0.1`],
});
let page;
let encoder;
const errors = [];
try {
  const net = await open(url);
  const owner = net.signer(keyIn(keyFile));
  const stranger = await newAccount(net, "1", "1");
  const come = async (options = {}, account = owner) => {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
    context.setDefaultTimeout(STEP_MS);
    const wallet = await install(context, net, account);
    page = await context.newPage();
    page.on("pageerror", (error) => errors.push(error.message));
    return { context, wallet };
  };
  const id = (name) => page.getByTestId(name);
  const dialog = () => page.getByRole("dialog");
  const go = (path, base = url) => page.goto(new URL(path, base).href);
  const who = (name) => page.locator(`[data-testid=session][data-who=${name}]`).waitFor();
  const refused = async (pattern) => {
    const problem = id("sign-in-problem").getByText(pattern).or(id("sign-in-problem").filter({ hasText: pattern })).first();
    await problem.waitFor();
    saw("refused", { text: await problem.textContent() });
  };
  /** From the header's button to the wallet's answer. */
  const sign = async () => {
    await id("session").click();
    await id("sign-in").or(id("wallet")).first().waitFor();
    if (await id("wallet").isVisible()) await id("wallet").click();
    await id("sign-in").click();
  };

  // Everybody else: the public part, and on each page the way in.
  let { context } = await come();
  const home = new URL(url).origin;
  await context.route("**/*", (route) => (new URL(route.request().url()).origin === home ? route.continue({ headers: { ...route.request().headers(), ...ELSEWHERE } }) : route.abort()));
  for (const path of ["/", "/streams", "/keys", "/recordings", "/segments", "/nodes", "/earnings", "/log", "/config"]) {
    await go(path);
    await id("closed").first().waitFor();
    expect((await page.getByTestId("stream-row").count()) + (await page.getByTestId("log-line").count()) === 0, `${path} shows a stranger what is not for strangers`);
  }
  await who("anyone");
  await id("node-name").waitFor();
  await look(page, "stranger");
  saw("a stranger sees the public part alone");
  await context.close();

  // At a name that the node does not know as its own, nobody signs.
  ({ context } = await come());
  const strange = new URL(url);
  strange.hostname = STRANGE;
  await go("/", strange.href);
  await sign();
  await refused(/is not known as a name of this node.*node\.hosts/);
  await context.close();

  // From this machine: everything to read, and no way to change what is the owner's to change.
  ({ context } = await come({}, stranger));
  await go("/keys");
  await who("this_machine");
  await id("owners-only").waitFor();
  expect(await id("make-key").isDisabled(), "this machine may make a key without signing in");
  const bare = await context.request.post(new URL("/api/v1/keys", url).href, { data: { name: "theirs" } });
  expect(bare.status() === 401, `a key is made without signing in: ${bare.status()}`);
  await sign();
  await refused(/does not own this node/);
  await context.close();

  const came = await come();
  context = came.context;
  await go("/keys");
  await who("this_machine");
  await id("session").click();
  await id("wallet").click();
  await id("sign-in").waitFor();
  came.wallet.declines = true;
  await id("sign-in").click();
  await refused(/You declined it/);
  await look(page, "sign-in");
  await id("sign-in").click();
  await who("owner");
  await dialog().waitFor({ state: "hidden" });
  await page.reload();
  await who("owner");
  saw("signed in, also after a reload", { asked: came.wallet.asked.filter((m) => m === "personal_sign").length });
  const cookie = await context.request.post(new URL("/api/v1/keys", url).href, { data: { name: "theirs" } });
  expect(cookie.status() === 403, `the cookie alone makes a key: ${cookie.status()}`);

  // A key: a name that is none, one that is, its addresses, an encoder, its end.
  const name = `show-${Date.now() % 100_000}`;
  await page.locator("input[data-testid=key-name], [data-testid=key-name] input").fill("a/b");
  await id("make-key").click();
  await page.getByText(/a\/b/).first().waitFor();
  await page.locator("input[data-testid=key-name], [data-testid=key-name] input").fill(name);
  await id("make-key").click();
  await id("made-key").waitFor();
  await look(page, "made-key");
  const keyId = await id("made-key").getAttribute("data-id");
  const command = await id("made-key").locator(".line", { hasText: "ffmpeg" }).locator("code").textContent();
  const rtmp = /"(rtmp:[^"]+)"/.exec(command)[1];
  const row = page.locator(`[data-testid=key][data-id="${keyId}"]`);
  await row.waitFor();
  saw("a key was made", { name, keyId });
  encoder = spawn("ffmpeg", ["-loglevel", "error", "-re", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=15", "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "30", "-f", "flv", rtmp], { stdio: "ignore" });
  await go("/streams");
  await page.locator(`[data-testid=stream-row][data-name="${name}"][data-state=live]`).waitFor();
  await page.locator(`[data-testid=stream-row][data-name="${name}"] [data-testid=thumbnail]`).waitFor();
  await page.waitForFunction((of) => document.querySelector(`[data-testid=stream-row][data-name="${of}"] img`)?.naturalWidth > 0, name, { timeout: STEP_MS });
  await page.locator(`[data-testid=stream-row][data-name="${name}"]`).click();
  await id("delay").waitFor();
  saw("its stream has a picture and a delay", { ms: await id("delay").getAttribute("data-ms") });
  await go("/keys");
  await row.locator('[data-label="last used"] time').waitFor();
  expect((await id("made-key").count()) === 0, "a key is shown twice");
  await look(page, "keys");
  await row.getByTestId("ask-revoke").click();
  await look(page, "revoke");
  await id("confirm-revoke").click();
  await page.locator(`[data-testid=key][data-id="${keyId}"][data-revoked=true]`).waitFor();
  await go("/streams");
  await page.locator(`[data-testid=stream-row][data-name="${name}"][data-state=ended]`).waitFor({ timeout: ENDED_MS });
  saw("revoked: its stream has ended");

  // The log and the configuration.
  await go("/log");
  await id("log-line").first().waitFor();
  await page.locator("input[data-testid=log-filter], [data-testid=log-filter] input").fill(`revoked ${keyId}`);
  await page.waitForFunction((of) => [...document.querySelectorAll("[data-testid=log-line]")].some((line) => line.textContent.includes(of)), keyId);
  expect((await id("log-line").count()) < 5, "the log's filter lets everything through");
  await page.locator("input[data-testid=log-filter], [data-testid=log-filter] input").fill("");
  await id("log").focus();
  await page.keyboard.press("p");
  await id("log-state").getByText("held").waitFor();
  await look(page, "log");
  await page.keyboard.press("p");
  await id("log-state").getByText("following").waitFor();
  // What is said now comes by itself, and by no question of the page's.
  const asked = [];
  page.on("request", (request) => asked.push(new URL(request.url()).pathname));
  const { csrf } = await (await context.request.get(new URL("/api/v1/session", url).href)).json();
  const second = await context.request.post(new URL("/api/v1/keys", url).href, { data: { name: `${name}-b` }, headers: { "x-csrf-token": csrf } });
  const told = (await second.json()).id;
  await page.locator("[data-testid=log-line]", { hasText: told }).waitFor();
  const polled = asked.filter((path) => /\/(streams|segments|tickets|transcoders)$/.test(path));
  expect(polled.length === 0, `the page asks for what is told: ${polled}`);
  saw("the log goes on by itself", { lines: await id("log-line").count(), asked: asked.length });
  await go("/config");
  await page.locator("input[data-testid=config-filter], [data-testid=config-filter] input").fill("node.name");
  await page.locator("[data-testid=setting][data-key='node.name'][data-origin=file]").waitFor();
  await page.locator("input[data-testid=config-filter], [data-testid=config-filter] input").fill("");
  await page.locator("[data-testid=setting][data-key='broadcaster.keys']", { hasText: "set, and secret" }).waitFor();
  await look(page, "config");
  saw("the configuration", { settings: await id("setting").count() });

  // Earnings against luck.
  await go("/earnings");
  await id("ledger-row").first().waitFor({ timeout: ENDED_MS });
  await look(page, "ledger");
  const [file] = await Promise.all([page.waitForEvent("download"), id("csv").click()]);
  const table = readFileSync(await file.path(), "utf8");
  expect(/^time,node,direction,peer,peer_name,face_value_wei/.test(table) && table.split("\r\n").length > 2, `the file of tickets is ${table.slice(0, 200)}`);
  saw("tickets as a file", { name: file.suggestedFilename(), rows: table.split("\r\n").length - 2 });

  // A recording: played, a clip of it, deleted.
  await go("/recordings");
  const recording = page.locator(`[data-testid=recording][data-name="${name}"]`);
  await page.locator(`[data-testid=recording][data-name="${name}"][data-state=ended]`).waitFor({ timeout: ENDED_MS });
  await recording.getByTestId("play").click();
  await page.waitForFunction(() => Number(document.querySelector("[data-testid=player]")?.dataset.currentTime) > 0.5);
  await look(page, "recording");
  await page.locator("input[data-testid=clip-to], [data-testid=clip-to] input").fill("0:02");
  const clip = await context.request.get(new URL(await id("export").getAttribute("href"), url).href);
  expect(clip.status() === 200 && clip.headers()["content-type"] === "video/mp4" && (await clip.body()).length > 1_000, `the clip is ${clip.status()} ${await clip.text()}`);
  const running = page.locator("[data-testid=recording][data-state=recording] [data-testid=ask-delete]");
  if ((await running.count()) > 0) expect(await running.first().isDisabled(), "a recording that goes on can be deleted");
  await recording.getByTestId("ask-delete").click();
  await id("confirm-delete").click();
  await recording.waitFor({ state: "detached" });
  saw("a recording was played, cut and deleted");

  // Out again.
  await id("session").click();
  await id("sign-out").click();
  await who("this_machine");
  await go("/nodes");
  await who("this_machine");
  expect(await id("ask-drain").isDisabled(), "a node can be drained without signing in");
  saw("signed out");
  await context.close();

  // By HTTPS, to the same node: the browser keeps what lets an owner in for this name, and for TLS (or this machine).
  ({ context } = await come({ ignoreHTTPSErrors: true }));
  await go("/keys", secureUrl);
  await sign();
  await who("owner");
  const [sealed, ...others] = (await context.cookies()).filter(({ httpOnly }) => httpOnly);
  expect(sealed?.name.startsWith("__Host-") && sealed.secure && sealed.sameSite === "Strict" && others.length === 0, `the cookie is ${JSON.stringify([sealed, ...others])}`);
  const safeName = `${name}-safe`;
  await page.locator("input[data-testid=key-name], [data-testid=key-name] input").fill(safeName);
  await id("make-key").click();
  await id("made-key").waitFor();
  saw("signed in by HTTPS, and made a key", { cookie: sealed.name.replace(/[0-9a-f]{8}$/, "…") });
  await id("session").click();
  await id("sign-out").click();
  await who("this_machine");
  await context.close();

  // A transcoder at its own console drains, and whoever started it starts it again.
  ({ context } = await come({}, net.signer(keyIn(workerKeyFile))));
  await go("/nodes", workerUrl);
  await sign();
  await who("owner");
  await id("ask-drain").click();
  await look(page, "drain");
  await id("confirm-drain").click();
  await page.locator("[data-testid=draining]").waitFor();
  saw("it drains", { stage: await id("draining").getAttribute("data-stage") });
  await page.locator("[data-testid=draining][data-stage=back]").waitFor({ timeout: ENDED_MS });
  await who("this_machine");
  await id("session").getByText("Sign in again").waitFor();
  saw("it has drained and is back, and its sessions are over");

  settle();
  if (errors.length > 0) throw new Error(`errors in the page: ${errors.join("; ")}`);
} catch (error) {
  console.error(error.message, errors);
  if (process.env.MILLRACE_SHOTS && page) await page.screenshot({ path: `${process.env.MILLRACE_SHOTS}/failed.png`, fullPage: true }).catch(() => undefined);
  process.exitCode = 1;
} finally {
  encoder?.kill("SIGKILL");
  await browser.close();
}
