// Events of the nodes on the page, put where the answers of the same calls are kept, so that nothing else knows which way they came.
import { type QueryClient, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import type { LogLine } from "../api";
import { LOG, misfit, SEGMENTS, STREAMS, TICKETS, TRANSCODERS } from "../shapes";
import { listen } from "./listen";
import { LOG_KEY, more } from "./log";

/** A node to listen to. */
export interface Place {
  url: string;
  topics: string[];
}

const SHAPES: Record<string, unknown> = { streams: STREAMS, transcoders: TRANSCODERS, segments: SEGMENTS, tickets: TICKETS, log: LOG };

/** What a node of a role tells of. */
export function topicsOf(role: string): string[] {
  if (role === "broadcaster") return ["streams", "segments", "tickets"];
  if (role === "orchestrator") return ["transcoders", "segments", "tickets"];
  return role === "transcoder" ? ["segments", "tickets"] : [];
}

/** Puts an event where its call's answer is. Throws where it is of another shape. */
export function keep(cache: QueryClient, url: string, topic: string, data: unknown): void {
  if (topic === "reset") {
    // The state of the other topics follows by itself; of the log, lines are missing.
    void cache.invalidateQueries({ queryKey: [url, LOG_KEY] });
    return;
  }
  const odd = misfit(data, SHAPES[topic]);
  if (odd) throw new Error(`an event ${topic} does not fit at ${odd}`);
  if (topic === LOG_KEY) cache.setQueryData<LogLine[]>([url, LOG_KEY], (before) => more(before, data as LogLine[]));
  else cache.setQueryData([url, topic], data);
}

/** Listens to these nodes, once each. The URLs of those whose events flow. */
export function useEvents(places: Place[]): ReadonlySet<string> {
  const cache = useQueryClient();
  const [flowing, setFlowing] = useState<ReadonlySet<string>>(new Set());
  const open = useRef(new Map<string, () => void>());
  const wanted = JSON.stringify(places);

  useEffect(() => {
    const now = new Map((JSON.parse(wanted) as Place[]).map((place) => [JSON.stringify(place), place]));
    for (const [key, close] of open.current) {
      if (now.has(key)) continue;
      close();
      open.current.delete(key);
    }
    for (const [key, { url, topics }] of now) {
      if (open.current.has(key)) continue;
      const flows = (does: boolean) => {
        if (does && topics.includes(LOG_KEY)) void cache.invalidateQueries({ queryKey: [url, LOG_KEY] }); // what was said in between
        setFlowing((before) => (before.has(url) === does ? before : new Set(does ? [...before, url] : [...before].filter((u) => u !== url))));
      };
      open.current.set(key, listen(url, topics, { told: (topic, data) => keep(cache, url, topic, data), flows }));
    }
  }, [wanted, cache]);
  useEffect(() => {
    const all = open.current;
    return () => {
      for (const close of all.values()) close();
      all.clear();
    };
  }, []);
  return flowing;
}
