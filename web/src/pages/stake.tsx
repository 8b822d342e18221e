// Stake: the account's own node, the operators to choose among, and what the account has at each.
import { Link, useParams } from "@tanstack/react-router";
import { type Address, getAddress, isAddress } from "viem";
import { useNet } from "../app";
import type { Chain } from "../chain/facts";
import { moment } from "../chain/refusal";
import { formatBps, formatEth, formatMill, grouped } from "../format";
import { namesOf } from "../network";
import { type Mine, type Lives, MAX_OPERATORS, type Record_, searching, useLives, useMine, useRecords } from "../stake/read";
import { OperatorCells, OperatorHeads } from "../stake/columns";
import { delegatorActions, LEVERAGE, operatorActions, room } from "../stake/actions";
import { Fact, Hex, Panel, Scroll } from "../ui";
import { ActionButton } from "../wallet/action";
import { roleNames } from "../wallet/fields";
import { useConnection } from "../wallet/hooks";
import { NoChain, Stale, Unread } from "../wallet/states";
import { useChain } from "../wallet/provider";

export function StakePage() {
  const { chain } = useChain();
  return chain ? <All chain={chain} /> : <NoChain title="Stake" />;
}

/** One operator. */
export function OperatorPage() {
  const { chain } = useChain();
  const { node } = useParams({ from: "/stake/$node" });
  if (!chain) return <NoChain title="Stake" />;
  return isAddress(node, { strict: false }) ? <One chain={chain} node={getAddress(node)} /> : <Panel title="No such node"><div className="note bad">{node.slice(0, 60)} is no address. <Link to="/stake">All operators</Link></div></Panel>;
}

function All({ chain }: { chain: Chain }) {
  const { address: me } = useConnection();
  const mine = useMine(chain, me);
  const net = useNet();
  const lives = useLives(chain);
  const known = (Object.keys(lives.data?.facts ?? {}) as Address[]).filter((a) => a !== me);
  const records = useRecords(chain, known, me);
  const all = [...(records.data ?? [])].filter((r) => r.roles !== 0 || r.mine.amount + r.mine.unbonding + r.mine.fees > 0n).sort(byStake);
  const found = lives.data;
  return (
    <>
      {mine.data && mine.data.stoppedUntil > mine.data.now && (
        <div className="note warn panel" role="status">The guardian has stopped new deposits until {moment(mine.data.stoppedUntil, mine.data.now)}; what is deposited can be taken out as ever.</div>
      )}
      {me ? mine.data?.own ? <Own chain={chain} mine={mine.data} /> : <Unread title="Your node" query={mine} /> : <Nobody />}
      <Panel title="Operators" aside={found && (searching(found) ? `looked through to block ${grouped(found.next)} of ${grouped(found.newest)}` : `from the chain, up to block ${grouped(found.newest)}`)}>
        <p className="pad">Delegate MILL to an operator, and it earns you a share of the operator's fees. Everything here is read from the contracts and their events.</p>
        {found && (records.data || known.length === 0) && <Stale query={lives.error ? lives : records} />}
        {!found || (known.length > 0 && !records.data) ? (
          <Unread query={lives.error ? lives : records} />
        ) : all.length === 0 ? (
          <div className="note">{searching(found) ? "None found yet." : "No node is registered."}</div>
        ) : (
          <Table all={all} lives={found.facts} names={namesOf(net.nodes)} me={me} />
        )}
        {known.length > MAX_OPERATORS && <div className="note">{known.length - MAX_OPERATORS} more nodes were ever registered; the first {MAX_OPERATORS} are shown.</div>}
      </Panel>
    </>
  );
}

const byStake = (a: Record_, b: Record_) => Number(b.bond + b.delegated - a.bond - a.delegated);

function Nobody() {
  return (
    <Panel title="Your stake">
      <div className="note">Connect a wallet, at the top, to register a node of your own or to delegate. Looking needs none.</div>
    </Panel>
  );
}

