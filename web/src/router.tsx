// The pages and their addresses. Each is a link that can be kept: the node serves this page for any path that is no file.
import { createRootRoute, createRoute, createRouter, type ErrorComponentProps, lazyRouteComponent, Link, type RouteComponent } from "@tanstack/react-router";
import { App } from "./app";
import { Overview } from "./pages/overview";
import { startSearch } from "./start/search";
import { Panel } from "./ui";

const root = createRootRoute({ component: App, notFoundComponent: Nowhere, errorComponent: Broken });
const at = <P extends string>(path: P, component: RouteComponent) => createRoute({ getParentRoute: () => root, path, component });

// Each page but the first is a file of its own, loaded when somebody goes there.
const start = createRoute({ getParentRoute: () => root, path: "/start", component: lazyRouteComponent(() => import("./pages/start"), "StartPage"), validateSearch: startSearch });

export const router = createRouter({
  routeTree: root.addChildren([
    at("/", Overview),
    at("/streams", lazyRouteComponent(() => import("./pages/streams"), "StreamsPage")),
    at("/streams/$id", lazyRouteComponent(() => import("./pages/streams"), "StreamPage")),
    at("/keys", lazyRouteComponent(() => import("./pages/keys"), "KeysPage")),
    at("/recordings", lazyRouteComponent(() => import("./pages/recordings"), "RecordingsPage")),
    at("/segments", lazyRouteComponent(() => import("./pages/segments"), "SegmentsPage")),
    at("/nodes", lazyRouteComponent(() => import("./pages/nodes"), "NodesPage")),
    at("/earnings", lazyRouteComponent(() => import("./pages/earnings"), "EarningsPage")),
    at("/stake", lazyRouteComponent(() => import("./pages/stake"), "StakePage")),
    at("/stake/$node", lazyRouteComponent(() => import("./pages/stake"), "OperatorPage")),
    at("/funds", lazyRouteComponent(() => import("./pages/funds"), "FundsPage")),
    start,
    at("/log", lazyRouteComponent(() => import("./pages/log"), "LogPage")),
    at("/config", lazyRouteComponent(() => import("./pages/config"), "ConfigPage")),
    at("/verification", lazyRouteComponent(() => import("./pages/verification"), "VerificationPage")),
    at("/verification/$id", lazyRouteComponent(() => import("./pages/verification"), "EvidencePage")),
    at("/devices", lazyRouteComponent(() => import("./pages/devices"), "DevicesPage")),
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
