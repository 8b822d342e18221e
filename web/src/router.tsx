// The pages and their addresses. Each is a link that can be kept: the node serves this page for any path that is no file.
import { createRootRoute, createRoute, createRouter, type ErrorComponentProps, Link } from "@tanstack/react-router";
import { App } from "./app";
import { ConfigPage } from "./pages/config";
import { EarningsPage } from "./pages/earnings";
import { KeysPage } from "./pages/keys";
import { LogPage } from "./pages/log";
import { NodesPage } from "./pages/nodes";
import { Overview } from "./pages/overview";
import { RecordingsPage } from "./pages/recordings";
import { SegmentsPage } from "./pages/segments";
import { StreamPage, StreamsPage } from "./pages/streams";
import { Panel } from "./ui";
import { FundsPage } from "./pages/funds";
import { StakePage } from "./pages/stake";
import { StartPage, startSearch } from "./pages/start";
import { DevicesPage } from "./pages/devices";
import { EvidencePage, VerificationPage } from "./pages/verification";

const root = createRootRoute({ component: App, notFoundComponent: Nowhere, errorComponent: Broken });
const at = <P extends string>(path: P, component: () => React.ReactNode) => createRoute({ getParentRoute: () => root, path, component });

function StreamOf() {
  return <StreamPage id={stream.useParams().id} />;
}
function StakeOf() {
  return <StakePage node={staker.useParams().node} />;
}
function StartOf() {
  return <StartPage {...start.useSearch()} />;
}
function EvidenceOf() {
  return <EvidencePage id={evidence.useParams().id} />;
}
const evidence = createRoute({ getParentRoute: () => root, path: "/verification/$id", component: EvidenceOf });
const start = createRoute({ getParentRoute: () => root, path: "/start", component: StartOf, validateSearch: startSearch });
const stream = createRoute({ getParentRoute: () => root, path: "/streams/$id", component: StreamOf });
const staker = createRoute({ getParentRoute: () => root, path: "/stake/$node", component: StakeOf });

export const router = createRouter({
  routeTree: root.addChildren([
    at("/", Overview),
    at("/streams", StreamsPage),
    stream,
    at("/keys", KeysPage),
    at("/recordings", RecordingsPage),
    at("/segments", SegmentsPage),
    at("/nodes", NodesPage),
    at("/earnings", EarningsPage),
    at("/stake", () => <StakePage node={null} />),
    staker,
    at("/funds", FundsPage),
    start,
    at("/log", LogPage),
    at("/config", ConfigPage),
    at("/verification", VerificationPage),
    evidence,
    at("/devices", DevicesPage),
  ]),
  scrollRestoration: true,
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
