// What the page knows: the node that served it, the peers that node names, and what each of them tells or, where it does not tell by itself,
// answers when it is asked.
// Nothing is drawn here; words.ts judges it and the panels show it.
import { useQueries, useQuery } from "@tanstack/react-query";
import { ApiError, get, type Ingest, type NodeInfo, type Peer, type Segment, type Setting, type Stream, type Tickets, type Transcoder } from "./api";
import { topicsOf, useEvents } from "./live/events";
import { LOG_KEY } from "./live/log";
import { CONFIG, INGEST, NODE, SEGMENTS, type Shape, STREAMS, TICKETS, TRANSCODERS } from "./shapes";

/** Live figures of a node whose events do not come are asked for once a second; TanStack Query asks nothing while the page is hidden and never
 * twice at once. */
const POLL_MS = 1_000;
/** A node's balance and block are no event; and by this it is noticed that one is away. */
const NODE_MS = 2_000;
/** Who is not let in is let in by signing in, which asks anew at once. */
const CLOSED_MS = 30_000;
/** A node that failed is asked less often, so that a dead one costs little and a restarted one shows soon. */
const RETRY_MS = 3_000;
/** A node reads its configuration once, when it starts. */
const CONFIG_MS = 30_000;
/** Keys change when an operator edits the configuration: seldom. */
const SLOW_MS = 10_000;
/** Nodes asked at most: some three requests each a second, so a page on a large network does not become a load on it. */
export const MAX_NODES = 32;
/** Rows of each list, as many as nodes give unless asked for more. */
const ROWS = 50;

/** One answer that is polled. Data outlives a failure: what was last known stays on the page, marked as old. */
export interface Answer<T> {
  data: T | undefined;
  error: ApiError | null;
  /** When `data` came, 0 for never. */
  at: number;
}

/** A node: what its peers say of it, and what it says itself. `url` is empty for the node that served the page. */
export interface Seen {
  url: string;
  role: string;
  name: string;
  info: Answer<NodeInfo>;
}

/** An item and the node that told it. */
export interface From<T> {
  node: Seen;
  item: T;
}

/** What a panel draws: `ready` may still carry `trouble`, when some of the nodes asked did not answer; `closed` is what is not for everybody. */
export type Load<T> = { state: "loading" } | { state: "closed" } | { state: "failed"; message: string } | { state: "ready"; data: T; trouble: string | null };

export interface Network {
  root: Answer<NodeInfo>;
  nodes: Seen[];
  /** Whether this page's own node tells what changes by itself. */
  told: boolean;
  /** Nodes that are known of but not asked. */
  unasked: number;
  streams: Load<From<Stream>[]>;
  ingest: Load<From<Ingest>[]>;
  transcoders: Load<From<Transcoder>[]>;
  segments: Load<From<Segment>[]>;
  tickets: Load<From<Tickets>[]>;
}

/** Asks one path of several nodes, each on its own beat: those among `told` tell it by themselves. */
export function useAnswers<T>(path: string, shape: Shape<T>, urls: string[], every = POLL_MS, told?: ReadonlySet<string>): Answer<T>[] {
  return useQueries({
    queries: urls.map((url) => ({
      queryKey: [url, path],
      queryFn: ({ signal }: { signal: AbortSignal }) => get<T>(url, path, shape, signal),
      refetchInterval: (query: Parameters<typeof beat>[0]) => beat<number | false>(query, told?.has(url) ? false : every),
    })),
    combine: (results) => results.map((r): Answer<T> => ({ data: r.data as T | undefined, error: r.error as ApiError | null, at: r.dataUpdatedAt })),
  });
}

/** Whether the node answers this only to those whom it knows. */
export function isClosed(error: Error | null | undefined): boolean {
  return error instanceof ApiError && (error.status === 401 || error.status === 403);
}

/** When to ask anew: what answers is asked for `every` so many milliseconds. */
export function beat<T extends number | false>({ state }: { state: { status: string; error: Error | null } }, every: T): T | number {
  return isClosed(state.error) ? CLOSED_MS : state.status === "error" ? RETRY_MS : every;
}

/** The whole network as this page sees it, with the lines of its own node's log where they are looked at. Peers are followed for two hops, from
 * any role that reaches all of them; a stranger follows none, as their addresses are those of the node's own machine, and nor does anybody before
 * the node has said who one is: `known` is null until then. */
