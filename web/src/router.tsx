// The pages and their addresses. Each is a link that can be kept: the node serves this page for any path that is no file.
import { createRootRoute, createRoute, createRouter, type ErrorComponentProps, Link, type RouteComponent } from "@tanstack/react-router";
import { App } from "./app";
import { later } from "./later";
import { Overview } from "./pages/overview";
import { startSearch } from "./start/search";
import { Panel } from "./ui";

const root = createRootRoute({ component: App, notFoundComponent: Nowhere, errorComponent: Broken });
const at = <P extends string>(path: P, component: RouteComponent) => createRoute({ getParentRoute: () => root, path, component });

// Each page but the first is a file of its own.
const page = <K extends string>(load: Parameters<typeof later<K>>[0], name: K) => later(load, name, { page: true });
const start = createRoute({ getParentRoute: () => root, path: "/start", component: page(() => import("./pages/start"), "StartPage"), validateSearch: startSearch });

export const router = createRouter({
  routeTree: root.addChildren([
    at("/", Overview),
    at("/streams", page(() => import("./pages/streams"), "StreamsPage")),
    at("/streams/$id", page(() => import("./pages/streams"), "StreamPage")),
    at("/keys", page(() => import("./pages/keys"), "KeysPage")),
    at("/recordings", page(() => import("./pages/recordings"), "RecordingsPage")),
    at("/segments", page(() => import("./pages/segments"), "SegmentsPage")),
    at("/nodes", page(() => import("./pages/nodes"), "NodesPage")),
    at("/earnings", page(() => import("./pages/earnings"), "EarningsPage")),
    at("/stake", page(() => import("./pages/stake"), "StakePage")),
    at("/stake/$node", page(() => import("./pages/stake"), "OperatorPage")),
    at("/funds", page(() => import("./pages/funds"), "FundsPage")),
    start,
    at("/log", page(() => import("./pages/log"), "LogPage")),
    at("/config", page(() => import("./pages/config"), "ConfigPage")),
    at("/verification", page(() => import("./pages/verification"), "VerificationPage")),
    at("/verification/$id", page(() => import("./pages/verification"), "EvidencePage")),
    at("/devices", page(() => import("./pages/devices"), "DevicesPage")),
  ]),
  scrollRestoration: true,
  // A link that is pointed at loads its page.
  defaultPreload: "intent",
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}

function Nowhere() {
  return (
    <Panel title="No such page">
      <div className="note">
        The console has nothing at {location.pathname}. <Link to="/">Overview</Link>
      </div>
    </Panel>
  );
}

/** One page that fails leaves the frame and the others. */
function Broken({ error, reset }: ErrorComponentProps) {
  const message = error instanceof Error ? error.message : String(error);
  return (
    <Panel title="This page failed">
      <div className="note bad" role="alert">
        {message}.{" "}
        <button type="button" className="button" onClick={reset}>
          Try again
        </button>
      </div>
    </Panel>
  );
}
