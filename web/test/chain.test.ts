// What the pages of the chain say and take, without a chain.
import { encodeAbiParameters, encodeErrorResult, encodeEventTopics, parseEther } from "viem";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { brokerAbi } from "../src/abi/broker";
import { registryAbi } from "../src/abi/registry";
import { tokenAbi } from "../src/abi/token";
import type { ChainFacts } from "../src/chain/shape";
import { explain, inWords, moment } from "../src/chain/refusal";
import { formatMill, parseAmount, parsePercent } from "../src/format";
import { fold, type Lives } from "../src/stake/read";
import { check, type Field, roleNames } from "../src/wallet/fields";
import { switchTo } from "../src/wallet/switch";

const NODE = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
const NOW = 1_800_000_000;

describe("refusals", () => {
  const errors = [...registryAbi, ...brokerAbi, ...tokenAbi].filter((e) => e.type === "error");
  test("of the contracts have their figures and the way out", () => {
    const words = (abi: typeof errors, errorName: string, args: unknown[]) => inWords(encodeErrorResult({ abi, errorName, args } as never), NOW);
    expect(words(errors, "BondTooLow", [parseEther("50"), parseEther("100")])).toBe("The bond would be 50 MILL, and the least one is 100 MILL: take all of it, or less.");
    expect(words(errors, "StillUnbonding", [NOW + 90_000])).toContain("(in 1 d 1 h)");
    expect(words(errors, "DelegationTooLarge", [NODE, parseEther("1100"), parseEther("1000")])).toContain("ten times its own bond");
    expect(words(errors, "LockTooSmall", [0n, 1n, parseEther("1")])).toContain("1 ETH were asked for");
    expect(words(errors, "CommissionRiseTooLarge", [2000, 1250])).toContain("up to 12.5 % can be announced");
    expect(words(errors, "ERC20InsufficientBalance", [NODE, 0n, parseEther("2")])).toContain("2 MILL are needed");
    expect(words(errors, "SessionKeyAlreadySet", [NODE])).toContain("its terms never change");
  });
  test("of two contracts by one name are told apart", () => {
    expect(inWords(encodeErrorResult({ abi: brokerAbi, errorName: "NothingToClaim", args: [NODE] }), NOW)).toContain("has no credit");
    expect(inWords(encodeErrorResult({ abi: registryAbi, errorName: "NothingToClaim" }), NOW)).toContain("No fees");
  });
  test("of a strange contract name what came", () => expect(inWords("0xdeadbeef", NOW)).toContain("0xdeadbeef"));
  test("of wallets and nodes are found however deep they are", () => {
    const deep = (code: number, message = "x") => new Error("outer", { cause: Object.assign(new Error("middle"), { cause: Object.assign(new Error(message), { code }) }) });
    expect(explain(deep(4001), NOW)).toContain("declined");
    expect(explain(deep(4902), NOW)).toContain("does not know this chain");
    expect(explain(deep(-32000, "insufficient funds for gas * price + value"), NOW)).toContain("too little ETH");
    expect(explain(deep(-32603, "the node's chain endpoint does not answer"), NOW)).toContain("endpoint does not answer");
    const revert = Object.assign(new Error("x"), { cause: { code: 3, data: encodeErrorResult({ abi: registryAbi, errorName: "NoAmount" }) } });
    expect(explain(revert, NOW)).toBe("The amount is nothing.");
    expect(explain("odd", NOW)).toBe("odd");
  });
  test("a moment says how long it is until then", () => {
    expect(moment(NOW + 3_600, NOW)).toMatch(/\(in 1 h 00 min\)$/);
    expect(moment(NOW, NOW)).not.toContain("in");
  });
});

describe("what is typed", () => {
  const field = (change: Partial<Field>): Field => ({ name: "x", label: "x", kind: "mill", ...change });
  const problem = (f: Field, text: string) => (check(f, text) as { problem?: string }).problem;
  test("amounts are exact, and each limit is named", () => {
    expect(parseAmount(" 1 000.000000000000000001 ")).toBe(1000n * 10n ** 18n + 1n);
    for (const bad of ["", "-1", "1e3", "1,5", ".5", "0x10", "0", "0.0", `1.${"0".repeat(18)}1`]) expect(typeof parseAmount(bad), bad).toBe("string");
    const most = { value: parseEther("5"), why: "that is all" };
    expect(check(field({ most }), "5")).toEqual({ value: parseEther("5") });
    expect(problem(field({ most }), "5.000000000000000001")).toBe("At most 5 MILL: that is all.");
    expect(problem(field({ least: most }), "4.9")).toContain("At least 5 MILL");
    expect(problem(field({}), "79228162515")).toContain("2^96");
    expect(check(field({ optional: true }), "")).toEqual({ value: "" });
  });
  test("addresses keep their checksum", () => {
    const f = field({ kind: "address" });
    expect(check(f, NODE)).toEqual({ value: NODE });
    expect(check(f, NODE.toLowerCase())).toEqual({ value: NODE.toLowerCase() });
    expect(problem(f, NODE.replace("aAeb", "aaeb"))).toContain("checksum");
    expect(problem(f, `${NODE}0`)).toContain("40 hexadecimal digits");
  });
  test("per cent, days, roles and texts have their bounds", () => {
    expect(parsePercent("7.5 %", 5000)).toBe(750);
    expect(parsePercent("50.01", 5000)).toBe("At most 50 %.");
    expect(typeof parsePercent("7.555", 5000)).toBe("string");
    expect(problem(field({ kind: "days" }), "3651")).toContain("1 to 3650");
    expect(problem(field({ kind: "days" }), "1.5")).toContain("Whole days");
    expect(problem(field({ kind: "roles" }), "0")).toContain("at least one role");
    expect(roleNames(5)).toBe("orchestrator, checker");
    expect(problem(field({ kind: "text", most: { value: 3n, why: "" } }), "äää")).toContain("6 bytes");
  });
  test("amounts of MILL are cut, never rounded up", () => {
    expect(formatMill(parseEther("1234.56789"))).toBe("1\u202f234.5678 MILL");
    expect(formatMill(parseEther("0.00000123"))).toBe("0.0000012 MILL");
    expect(formatMill(1n)).toBe("0.000000000000000001 MILL");
    expect(formatMill(0n)).toBe("0 MILL");
  });
});

