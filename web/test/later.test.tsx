// Parts that are loaded later: by which tries, and what is drawn until they are there.
import { renderToStaticMarkup } from "react-dom/server";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { later, loadRest, partOf } from "../src/later";

const there = { it: "is there" };
const RETRY_MS = 3_000;
let answers: boolean;
let notes: Map<string, string>;
const reload = vi.fn();
const settle = () => vi.advanceTimersByTimeAsync(0);
const retry = () => vi.advanceTimersByTimeAsync(RETRY_MS);

beforeEach(() => {
  vi.useFakeTimers();
  answers = true;
  notes = new Map();
  reload.mockReset();
  vi.stubGlobal("fetch", async () => {
    if (!answers) throw new TypeError("Failed to fetch");
    return { ok: true };
  });
  vi.stubGlobal("location", { reload });
  vi.stubGlobal("sessionStorage", { getItem: (key: string) => notes.get(key) ?? null, setItem: (key: string, to: string) => notes.set(key, to), removeItem: (key: string) => notes.delete(key) });
});
afterEach(() => {
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("a part", () => {
  test("that comes at once is asked for once", async () => {
    const load = vi.fn(async () => there);
    const part = partOf("part", load);
    expect(part.now()).toBe(null);
    await part.load();
    expect(part.now()).toBe(there);
    const changed = vi.fn();
    part.wait(changed)();
    await part.load();
    expect(load).toHaveBeenCalledTimes(1);
    expect(changed).not.toHaveBeenCalled();
  });
  test("that fails twice and then comes, while it is waited for", async () => {
    const load = vi.fn().mockRejectedValueOnce(new TypeError("broke off")).mockRejectedValueOnce(new TypeError("broke off")).mockResolvedValue(there);
    // The tab was loaded anew for it before: it is not again.
    notes.set("reloaded for part", "once");
    const part = partOf("part", load);
    const changed = vi.fn();
    const leave = part.wait(changed);
    await settle();
    expect(part.now()).toBe("away");
    await retry();
    expect(part.now()).toBe("away");
    await retry();
    expect(part.now()).toBe(there);
    expect(changed).toHaveBeenCalledTimes(3);
    expect(reload).not.toHaveBeenCalled();
    // And may be once more when it should be gone another time.
    expect(notes.size).toBe(0);
    leave();
  });
  test("is not imported while the node is away, however long, and comes when it is back", async () => {
    answers = false;
    const load = vi.fn(async () => there);
    const part = partOf("part", load);
    const leave = part.wait(() => {});
    for (let i = 0; i < 100; i += 1) await retry();
    expect(part.now()).toBe("away");
    expect(load).not.toHaveBeenCalled();
    answers = true;
    await retry();
    expect(part.now()).toBe(there);
    expect(reload).not.toHaveBeenCalled();
    leave();
  });
  test("that a node which answers has no more loads the page anew, once", async () => {
    const part = partOf("part", () => Promise.reject(new TypeError("404")));
    const leave = part.wait(() => {});
    await settle();
    expect(reload).not.toHaveBeenCalled();
    for (let i = 0; i < 10; i += 1) await retry();
    expect(reload).toHaveBeenCalledTimes(1);
    leave();
  });
  test("in a tab that keeps no notes never loads the page anew", async () => {
    vi.stubGlobal("sessionStorage", undefined);
    const part = partOf("part", () => Promise.reject(new TypeError("404")));
    const leave = part.wait(() => {});
    for (let i = 0; i < 10; i += 1) await retry();
    expect(reload).not.toHaveBeenCalled();
    leave();
  });
  test("that nobody waits for any more is not tried again", async () => {
    const load = vi.fn(() => Promise.reject(new TypeError("broke off")));
    const part = partOf("part", load);
    // As React does when it is strict.
    part.wait(() => {})();
    const leave = part.wait(() => {});
    await retry();
    expect(load).toHaveBeenCalledTimes(2);
    leave();
    await retry();
    await part.load();
    expect(load).toHaveBeenCalledTimes(3);
    await retry();
    expect(load).toHaveBeenCalledTimes(3);
  });
});

test("a page that is pointed at while the node is away says so where it is drawn, and comes", async () => {
  answers = false;
  const Page = later(async () => ({ Words: () => <p>words</p> }), "Words", { page: true });
  expect(renderToStaticMarkup(<Page />)).toContain('aria-label="Loading"');
  await Page.preload();
  await settle();
  expect(renderToStaticMarkup(<Page />)).toContain("did not give this page");
  answers = true;
  await Page.preload();
  await settle();
  expect(renderToStaticMarkup(<Page />)).toBe("<p>words</p>");
});
test("what is smaller than a page is not there until it is", async () => {
  const Button = later(async () => ({ Button: () => <button type="button">press</button> }), "Button");
  expect(renderToStaticMarkup(<Button />)).toBe("");
  await Button.preload();
  await settle();
  expect(renderToStaticMarkup(<Button />)).toContain("press");
});
test("all are loaded one after the other when the browser is idle, whichever of them fails", async () => {
  const idle: (() => void)[] = [];
  vi.stubGlobal("requestIdleCallback", (run: () => void) => idle.push(run));
  const loaded: string[] = [];
  const parts = ["one", "two", "three"].map((name) =>
    partOf(name, async () => {
      loaded.push(name);
      if (name === "two") throw new TypeError("broke off");
      return there;
    }),
  );
  const rest = loadRest();
  while (loaded.length < 3) {
    const before = loaded.length;
    await settle();
    expect(idle.length).toBe(1);
    expect(loaded.length).toBe(before);
    idle.shift()!();
    await settle();
    expect(loaded.length - before).toBeLessThan(2);
  }
  await rest;
  expect(loaded).toEqual(["one", "two", "three"]);
  expect(parts.map((part) => part.now())).toEqual([there, "away", there]);
});