/** The account's own node. */
function Own({ chain, mine }: { chain: Chain; mine: Mine }) {
  const own = mine.own!;
  const act = operatorActions(chain, mine);
  const { claim, credit } = delegatorActions(chain, own, mine.mill);
  const away = own.roles === 0;
  const mature = own.unbonding > 0n && own.withdrawableAt <= mine.now;
  if (away && own.bond === 0n && own.unbonding === 0n && own.mine.fees === 0n) {
    return (
      <Panel title="Your node" aside={<span>the account has <b className="num">{formatMill(mine.mill)}</b></span>}>
        <div className="note">This account is no node. Orchestrators and transcoders register by themselves when they start; a checker registers here. The least bond is {formatMill(mine.least)}.</div>
        <div className="actions"><ActionButton chain={chain} action={act.register} /></div>
      </Panel>
    );
  }
  return (
    <Panel title="Your node" className="own" aside={<span>the account has <b className="num">{formatMill(mine.mill)}</b></span>}>
      <dl className="facts pad" data-testid="own" data-bond={own.bond.toString()} data-roles={own.roles} data-unbonding={own.unbonding.toString()} data-commission={own.commission}>
        <Fact name="Roles">{away ? <span className="bad">out of the registry</span> : roleNames(own.roles)}</Fact>
        <Fact name="Answers at">{own.serviceURI || <span className="dim">nowhere: it only dials</span>}</Fact>
        <Fact name="Bond"><span className="num">{formatMill(own.bond)}</span></Fact>
        {own.unbonding > 0n && <Fact name="On its way out"><span className="num">{formatMill(own.unbonding)}</span>{mature ? ", can be withdrawn" : ` until ${moment(own.withdrawableAt, mine.now)}`}</Fact>}
        <Fact name="Delegated to it"><span className="num">{formatMill(own.delegated)}</span> of {formatMill(own.bond * LEVERAGE)}</Fact>
        <Fact name="Commission">{formatBps(own.commission)}{own.nextCommissionAt > 0 && `, ${formatBps(own.nextCommission)} from ${moment(own.nextCommissionAt, mine.now)}`}</Fact>
        <Fact name="Fees to claim"><span className="num">{formatEth(own.mine.fees.toString())}</span></Fact>
        <Fact name="Credit at the broker"><span className="num">{formatEth(own.credit.toString())}</span></Fact>
      </dl>
      <p className="pad">
        At risk: {formatMill(own.bond + own.unbonding)} of your own. Half of it for two contradicting signatures, 5 % for a lost dispute, 1 % for a withheld sampling secret
        {own.unbonding > 0n && !mature ? `; what is on its way out too, until ${moment(own.withdrawableAt, mine.now)}` : ""}.
      </p>
      <div className="actions">
        <ActionButton chain={chain} action={away && own.bond < mine.least ? act.register : act.update} />
        <ActionButton chain={chain} action={act.bond} />
        <ActionButton chain={chain} action={act.unbond} disabled={own.bond === 0n ? "Nothing is bonded" : null} />
        <ActionButton chain={chain} action={act.withdraw} disabled={own.unbonding === 0n ? "Nothing is on its way out" : mature ? null : `Still unbonding until ${moment(own.withdrawableAt, mine.now)}`} />
        <ActionButton chain={chain} action={act.commission} />
        <ActionButton chain={chain} action={claim} disabled={own.mine.fees === 0n ? "No fees are there to be claimed" : null} />
        <ActionButton chain={chain} action={credit} disabled={own.credit === 0n ? "The node has no credit" : null} />
      </div>
    </Panel>
  );
}

