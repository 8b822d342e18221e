// Parts of the console that are files of their own: loaded when the browser has nothing to do, or else when they are drawn. The node may be away
// then, or have become another version: the frame stays, and the part follows when the node gives it.
import { type ComponentType, type ReactNode, useSyncExternalStore } from "react";
import { Skeleton } from "./ui";

/** A node that does not answer is asked again like this. */
const RETRY_MS = 3_000;
const ANSWER_MS = 10_000;
/** So often in a row the node must have answered without giving the file: then it is gone. */
const GONE = 2;

interface Part<T> {
  /** Null until it is there; "away" when the last try brought nothing. */
  now: () => T | "away" | null;
  /** Tries once. */
  load: () => Promise<void>;
  /** Tries until it is there, for as long as somebody waits for it: the answer ends that. */
  wait: (changed: () => void) => () => void;
  /** Waits like that for it itself; rejected when the signal ends that. */
  get: (signal: AbortSignal) => Promise<T>;
}

const all: Part<object>[] = [];

/** `name` is what it is known by in this tab. What is large and not for everybody is not loaded `ahead`. */
export function partOf<T extends object>(name: string, load: () => Promise<T>, { ahead = true } = {}): Part<T> {
  let now: T | "away" | null = null;
  let trying: Promise<void> | null = null;
  let withheld = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const waiting = new Set<() => void>();
  const there = () => now !== null && now !== "away";

  const attempt = async () => {
    // Asked first: some browsers keep an import that failed for as long as the page lives.
    const answers = await nodeAnswers();
    try {
      if (!answers) throw new Error("the node is away");
      now = await load();
      reloaded(name, false);
    } catch {
      now = "away";
      withheld = answers ? withheld + 1 : 0;
    }
    trying = null;
    for (const changed of waiting) changed();
  };
  const once = async () => {
    if (!there()) await (trying ??= attempt());
  };
  const persist = async () => {
    await once();
    if (there() || waiting.size === 0) return;
    if (withheld >= GONE && reloaded(name, true)) location.reload();
    clearTimeout(timer);
    timer = setTimeout(() => void persist(), RETRY_MS);
  };
  const part: Part<T> = {
    now: () => now,
    load: once,
    wait: (changed) => {
      waiting.add(changed);
      if (waiting.size === 1) void persist();
      return () => {
        waiting.delete(changed);
        if (waiting.size === 0) clearTimeout(timer);
      };
    },
    get: (signal) =>
      new Promise((resolve, reject) => {
        const look = () => {
          if (now === null || now === "away") return;
          leave();
          resolve(now);
        };
        const leave = part.wait(look);
        look();
        signal.addEventListener("abort", () => {
          leave();
          reject(signal.reason);
        });
      }),
  };
  if (ahead) all.push(part);
  return part;
}

const nodeAnswers = () => fetch("/", { method: "HEAD", cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS) }).then((reply) => reply.ok, () => false);

/** Notes that the page is loaded anew for this part, or that the part came; says whether that is news. A tab that can keep no note is never
 * loaded anew: it might never end. */
function reloaded(name: string, is: boolean): boolean {
  try {
    const key = `reloaded for ${name}`;
    const was = sessionStorage.getItem(key) !== null;
    if (is) sessionStorage.setItem(key, "once");
    else sessionStorage.removeItem(key);
    return was !== is;
  } catch {
    return false;
  }
}

/** The component `name` of a file: `page` says so while it does not come, where anything smaller is just not there yet. */
export function later<K extends string>(load: () => Promise<Record<K, ComponentType>>, name: K, { page = false } = {}) {
  const part = partOf<ComponentType>(name, async () => (await load())[name]);
  function Later(): ReactNode {
    const Drawn = useSyncExternalStore(part.wait, part.now, part.now);
    if (Drawn === "away") return page && <div className="note warn" role="status">The node did not give this page. Asking again every few seconds.</div>;
    return Drawn ? <Drawn /> : page && <Skeleton />;
  }
  // Whoever follows a link does not wait for its page where they were.
  return Object.assign(Later, { preload: async () => void part.load() });
}

const idle = () => new Promise<void>((resolve) => ("requestIdleCallback" in globalThis ? requestIdleCallback(() => resolve()) : setTimeout(resolve, RETRY_MS)));

/** Loads the parts ahead, one after the other, whenever the browser has nothing to do: later the node is not needed for them. */
export async function loadRest(): Promise<void> {
  for (const part of all) {
    await idle();
    await part.load();
  }
}
