// The frame of every page: header, navigation, and what all pages know of the network.
import { AppShell, Burger } from "@mantine/core";
import { useDisclosure, useMediaQuery } from "@mantine/hooks";
import { Link, Outlet, useRouterState } from "@tanstack/react-router";
import { createContext, type ReactNode, useContext, useEffect, useRef } from "react";
import { grouped } from "./format";
import mark from "./mark.svg?raw";
import { type Network, useNetwork } from "./network";
import { Ago, Chip, Now, useClock } from "./ui";
import { AccountButton } from "./wallet/account";
import { PendingBar } from "./wallet/pending";
import { health } from "./words";

const Net = createContext<Network | null>(null);

/** What this page knows of the network. */
export function useNet(): Network {
  const net = useContext(Net);
  if (!net) throw new Error("a page was drawn outside the frame");
  return net;
}

const PAGES = [
  { to: "/", name: "Overview" },
  { to: "/streams", name: "Streams" },
  { to: "/segments", name: "Segments" },
  { to: "/verification", name: "Verification" },
  { to: "/nodes", name: "Nodes" },
  { to: "/devices", name: "Devices" },
  { to: "/earnings", name: "Earnings" },
  { to: "/stake", name: "Stake" },
  { to: "/funds", name: "Funds" },
  { to: "/start", name: "Get started" },
] as const;

export function App() {
  const net = useNetwork();
  const now = useClock();
  const [open, { toggle, close }] = useDisclosure(false);
  const path = useRouterState({ select: (s) => s.location.pathname });
  const narrow = useMediaQuery("(max-width: 47.99em)") ?? false;
  const main = useRef<HTMLElement>(null);
  const page = PAGES.findLast((p) => path === p.to || path.startsWith(`${p.to}/`)) ?? PAGES[0];
  const name = net.root.data?.name;

  useEffect(() => {
    document.title = [page.name, name, "Millrace"].filter(Boolean).join(" · ");
  }, [page.name, name]);

  return (
    <Now value={now}>
      <Net value={net}>
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
            <State net={net} now={now} />
            <AccountButton />
          </AppShell.Header>
          <AppShell.Navbar className="side" id="navigation" aria-label="Pages" component="nav" inert={narrow && !open}>
            {PAGES.map((p) => (
              <Link key={p.to} to={p.to} className="nav" aria-current={p === page ? "page" : undefined} onClick={close}>
                {p.name}
              </Link>
            ))}
            {net.root.data && <p className="dim version">version {net.root.data.version}</p>}
          </AppShell.Navbar>
          <AppShell.Main id="main" ref={main} tabIndex={-1} className="page">
            <h1 className="title">{page.name}</h1>
            {net.root.error && <Offline net={net} />}
            <PendingBar />
            <Outlet />
          </AppShell.Main>
        </AppShell>
      </Net>
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

function State({ net, now }: { net: Network; now: number }) {
  const state = health(net, now);
  return (
    <div className="health" role="status" data-testid="health" data-tone={state.tone}>
      <Chip tone={state.tone} title={state.details.join("\n")}>
        <span className="text">
          {state.text}
          {state.details.length > 1 && <> and {state.details.length - 1} more</>}
        </span>
      </Chip>
    </div>
  );
}
