// The session of this page: who one is, and changes in its name.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { createContext, type ReactNode, useContext, useEffect, useMemo, useState } from "react";
import { ApiError, change } from "../api";
import type { Shape } from "../shapes";
import { readSession, type Session, signOut } from "./api";

const KEY = ["session"];
/** A session may end elsewhere: by a restart of the node, or in another tab. */
const POLL_MS = 60_000;
const RETRY_MS = 5_000;
/** Timers hold no more. */
const LONGEST_MS = 2 ** 31 - 1;

export interface Sessions {
  /** Null until the node has answered. */
  session: Session | null;
  /** It ended by itself, in this page's lifetime. */
  expired: boolean;
  /** Whether the dialog is open. */
  asking: boolean;
  ask: (open?: boolean) => void;
  opened: (session: Session) => void;
  /** Asks the node anew: another life of it knows no session of the one before. */
  recheck: () => void;
  leave: () => Promise<void>;
  /** Changes something at this node; rejects with an `ApiError`. */
  change: <T>(method: "POST" | "DELETE", path: string, body: object | null, shape: Shape<T> | null) => Promise<T>;
}

export const SessionContext = createContext<Sessions | null>(null);

export function useSession(): Sessions {
  const sessions = useContext(SessionContext);
  if (!sessions) throw new Error("a page was drawn outside the frame");
  return sessions;
}

export function SessionProvider({ children }: { children: ReactNode }) {
  const cache = useQueryClient();
  const [asking, setAsking] = useState(false);
  const [expired, setExpired] = useState(false);
  const { data } = useQuery({
    queryKey: KEY,
    queryFn: async ({ signal }) => {
      const before = cache.getQueryData<Session>(KEY);
      const now = await readSession(signal);
      if (before?.who === "owner" && now.who !== "owner") setExpired(true);
      return now;
    },
    refetchInterval: (query) => (query.state.status === "error" ? RETRY_MS : POLL_MS),
  });
  const session = data ?? null;

  const until = session?.expires_at;
  useEffect(() => {
    if (!until) return;
    const end = setTimeout(() => void cache.invalidateQueries({ queryKey: KEY }), Math.min(LONGEST_MS, Math.max(0, until - Date.now()) + 500));
    return () => clearTimeout(end);
  }, [until, cache]);

  const value = useMemo<Sessions>(() => {
    /** What may be read has changed. */
    const anew = (now: Session | null) => {
      if (now) cache.setQueryData(KEY, now);
      void cache.invalidateQueries({ predicate: (query) => query.queryKey[0] !== "chain" });
    };
    return {
      session,
      expired,
      asking,
      ask: (open = true) => setAsking(open),
      opened: (now) => {
        setExpired(false);
        setAsking(false);
        anew(now);
      },
      recheck: () => void cache.invalidateQueries({ queryKey: KEY }),
      leave: async () => {
        await signOut(session?.csrf ?? null);
        setExpired(false);
        // What only an owner may see does not stay on the page.
        cache.setQueryData(KEY, await readSession());
        cache.removeQueries({ queryKey: ["", "keys"] });
        anew(null);
      },
      change: async (method, path, body, shape) => {
        try {
          return await change(method, path, body, shape, session?.csrf ?? null);
        } catch (error) {
          // The session may be over, or another tab's: the next try has the one of now.
          if (error instanceof ApiError && (error.status === 401 || error.status === 403)) void cache.invalidateQueries({ queryKey: KEY });
          throw error;
        }
      },
    };
  }, [session, expired, asking, cache]);

  return <SessionContext value={value}>{children}</SessionContext>;
}