test("events of the registry add up for each node", () => {
  const topics = (eventName: string, args: object) => encodeEventTopics({ abi: registryAbi, eventName, args } as never);
  const uint = (...values: bigint[]) => encodeAbiParameters(values.map(() => ({ type: "uint256" })), values);
  const log = (eventName: string, args: object, ...data: bigint[]) => ({ topics: topics(eventName, args), data: uint(...data) });
  const fees = log("FeesPaid", { node: NODE, from: NODE }, 10n, 4n);
  const slash = log("Slashed", { node: NODE, slasher: NODE, prover: NODE }, 1n, 2n, 3n);
  const lives = [fees, slash, fees].reduce<Lives>(fold, {});
  expect(Object.values(lives)).toEqual([{ fees: "20", slashed: "6", slashes: 1 }]);
});

describe("a wallet on another chain", () => {
  const facts = { id: 31_337, name: "local", rpc_url: "http://127.0.0.1:8545" } as ChainFacts;
  const wallet = (...answers: (unknown | Error)[]) => {
    const asked: { method: string; params: unknown[] }[] = [];
    const request = async (call: { method: string; params: unknown[] }) => {
      asked.push(call);
      const answer = answers.shift();
      if (answer instanceof Error) throw answer;
      return answer;
    };
    return { asked, connector: { getProvider: async () => ({ request }) } as never };
  };
  const unknown = Object.assign(new Error("Unrecognized chain ID"), { code: 4902 });
  test("changes to a chain that it knows", async () => {
    const { asked, connector } = wallet(null);
    await switchTo(facts, connector);
    expect(asked).toEqual([{ method: "wallet_switchEthereumChain", params: [{ chainId: "0x7a69" }] }]);
  });
  test("learns of one that it does not know, with the public endpoint", async () => {
    const { asked, connector } = wallet(unknown, null);
    await switchTo(facts, connector);
    expect(asked[1]).toMatchObject({ method: "wallet_addEthereumChain", params: [{ rpcUrls: ["http://127.0.0.1:8545"] }] });
  });
  test("is told nothing where the node names no public endpoint, and the person what to do", async () => {
    const { asked, connector } = wallet(unknown);
    await expect(switchTo({ ...facts, rpc_url: null }, connector)).rejects.toThrow("names no public endpoint");
    expect(asked.length).toBe(1);
  });
  test("that is declined says so", async () => {
    const { connector } = wallet(Object.assign(new Error("User rejected"), { code: 4001 }));
    await expect(switchTo(facts, connector)).rejects.toMatchObject({ code: 4001 });
  });
});

describe("what was sent", () => {
  const hash = (n: number) => `0x${n.toString(16).padStart(64, "0")}` as const;
  beforeEach(() => {
    const kept = new Map<string, string>();
    vi.stubGlobal("localStorage", { getItem: (key: string) => kept.get(key) ?? null, setItem: (key: string, text: string) => kept.set(key, text) });
  });
  test("is kept for each chain and account, newest first, and bounded", async () => {
    const { add, change, forget, isOver, parse } = await import("../src/wallet/store");
    const all = (chain = 1) => parse(localStorage.getItem(`millrace.sent.${chain}.${NODE.toLowerCase()}`));
    for (let n = 1; n <= 30; n += 1) add(1, NODE, { hash: hash(n), what: `number ${n}`, nonce: n });
    add(2, NODE, { hash: hash(99), what: "elsewhere", nonce: null });
    expect(all().length).toBe(20);
    expect(all()[0]).toMatchObject({ hash: hash(30), state: "waiting" });
    change(1, NODE, hash(30), { state: "dropped" });
    expect(isOver(all()[0]!)).toBe(false); // a wallet may send it again
    change(1, NODE, hash(30), { state: "final" });
    expect(isOver(all()[0]!)).toBe(true);
    forget(1, NODE, hash(30));
    expect(all()[0]!.hash).toBe(hash(29));
    expect(all(2).length).toBe(1);
  });
  test("what is in the store and does not fit is left out", async () => {
    const { parse } = await import("../src/wallet/store");
    const good = { hash: hash(1), what: "x", at: 1, nonce: null, state: "waiting", block: null, why: null };
    expect(parse(JSON.stringify([good, null, { ...good, hash: "javascript:alert(1)" }, { ...good, state: "odd" }, 3]))).toEqual([good]);
    for (const bad of [null, "", "{", "{}", "7"]) expect(parse(bad)).toEqual([]);
  });
});