function Table({ all, lives, names, me }: { all: Record_[]; lives: Lives; names: Map<string, string>; me: Address | undefined }) {
  return (
    <Scroll label="Table of operators">
      <table className="table cards">
        <thead>
          <tr>
            <OperatorHeads />
            {me && <th className="right">Yours</th>}
          </tr>
        </thead>
        <tbody>
          {all.map((r) => (
            <tr key={r.address} data-testid="operator" data-address={r.address}>
              <OperatorCells r={r} life={lives[r.address]} name={names.get(r.address.toLowerCase())} />
              {me && <td className="right num" data-label="yours">{r.mine.amount + r.mine.unbonding > 0n ? formatMill(r.mine.amount + r.mine.unbonding) : <span className="dim">none</span>}</td>}
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

/** One operator, and what the account does there. */
function One({ chain, node }: { chain: Chain; node: Address }) {
  const { address: me } = useConnection();
  const mine = useMine(chain, me);
  const records = useRecords(chain, [node], me);
  const lives = useLives(chain);
  const name = namesOf(useNet().nodes).get(node.toLowerCase());
  const r = records.data?.find((one) => one.address === node);
  if (!r || !mine.data) return <Unread title={name ?? "Operator"} query={records.error ? records : mine.error ? mine : records} />;
  const now = mine.data.now;
  const act = delegatorActions(chain, r, mine.data.mill);
  const life = lives.data?.facts[node];
  const mature = r.mine.unbonding > 0n && r.mine.withdrawableAt <= now;
  const closed = r.roles === 0 ? "The node is not in the registry, so it takes no delegation" : room(r) === 0n ? "The node has all that it takes, ten times its own bond" : null;
  return (
    <>
      <Panel title={name ?? "Operator"} aside={<Link to="/stake">all operators</Link>}>
        <Stale query={records} />
        <dl className="facts pad">
          <Fact name="Address"><Hex value={node} what="address" /></Fact>
          <Fact name="Roles">{r.roles === 0 ? <span className="bad">none: out of the registry</span> : roleNames(r.roles)}</Fact>
          <Fact name="Answers at">{r.serviceURI || <span className="dim">nowhere: it only dials</span>}</Fact>
          <Fact name="Own bond"><span className="num">{formatMill(r.bond)}</span></Fact>
          {r.unbonding > 0n && <Fact name="Of its own, on its way out"><span className="num">{formatMill(r.unbonding)}</span></Fact>}
          <Fact name="Delegated"><span className="num">{formatMill(r.delegated)}</span> of {formatMill(r.bond * LEVERAGE)}</Fact>
          <Fact name="Leaving"><span className="num">{formatMill(r.delegatedUnbonding)}</span></Fact>
          <Fact name="Commission">{formatBps(r.commission)}{r.nextCommissionAt > 0 && `, ${formatBps(r.nextCommission)} from ${moment(r.nextCommissionAt, now)}`}</Fact>
          <Fact name="Fees shared out"><span className="num">{formatEth(life?.fees ?? "0")}</span></Fact>
          <Fact name="Slashed">{life && life.slashes > 0 ? <span className="bad num">{formatMill(BigInt(life.slashed))}, {life.slashes} times</span> : searching(lives.data) || !lives.data ? "looking" : "never"}</Fact>
          <Fact name="Credit at the broker" title="What its winners have brought and nobody has had paid out yet"><span className="num">{formatEth(r.credit.toString())}</span></Fact>
        </dl>
      </Panel>
      <Panel title="Yours here" aside={me && <span>the account has <b className="num">{formatMill(mine.data.mill)}</b></span>}>
        {me ? (
          <>
            <dl className="facts pad" data-testid="delegation" data-amount={r.mine.amount.toString()} data-unbonding={r.mine.unbonding.toString()} data-fees={r.mine.fees.toString()}>
              <Fact name="Delegated"><span className="num">{formatMill(r.mine.amount)}</span></Fact>
              <Fact name="On its way out"><span className="num">{formatMill(r.mine.unbonding)}</span>{r.mine.unbonding > 0n && (mature ? ", can be withdrawn" : ` until ${moment(r.mine.withdrawableAt, now)}`)}</Fact>
              <Fact name="Fees to claim"><span className="num">{formatEth(r.mine.fees.toString())}</span></Fact>
            </dl>
            <p className="pad">
              {r.mine.amount + r.mine.unbonding > 0n
                ? `At risk: ${formatMill(r.mine.amount + r.mine.unbonding)}, after all ${formatMill(r.bond + r.unbonding)} of the operator's own${r.mine.unbonding > 0n && !mature ? `; what is on its way out until ${moment(r.mine.withdrawableAt, now)}` : ""}. No slash that is known today goes beyond the operator's own.`
                : "A delegation earns a share of the node's fees. A slash takes the operator's own tokens first; leaving takes seven days."}
            </p>
            <div className="actions">
              <ActionButton chain={chain} action={act.delegate} disabled={closed} />
              <ActionButton chain={chain} action={act.undelegate} disabled={r.mine.amount === 0n ? "You have delegated nothing to it" : null} />
              <ActionButton chain={chain} action={act.withdraw} disabled={r.mine.unbonding === 0n ? "Nothing is on its way out" : mature ? null : `Still unbonding until ${moment(r.mine.withdrawableAt, now)}`} />
              <ActionButton chain={chain} action={act.claim} disabled={r.mine.fees === 0n ? "No fees are there to be claimed" : null} />
              <ActionButton chain={chain} action={act.credit} disabled={r.credit === 0n ? "The node has no credit" : null} />
            </div>
          </>
        ) : (
          <div className="note">Connect a wallet, at the top, to delegate.</div>
        )}
      </Panel>
    </>
  );
}
