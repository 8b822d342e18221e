// A person with a wallet at the console of `millrace up`: every action of Stake and Funds once, and what goes wrong.
//   node stake.mjs CONSOLE_URL
// Prints one line of JSON for each thing seen and exits 0, or says what was not seen and exits 1. MILLRACE_SHOTS names a folder for pictures.
import { chromium } from "playwright-core";
import { encodeFunctionData, encodeAbiParameters, getAddress, keccak256, numberToHex, parseEther, parseUnits, toHex } from "viem";
import { privateKeyToAccount, generatePrivateKey } from "viem/accounts";
import { look, settle } from "./screens.mjs";
import { BROKER, install, newAccount, open, REGISTRY } from "./wallet.mjs";

const [url] = process.argv.slice(2);
/** Simulation, signature, a block a second: each step takes one or two; a busy machine takes longer. */
const STEP_MS = 30_000;
const saw = (what, facts = {}) => console.log(JSON.stringify({ saw: what, ...facts }));
const expect = (holds, what) => {
  if (!holds) throw new Error(what);
};

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
let page;
try {
  const net = await open(url);
  const { registry, broker } = net.facts.contracts;
  const account = await newAccount(net, "10", "1000");
  const me = account.account.address;
  const orchestrator = (await (await fetch(new URL("/api/v1/node", url))).json()).peers.find((p) => p.role === "orchestrator");
  const operator = getAddress((await (await fetch(new URL("/api/v1/node", orchestrator.url))).json()).address);

  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  context.setDefaultTimeout(STEP_MS);
  const errors = [];
  const wallet = await install(context, net, account);
  page = await context.newPage();
  page.on("pageerror", (error) => errors.push(error.message));
  const id = (name) => page.getByTestId(name);
  const dialog = page.getByRole("dialog");
  const go = async (path) => page.goto(new URL(path, url).href);
  const fill = (name, value) => id(`field-${name}`).locator("input").or(page.locator(`input[data-testid=field-${name}]`)).fill(value);
  /** Opens an action, fills it in and looks at what it would do. */
  const review = async (name, fields = {}, within = page) => {
    await within.getByTestId(`action-${name}`).click();
    for (const [field, value] of Object.entries(fields)) await fill(field, value);
    await id("review").click();
  };
  /** Waits until the newest transaction that the page sent is in this state. */
  const until = (state) => page.locator(`[data-testid=sent]:first-child[data-state=${state}]`).waitFor();
  /** The whole of an action: reviewed, sent, in a block. */
  const act = async (name, fields = {}, within = page) => {
    await review(name, fields, within);
    await id("reviewed").waitFor();
    const cost = await id("cost").getAttribute("data-wei");
    expect(BigInt(cost) > 0n, `${name} costs ${cost} wei`);
    const changes = await id("reviewed").locator("li").allTextContents();
    const newest = await id("sent").evaluateAll(([first]) => first?.dataset.hash ?? null);
    await id("send").click();
    await page.locator(`[data-testid=sent]:first-child:not([data-hash="${newest}"]):is([data-state=mined], [data-state=final])`).waitFor();
    await dialog.waitFor({ state: "hidden" });
    saw(`done: ${name}`, { cost, changes });
  };
  /** Waits until an attribute is as it should be. */
  const shows = (testid, attribute, value) => page.locator(`[data-testid=${testid}][data-${attribute}="${value}"]`).waitFor({ state: "attached" });
  /** What the dialog says against it. */
  const refused = async (pattern) => {
    await dialog.getByText(pattern).first().waitFor();
    const text = await dialog.getByText(pattern).first().textContent();
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "hidden" });
    saw("refused", { text });
  };
  const mill = (amount) => parseEther(amount).toString();
  const later = async (seconds) => {
    await net.rpc("evm_increaseTime", numberToHex(seconds));
    await net.rpc("evm_mine");
  };
  const actions = { me, orchestrator: operator };

  // Connecting: a wallet that declines, then one that is on another chain, which it learns of.
  await go("/stake");
  await id("connect").click();
  wallet.declines = true;
  await id("wallet").click();
  await dialog.getByText("You declined it").waitFor();
  saw("a wallet that declines");
  wallet.chainId = 1;
  wallet.knows = new Set([1]);
  await id("wallet").click();
  await id("account").waitFor();
  await page.getByText("Wrong chain").waitFor();
  await id("account").click();
  await id("wrong-chain").getByRole("button").click();
  await page.getByText("Wrong chain").waitFor({ state: "hidden" });
  expect(Number(wallet.added.chainId) === net.facts.id && wallet.added.rpcUrls[0] === net.facts.rpc_url, `the wallet was told of ${JSON.stringify(wallet.added)}`);
  await page.keyboard.press("Escape");
  saw("connected", { account: await id("account").getAttribute("data-address") });
  await page.reload();
  await id("account").waitFor();
  saw("still connected after a reload");

  // An operator.
  await id("action-register").click();
  await page.getByRole("checkbox", { name: "checker" }).check();
  await fill("bond", "5000");
  await id("review").click();
  await refused(/At most 1\s?000 MILL: that is all the MILL that the account has/);
  await id("action-register").click();
  await page.getByRole("checkbox", { name: "checker" }).check();
  await fill("bond", "99.9999");
  await fill("commission", "50.01");
  await id("review").click();
  await dialog.getByText(/At least 100 MILL/).waitFor();
  await dialog.getByText(/At most 50 %/).waitFor();
  await fill("bond", "100.1234567890123456789");
  await id("review").click();
  await refused(/At most 18 digits after the point/);
  wallet.declines = true;
  await id("action-register").click();
  await page.getByRole("checkbox", { name: "checker" }).check();
  await fill("bond", "150");
  await id("review").click();
  await refused(/You declined it in the wallet/);
  await id("action-register").click();
  await page.getByRole("checkbox", { name: "checker" }).check();
  await fill("uri", "quic://checker.example:4433");
  await fill("bond", "150");
  await fill("commission", "7.5");
  await id("review").click();
  await id("reviewed").waitFor();
  await look(page, "review");
  wallet.declines = true;
  await id("send").click();
  await refused(/You declined it in the wallet/);
  await id("action-register").click();
  await page.getByRole("checkbox", { name: "checker" }).check();
  await fill("bond", "150");
  await fill("commission", "7.5");
  await id("review").click();
  await id("send").click();
  await until("final");
  await shows("own", "bond", mill("150"));
  await shows("own", "commission", "750");
  saw("registered");
  await act("update", { uri: "quic://checker2.example:4433" });
  await act("bond", { amount: "50" });
  await shows("own", "bond", mill("200"));
  await review("commission", { percent: "20" });
  await refused(/Up to 12.5 % can be announced now/);
  await act("commission", { percent: "5" });
  await review("unbond", { amount: "150" });
  await refused(/50 MILL would be left, and the least bond is 100 MILL/);
  await act("unbond", { amount: "60" });
  await shows("own", "unbonding", mill("60"));
  expect(await id("action-withdraw-bond").isDisabled(), "an unbonding bond can be withdrawn at once");
  await later(7 * 86_400 + 1);
  await page.locator("[data-testid=action-withdraw-bond]:enabled").waitFor();
  await act("withdraw-bond");
  await shows("own", "unbonding", "0");

  // A delegator.
  await page.locator(`[data-testid=operator][data-address="${operator}"] a`).click();
  await page.getByTestId("delegation").waitFor();
  await review("delegate", { amount: "2000" });
  await refused(/At most/);
  await act("delegate", { amount: "100" });
  await shows("delegation", "amount", mill("100"));
  await net.call(net.treasury, registry, REGISTRY, "payFees", [operator], parseEther("0.01"));
  await page.locator("[data-testid=action-claim-fees]:enabled").waitFor();
  await act("claim-fees");
  await shows("delegation", "fees", "0");
  await act("undelegate", { amount: "40" });
  await shows("delegation", "unbonding", mill("40"));

  // Refused in the end: the state changes between the review and the block.
  await review("undelegate", { amount: "59" });
  await id("reviewed").waitFor();
  await net.call(account, registry, REGISTRY, "undelegate", [operator, parseEther("50")]);
  await id("send").click();
  await refused(/10 MILL are delegated to .*, and 59 MILL were asked for/);

  // Pending over a reload, then replaced, then refused in its block.
  await page.reload();
  await shows("delegation", "amount", mill("10"));
  await net.rpc("evm_setAutomine", false);
  await review("undelegate", { amount: "2" });
  await id("send").click();
  await until("waiting");
  await page.reload();
  await until("waiting");
  saw("pending after a reload", { text: await page.getByTestId("sent").first().textContent() });
  await net.rpc("evm_setAutomine", true);
  await until("final");
  await shows("delegation", "amount", mill("8"));

  await net.rpc("evm_setAutomine", false);
  const nonce = await net.client.getTransactionCount({ address: me });
  await review("undelegate", { amount: "1" });
  await id("send").click();
  await until("waiting");
  const fees = await net.client.estimateFeesPerGas();
  await account.sendTransaction({ to: me, value: 1n, nonce, gas: 21_000n, maxFeePerGas: fees.maxFeePerGas * 4n + 1_000_000n, maxPriorityFeePerGas: fees.maxPriorityFeePerGas * 4n + 1_000n });
  await net.rpc("evm_setAutomine", true);
  await until("replaced");
  saw("replaced", { text: await page.getByTestId("sent").first().textContent() });

  await net.rpc("evm_setAutomine", false);
  await account.sendTransaction({ to: registry, data: encodeFunctionData({ abi: REGISTRY, functionName: "undelegate", args: [operator, parseEther("7")] }), gas: 200_000n });
  await review("undelegate", { amount: "5" });
  await id("send").click();
  await until("waiting");
  await net.rpc("evm_setAutomine", true);
  await until("reverted");
  saw("reverted", { text: await page.getByTestId("sent").first().textContent() });

  await later(7 * 86_400 + 1);
  await page.locator("[data-testid=action-withdraw-delegation]:enabled").waitFor();
  await act("withdraw-delegation");
  await shows("delegation", "unbonding", "0");

  // Funds.
  await go("/funds");
  await shows("funds", "locked", "0");
  await review("lock", { payee: operator, amount: "11" });
  await refused(/At most 9\.\d+ ETH|At most 1\d\.\d+ ETH/);
  await review("lock", { payee: operator.toLowerCase().replace(/.$/, ""), amount: "1" });
  await refused(/0x and 40 hexadecimal digits/);
  const coin = await net.client.getBalance({ address: me });
  await review("lock", { payee: operator, amount: formatExactly(coin) });
  await refused(/too little ETH for the amount and the gas/);
  await act("lock", { payee: operator, amount: "0.5" });
  await shows("funds", "locked", mill("0.5"));
  const lock = page.locator(`[data-testid=lock][data-payee="${operator}"]`);
  await act("lock-more", { amount: "0.25" }, lock);
  await act("lock", { payee: operator, amount: "0.01", payer: net.treasury.account.address });
  await act("unlock", { amount: "0.3" }, lock);
  await shows("lock", "pending", mill("0.3"));
  await act("cancel-unlock", {}, lock);
  await shows("lock", "pending", "0");
  await act("unlock", { amount: "0.75" }, lock);
  expect(await lock.getByTestId("action-withdraw").isDisabled(), "a lock can be withdrawn at once");
  await later(72 * 3600 + 1);
  await lock.locator("[data-testid=action-withdraw]:enabled").waitFor();
  await act("withdraw", {}, lock);
  await shows("lock", "locked", "0");

  const key = privateKeyToAccount(generatePrivateKey()).address;
  await act("add-key", { key, days: "30", cap: "0.1" });
  const keyRow = page.locator(`[data-testid=session-key][data-key="${key}"]`);
  await keyRow.waitFor();
  await review("add-key", { key, days: "9", cap: "0.1" });
  await refused(/its terms never change/);
  await act("revoke-key", {}, keyRow);
  await act("add-carrier", { carrier: key });
  await act("remove-carrier", {}, page.locator(`[data-testid=carrier][data-address="${key}"]`));
  await act("send-mill", { to: net.treasury.account.address, amount: "1" });

  // Credit: a ticket that always wins, of the treasury for this account.
  await credit(net, account, broker);
  await shows("funds", "credit", parseUnits("1", 15).toString());
  await act("claim-credit");
  await shows("funds", "credit", "0");

  // The node is away, and comes back.
  await context.setOffline(true);
  await page.getByText(/This node (cannot be reached|gave no answer)/).first().waitFor();
  await review("send-mill", { to: me, amount: "1" });
  await refused(/does not answer/);
  await context.setOffline(false);
  await page.getByText(/This node (cannot be reached|gave no answer)/).first().waitFor({ state: "hidden" });
  saw("the node went away and came back");

  await id("account").click();
  await id("disconnect").click();
  await id("connect").waitFor();
  expect(wallet.asked.every((method) => !/personal_sign|eth_sign$/.test(method)), `the wallet was asked for ${wallet.asked}`);
  saw("disconnected", { sent: wallet.sent.length, actions });
  settle();
  if (errors.length > 0) throw new Error(`errors in the page: ${errors.join("; ")}`);
} catch (error) {
  console.error(error.message);
  if (process.env.MILLRACE_SHOTS && page) await page.screenshot({ path: `${process.env.MILLRACE_SHOTS}/failed.png`, fullPage: true });
  process.exitCode = 1;
} finally {
  await browser.close();
}