export function useNetwork(known: boolean | null, log: boolean): Network {
  const own = useAnswers<NodeInfo>("node", NODE, [""], NODE_MS);
  const root = own[0]!;
  const near = known ? unseen(root.data?.peers ?? [], []) : [];
  const nearAnswers = useAnswers<NodeInfo>("node", NODE, near.slice(0, MAX_NODES - 1).map((p) => p.url), NODE_MS);
  const far = unseen(nearAnswers.flatMap((a) => a.data?.peers ?? []), near);
  const farAnswers = useAnswers<NodeInfo>("node", NODE, far.slice(0, Math.max(0, MAX_NODES - 1 - near.length)).map((p) => p.url), NODE_MS);

  const seen = (peer: Peer, info: Answer<NodeInfo>): Seen => ({ url: peer.url, role: info.data?.role ?? peer.role, name: info.data?.name ?? peer.name, info });
  const nodes = once([
    seen({ url: "", role: "", name: "this node" }, root),
    ...nearAnswers.map((a, i) => seen(near[i]!, a)),
    ...farAnswers.map((a, i) => seen(far[i]!, a)),
  ]);

  const of = (...roles: string[]) => nodes.filter((n) => roles.includes(n.role));
  const urls = (some: Seen[]) => some.map((n) => n.url);
  const broadcasters = of("broadcaster");
  const orchestrators = of("orchestrator");
  // The orchestrator verified the segments; without one, the node that served the page shows its own log.
  const loggers = orchestrators.length > 0 ? orchestrators : nodes.filter((n) => n.url === "" && n.info.data);
  const all = of("broadcaster", "orchestrator", "transcoder");
  const told = useEvents((known ? all : []).filter((n) => n.info.data).map(({ url, role }) => ({ url, topics: [...topicsOf(role), ...(log && url === "" ? [LOG_KEY] : [])] })));
  const transcoders = merge(orchestrators, useAnswers<Transcoder[]>("transcoders", TRANSCODERS, urls(orchestrators), POLL_MS, told), root);

  return {
    root,
    nodes,
    told: told.has(""),
    unasked: near.length + far.length - nearAnswers.length - farAnswers.length,
    streams: merge(broadcasters, useAnswers<Stream[]>("streams", STREAMS, urls(broadcasters), POLL_MS, told), root),
    ingest: merge(broadcasters, useAnswers<Ingest>("ingest", INGEST, urls(broadcasters), SLOW_MS), root),
    transcoders: known ? transcoders : { state: known === null ? "loading" : "closed" },
    segments: latest(merge(loggers, useAnswers<Segment[]>("segments", SEGMENTS, urls(loggers), POLL_MS, told), root)),
    tickets: merge(all, useAnswers<Tickets>("tickets", TICKETS, urls(all), POLL_MS, told), root),
  };
}

interface Asked {
  /** Unless it is not to be asked for at all. */
  enabled?: boolean;
  /** A node without the call, as one that does not record, has nothing to list. */
  mayLack?: boolean;
}

/** A list of this node's own that is no part of the network, asked for `every` so many milliseconds. */
export function useOwn<T>(path: string, shape: Shape<T[]>, every: number, { enabled = true, mayLack = false }: Asked = {}): Load<T[]> {
  const { data, error } = useQuery({
    queryKey: ["", path],
    enabled,
    queryFn: ({ signal }) =>
      get<T[]>("", path, shape, signal).catch((error: unknown): T[] => {
        if (mayLack && error instanceof ApiError && error.status === 404) return [];
        throw error;
      }),
    refetchInterval: (query) => beat(query, every),
  });
  if (isClosed(error)) return { state: "closed" };
  const trouble = error ? `This node ${error.message}` : null;
  if (data) return { state: "ready", data, trouble };
  return trouble ? { state: "failed", message: trouble } : { state: "loading" };
}

/** The configuration of the node that served the page. */
export const useConfig = (enabled = true): Load<Setting[]> => useOwn<Setting>("config", CONFIG, CONFIG_MS, { enabled });

/** Peers that are not among `before`, without the page's own origin and each once, by URL. */
export function unseen(peers: Peer[], before: Peer[]): Peer[] {
  const urls = new Set(before.map((p) => p.url));
  const fresh: Peer[] = [];
  for (const peer of peers) {
    const url = origin(peer.url);
    if (!url || urls.has(url) || url === globalThis.location?.origin) continue;
    urls.add(url);
    fresh.push({ ...peer, url });
  }
  return fresh;
}

/** Only http(s) URLs are followed: a peer's word is not trusted with any other scheme. */
function origin(url: string): string | null {
  const parsed = URL.canParse(url) ? new URL(url) : null;
  return parsed && /^https?:$/.test(parsed.protocol) ? parsed.origin : null;
}

/** One node may be reachable by two URLs (localhost and 127.0.0.1): it is kept once, by role and address. */
function once(nodes: Seen[]): Seen[] {
  const keys = new Set<string>();
  return nodes.filter((n) => {
    const key = n.info.data ? `${n.info.data.role} ${n.info.data.address.toLowerCase()}` : n.url;
    return !keys.has(key) && keys.add(key);
  });
}

/** Joins the answers of several nodes to one list, and says what is missing from it. */
export function merge<T>(nodes: Seen[], answers: Answer<T | T[]>[], root: Answer<NodeInfo>): Load<From<T>[]> {
  if (nodes.length === 0) {
    if (root.data) return { state: "ready", data: [], trouble: null };
    return root.error ? { state: "failed", message: `This node ${root.error.message}` } : { state: "loading" };
  }
  if (answers.every((a) => isClosed(a.error))) return { state: "closed" };
  const failed = new Map<string, Seen[]>();
  nodes.forEach((n, i) => {
    const error = answers[i]?.error;
    const message = isClosed(error) ? "is not open to this page" : error?.message;
    if (message) failed.set(message, [...(failed.get(message) ?? []), n]);
  });
  const trouble = failed.size > 0 ? [...failed].map(([message, some]) => `${some.map((n) => n.name).join(", ")} ${message}`).join("; ") : null;
  const data = nodes.flatMap((node, i) => {
    const { data, error } = answers[i] ?? {};
    // What was for its owner's eyes is not kept for whoever comes after.
    return data === undefined || isClosed(error) ? [] : (Array.isArray(data) ? data : [data]).map((item) => ({ node, item }));
  });
  if (answers.some((a) => a.data !== undefined)) return { state: "ready", data, trouble };
  return trouble && answers.every((a) => a.error) ? { state: "failed", message: trouble } : { state: "loading" };
}

/** Names of nodes by their address in lower case. */
export function namesOf(nodes: Seen[]): Map<string, string> {
  return new Map(nodes.flatMap((n) => (n.info.data ? [[n.info.data.address.toLowerCase(), n.info.data.name] as const] : [])));
}

function latest(load: Load<From<Segment>[]>): Load<From<Segment>[]> {
  if (load.state !== "ready") return load;
  return { ...load, data: load.data.toSorted((a, b) => b.item.at - a.item.at).slice(0, ROWS) };
}
