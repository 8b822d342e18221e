// The frame of every page: header, navigation, and what all pages know of the network.
import { AppShell, Burger } from "@mantine/core";
import { useDisclosure, useMediaQuery } from "@mantine/hooks";
import { Link, Outlet, useRouterState } from "@tanstack/react-router";
import { createContext, type ReactNode, useContext, useEffect, useRef } from "react";
import { DrainBanner } from "./drain";
import { grouped } from "./format";
import { type Purse, usePurse } from "./funds/purse";
import { later, loadRest } from "./later";
import mark from "./mark.svg?raw";
import { namesOf, type Network, useNetwork } from "./network";
import { SessionButton } from "./session/button";
import { useSession } from "./session/session";
import { Ago, Chip, Now, useClock } from "./ui";
import { useChain } from "./wallet/provider";
import { health } from "./words";

interface Known {
  net: Network;
  purse: Purse | null;
}
const Context = createContext<Known | null>(null);

// Of the chain's libraries: drawn when they are there.
const SignIn = later(() => import("./session/sign-in"), "SignIn");
const AccountButton = later(() => import("./wallet/account"), "AccountButton");
const PendingBar = later(() => import("./wallet/pending"), "PendingBar");

/** What this page knows of the network, and of the account that its node spends from. */
export function useKnown(): Known {
  const known = useContext(Context);
  if (!known) throw new Error("a page was drawn outside the frame");
  return known;
}
export const useNet = (): Network => useKnown().net;

/** `of`: nodes of this role alone have it. */
const PAGES: { to: Page; name: string; of?: string }[] = [
  { to: "/", name: "Overview" },
  { to: "/streams", name: "Streams" },
  { to: "/keys", name: "Stream keys", of: "broadcaster" },
  { to: "/recordings", name: "Recordings", of: "broadcaster" },
  { to: "/segments", name: "Segments" },
  { to: "/verification", name: "Verification" },
  { to: "/nodes", name: "Nodes" },
  { to: "/devices", name: "Devices" },
  { to: "/earnings", name: "Earnings" },
  { to: "/stake", name: "Stake" },
  { to: "/funds", name: "Funds" },
  { to: "/start", name: "Get started" },
  { to: "/log", name: "Log" },
  { to: "/config", name: "Configuration" },
];
type Page = "/" | "/streams" | "/keys" | "/recordings" | "/segments" | "/verification" | "/nodes" | "/devices" | "/earnings" | "/stake" | "/funds" | "/start" | "/log" | "/config";
const OVERVIEW = PAGES[0]!;

export function App() {
  const now = useClock();
  const [open, { toggle, close }] = useDisclosure(false);
  const path = useRouterState({ select: (s) => s.location.pathname });
  const { session, asking, recheck } = useSession();
  const net = useNetwork(session?.can_read ?? null, path === "/log");
  const { chain } = useChain();
  const purse = usePurse(chain, net.root.data, session?.can_read ?? false, namesOf(net.nodes));
  const narrow = useMediaQuery("(max-width: 47.99em)") ?? false;
  const main = useRef<HTMLElement>(null);
  const page = PAGES.findLast((p) => path === p.to || path.startsWith(`${p.to}/`)) ?? OVERVIEW;
  const { name, role } = net.root.data ?? {};

  const drawn = net.root.data !== undefined && net.root.error === null && net.streams.state !== "loading";
  useEffect(() => {
    if (drawn) void loadRest();
  }, [drawn]);
  const life = net.root.data?.started_at;
  const known = useRef(life);
  useEffect(() => {
    if (known.current !== undefined && known.current !== life) recheck();
    known.current = life;
  }, [life, recheck]);
  useEffect(() => {
    document.title = [page.name, name, "Millrace"].filter(Boolean).join(" · ");
  }, [page.name, name]);

  return (
    <Now value={now}>
      <Context value={{ net, purse }}>
        {(chain || asking) && <SignIn />}
        <a className="skip" href="#main" onClick={() => main.current?.focus()}>
          Skip to the page
        </a>
        <AppShell header={{ height: 50 }} navbar={{ width: 184, breakpoint: "sm", collapsed: { mobile: !open } }} padding={0} transitionDuration={0}>
          <AppShell.Header className="top" component="header">
            <Burger opened={open} onClick={toggle} hiddenFrom="sm" size="sm" aria-label={open ? "Close the navigation" : "Open the navigation"} aria-expanded={open} aria-controls="navigation" />
            <Link to="/" className="brand" aria-label="Millrace, overview">
              <span className="mark" aria-hidden="true" dangerouslySetInnerHTML={{ __html: mark }} />
              <span className="word">Millrace</span>
            </Link>
            <Who net={net} />
            <State net={net} purse={purse} now={now} />
            <SessionButton />
            {chain && <AccountButton />}
          </AppShell.Header>
          <AppShell.Navbar className="side" id="navigation" aria-label="Pages" component="nav" inert={narrow && !open}>
            {PAGES.filter((p) => !p.of || !role || p.of === role).map((p) => (
              <Link key={p.to} to={p.to} className="nav" aria-current={p === page ? "page" : undefined} onClick={close}>
                {p.name}
              </Link>
            ))}
            {net.root.data && <p className="dim version">version {net.root.data.version}</p>}
          </AppShell.Navbar>
          <AppShell.Main id="main" ref={main} tabIndex={-1} className="page">
            <h1 className="title">{page.name}</h1>
            <DrainBanner net={net} />
            {net.root.error && <Offline net={net} />}
            {chain && <PendingBar />}
            <Outlet />
          </AppShell.Main>
        </AppShell>
      </Context>
    </Now>
  );
}

function Offline({ net }: { net: Network }): ReactNode {
  return (
    <div className="banner" role="alert">
      <strong>This node {net.root.error?.message}.</strong> {net.root.at > 0 && <>The figures below are from <Ago at={net.root.at} />. </>}
      Asking again every few seconds; if it was stopped, start it and this page will follow.
    </div>
  );
}

function Who({ net }: { net: Network }) {
  const info = net.root.data;
  return (
    info && (
      <p className="who">
        <strong data-testid="node-name">{info.name}</strong> <span className="role">{info.role}</span>
        <span className="wide" title={`Registry ${info.chain.registry}\nTicket broker ${info.chain.broker}`}>
          chain <b className="num">{info.chain.id}</b>
          {info.chain.block === null ? ", which does not answer" : <>, block <b className="num" data-testid="block">{grouped(info.chain.block)}</b></>}
        </span>
      </p>
    )
  );
}

function State({ net, purse, now }: { net: Network; purse: Purse | null; now: number }) {
  const state = health(net, now, purse);
  const away = net.root.error !== null && net.root.at > 0;
  return (
    <div className="health" role="status" data-testid="health" data-tone={state.tone}>
      <Chip tone={state.tone} title={state.details.join("\n")}>
        <span className="text">
          {state.text}
          {away ? <>, last seen <Ago at={net.root.at} /></> : state.details.length > 1 && <> and {state.details.length - 1} more</>}
        </span>
      </Chip>
    </div>
  );
}