function formatExactly(wei) {
  const text = wei.toString().padStart(19, "0");
  return `${text.slice(0, -18)}.${text.slice(-18)}`;
}

/** Locks coin of the treasury for `payee`, and redeems a ticket over 10^15 wei of it. */
async function credit(net, payee, broker) {
  const payer = net.treasury;
  const [from, to] = [payer.account.address, payee.account.address];
  const faceValue = parseUnits("1", 15);
  await net.call(payer, broker, BROKER, "fund", [to], faceValue);
  const now = (await net.client.getBlock()).timestamp;
  const [nonce, life] = [(now << 24n) | 1n, 86_400n];
  const [payeeRand, payerRand, workHash] = ["payee", "payer", "work"].map((text) => keccak256(toHex(text)));
  const winProb = 2n ** 64n - 1n;
  const ticket = { payer: from, payee: to, faceValue, winProb, nonce, expiry: Number(now + life), payeeCommit: keccak256(encodeAbiParameters([{ type: "bytes32" }], [payeeRand])), payerRand, workHash };
  const signature = await payer.signTypedData({
    domain: { name: "Millrace", version: "1", chainId: net.facts.id, verifyingContract: broker },
    types: {
      Ticket: [
        { name: "payer", type: "address" },
        { name: "payee", type: "address" },
        { name: "faceValue", type: "uint96" },
        { name: "winProb", type: "uint64" },
        { name: "nonce", type: "uint64" },
        { name: "expiry", type: "uint40" },
        { name: "payeeCommit", type: "bytes32" },
        { name: "payerRand", type: "bytes32" },
        { name: "workHash", type: "bytes32" },
      ],
    },
    primaryType: "Ticket",
    message: ticket,
  });
  const s = BigInt(`0x${signature.slice(66, 130)}`);
  const parity = signature.slice(130) === "1c" ? 1n : 0n;
  const terms = (faceValue << 160n) | (winProb << 96n) | (nonce << 32n) | life;
  const winner = { terms, payeeRand, payerRand, workHash, r: signature.slice(0, 66), vs: numberToHex((parity << 255n) | s, { size: 32 }) };
  await net.call(payee, broker, BROKER, "redeem", [from, to, winner]);
}
