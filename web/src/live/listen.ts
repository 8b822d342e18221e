// One node's events (server-sent), as long as somebody looks at the page. Whoever listens learns what came, and whether anything can come now.

/** A page that nobody has looked at for so long needs no events: browsers give a host six connections, over all tabs. */
export const HIDDEN_MS = 30_000;
/** A node that refuses (too many listeners, not for strangers) is asked again after this; it is polled meanwhile. */
export const REFUSED_MS = 15_000;

export interface Ears {
  /** `reset` is among the topics: what was missed is gone. */
  told: (topic: string, data: unknown) => void;
  /** Whether events come: until then, and when not, the calls have to be polled. */
  flows: (flowing: boolean) => void;
}

/** Listens to `topics` of the node at `url` (empty for the node that served this page), until the function that it gives is called. */
export function listen(url: string, topics: string[], { told, flows }: Ears): () => void {
  let source: EventSource | null = null;
  let again: ReturnType<typeof setTimeout> | undefined;
  let leave: ReturnType<typeof setTimeout> | undefined;

  const close = () => {
    clearTimeout(again);
    source?.close();
    source = null;
    flows(false);
  };
  const open = () => {
    clearTimeout(again);
    const mine = new EventSource(`${url}/api/v1/events?topics=${topics.join(",")}`);
    source = mine;
    const refused = () => {
      close();
      again = setTimeout(open, REFUSED_MS);
    };
    mine.onopen = () => flows(true);
    // A connection that broke is tried again by the browser, where it was; a refusal is not.
    mine.onerror = () => (mine.readyState === EventSource.CLOSED ? refused() : flows(false));
    for (const topic of [...topics, "reset"]) {
      mine.addEventListener(topic, (event) => {
        try {
          told(topic, JSON.parse((event as MessageEvent<string>).data));
        } catch {
          refused(); // not what this page understands: polling says so in words
        }
      });
    }
  };
  const seen = () => {
    clearTimeout(leave);
    if (document.visibilityState === "hidden") leave = setTimeout(close, HIDDEN_MS);
    else if (!source) open();
  };

  document.addEventListener("visibilitychange", seen);
  if (document.visibilityState === "hidden") seen();
  else open();
  return () => {
    document.removeEventListener("visibilitychange", seen);
    clearTimeout(leave);
    close();
  };
}
