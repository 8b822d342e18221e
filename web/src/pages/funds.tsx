// Funds: the account's coin, what is locked for whom, who may sign for it, and what it was paid.
import type { Address } from "viem";
import { useNet } from "../app";
import type { Chain } from "../chain/facts";
import { moment } from "../chain/refusal";
import { formatEth, formatMill, grouped } from "../format";
import { fundActions } from "../funds/actions";
import { type Funds, type Lock, useFunds } from "../funds/read";
import { creditAction } from "../stake/actions";
import { namesOf } from "../network";
import { searching } from "../stake/read";
import { Chip, Fact, Hex, Panel, Scroll } from "../ui";
import { ActionButton } from "../wallet/action";
import { useConnection } from "../wallet/hooks";
import { useChain } from "../wallet/provider";
import { NoChain, Stale, Unread } from "../wallet/states";

const eth = (wei: bigint) => formatEth(wei.toString());

export function FundsPage() {
  const { chain } = useChain();
  return chain ? <Known chain={chain} /> : <NoChain title="Funds" />;
}

function Known({ chain }: { chain: Chain }) {
  const { address } = useConnection();
  return address ? (
    <Account chain={chain} me={address} />
  ) : (
    <Panel title="Your funds">
      <div className="note">Connect a wallet, at the top, to lock coin for orchestrators and transcoders, to take it back, and to let other keys sign tickets.</div>
    </Panel>
  );
}

function Who({ address, names }: { address: Address; names: Map<string, string> }) {
  return (
    <>
      {names.get(address.toLowerCase())} <Hex value={address} what="address" />
    </>
  );
}

function Account({ chain, me }: { chain: Chain; me: Address }) {
  const query = useFunds(chain, me);
  const net = useNet();
  const funds = query.data;
  if (!funds) return <Unread title="Your funds" query={query} />;
  const act = fundActions(chain, funds);
  const locked = funds.locks.reduce((sum, l) => sum + l.locked, 0n);
  const names = namesOf(net.nodes);
  const looking = searching(funds.found) && `looked through to block ${grouped(funds.found.next)} of ${grouped(funds.found.newest)}`;
  return (
    <>
      {funds.stoppedUntil > funds.now && <div className="note warn panel" role="status">The guardian has stopped new deposits until {moment(funds.stoppedUntil, funds.now)}; what is deposited can be taken out as ever.</div>}
      <Panel title="Your account">
        <Stale query={query} />
        <dl className="facts pad" data-testid="funds" data-coin={funds.coin.toString()} data-mill={funds.mill.toString()} data-locked={locked.toString()} data-credit={funds.credit.toString()}>
          <Fact name="ETH"><span className="num">{eth(funds.coin)}</span></Fact>
          <Fact name="MILL"><span className="num">{formatMill(funds.mill)}</span></Fact>
          <Fact name="Locked for payees"><span className="num">{eth(locked)}</span></Fact>
          <Fact name="Credit" title="What its winners have brought and was not paid out yet"><span className="num">{eth(funds.credit)}</span></Fact>
        </dl>
        <div className="actions">
          <ActionButton chain={chain} action={act.lock(null)} />
          <ActionButton chain={chain} action={creditAction(chain, me, funds.credit, false)} disabled={funds.credit === 0n ? "The account has no credit" : null} />
          <ActionButton chain={chain} action={act.send} disabled={funds.mill === 0n ? "The account has no MILL" : null} />
        </div>
      </Panel>
      <Panel title="Locks" aside={looking}>
        <p className="pad">A lock pays one payee alone, by winning tickets that you sign. At risk is what you sign for; the rest comes back 72 hours after you announce it.</p>
        {funds.locks.length === 0 ? (
          <div className="note">{looking ? "None found yet." : "Nothing was ever locked by this account."}</div>
        ) : (
          <Scroll label="Table of locks">
            <table className="table cards">
              <thead>
                <tr><th>Payee</th><th className="right">Locked</th><th>On its way out</th><th>Actions</th></tr>
              </thead>
              <tbody>
                {funds.locks.map((l) => (
                  <tr key={l.payee} data-testid="lock" data-payee={l.payee} data-locked={l.locked.toString()} data-pending={l.pendingUnlock.toString()}>
                    <td><Who address={l.payee} names={names} /></td>
                    <td className="right num" data-label="locked">{eth(l.locked)}</td>
                    <td data-label="on its way out">{l.unlockAt === 0 ? <span className="dim">nothing</span> : <><span className="num">{eth(l.pendingUnlock)}</span> {l.unlockAt <= funds.now ? "can be withdrawn" : `until ${moment(l.unlockAt, funds.now)}`}</>}</td>
                    <td className="acts"><LockActions chain={chain} lock={l} now={funds.now} act={act} /></td>
                  </tr>
                ))}
              </tbody>
            </table>
          </Scroll>
        )}
      </Panel>
      <Panel title="Session keys">
        <p className="pad">A session key signs tickets that your locks pay, so that this account's own key can stay offline. At risk is its daily cap, for each payee.</p>
        {funds.keys.length === 0 ? <div className="note">No other key signs for this account.</div> : <Keys funds={funds} chain={chain} act={act} />}
        <div className="actions"><ActionButton chain={chain} action={act.addKey} /></div>
      </Panel>
      <Panel title="Carriers">
        <p className="pad">A carrier takes your winners to the chain at its own cost of gas; the money comes to you in any case.</p>
        <ul className="plain">
          {funds.carriers.map((carrier) => (
            <li key={carrier} data-testid="carrier" data-address={carrier}><Who address={carrier} names={names} /> <ActionButton chain={chain} action={act.carrier(carrier)} /></li>
          ))}
        </ul>
        <div className="actions"><ActionButton chain={chain} action={act.carrier(null)} /></div>
      </Panel>
    </>
  );
}

type Acts = ReturnType<typeof fundActions>;

function LockActions({ chain, lock: l, now, act }: { chain: Chain; lock: Lock; now: number; act: Acts }) {
  const announced = l.unlockAt > 0;
  return (
    <div className="actions tight">
      <ActionButton chain={chain} action={act.lock(l.payee)} />
      <ActionButton chain={chain} action={act.unlock(l)} disabled={l.locked === 0n ? "Nothing is locked for this payee" : null} />
      {announced && <ActionButton chain={chain} action={act.cancel(l)} />}
      {announced && <ActionButton chain={chain} action={act.withdraw(l)} disabled={l.unlockAt > now ? `Still locked until ${moment(l.unlockAt, now)}` : null} />}
    </div>
  );
}

function Keys({ funds, chain, act }: { funds: Funds; chain: Chain; act: Acts }) {
  return (
    <Scroll label="Table of session keys">
      <table className="table cards">
        <thead>
          <tr><th>Key</th><th>Ends</th><th className="right">Cap for each payee and day</th><th>Actions</th></tr>
        </thead>
        <tbody>
          {funds.keys.map((k) => (
            <tr key={k.key} data-testid="session-key" data-key={k.key} data-expiry={k.expiry}>
              <td><Hex value={k.key} what="key's address" /></td>
              <td data-label="ends">{k.expiry <= funds.now ? <Chip tone="idle">over</Chip> : moment(k.expiry, funds.now)}</td>
              <td className="right num" data-label="cap for each payee and day">{eth(k.dailyCap)}</td>
              <td className="acts"><div className="actions tight"><ActionButton chain={chain} action={act.revoke(k.key, k.expiry)} disabled={k.expiry <= funds.now ? "It is over" : null} /></div></td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}
