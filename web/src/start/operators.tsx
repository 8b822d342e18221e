// The operators of the network with their records, to choose one among.
import { Link } from "@tanstack/react-router";
import { useConnection } from "wagmi";
import { useNet } from "../app";
import type { Chain } from "../chain/facts";
import { formatAbsolute, formatBps, formatEth, formatMill, short } from "../format";
import { room } from "../stake/actions";
import { useLives } from "../stake/read";
import { Chip, Scroll } from "../ui";
import { roleNames } from "../wallet/fields";
import { useBirths } from "./births";
import { useOperators } from "./guides";
import { known } from "./steps";

export function Operators({ chain }: { chain: Chain }) {
  const { address } = useConnection();
  const all = known(useOperators(chain, address ?? null)) ?? [];
  const lives = useLives(chain).data?.facts ?? {};
  const births = useBirths(chain);
  const names = new Map(useNet().nodes.flatMap((n) => (n.info.data ? [[n.info.data.address.toLowerCase(), n.info.data.name] as const] : [])));
  const listed = all.filter((r) => r.roles !== 0).sort((a, b) => Number(b.bond + b.delegated - a.bond - a.delegated));
  return (
    <Scroll label="Operators to choose among">
      <table className="table cards">
        <thead>
          <tr>
            <th>Operator</th>
            <th>Roles</th>
            <th className="right" title="The operator's own tokens, which are slashed first">Own bond</th>
            <th className="right" title="Delegated by others">Delegated</th>
            <th className="right" title="The operator's part of all fees before they are shared">Commission</th>
            <th className="right" title="Shared out by the registry since the beginning">Fees</th>
            <th className="right" title="Tokens that were ever taken from it">Slashed</th>
            <th title="When it first came into the registry">Since</th>
            <th><span className="dim">Choose</span></th>
          </tr>
        </thead>
        <tbody>
          {listed.map((r) => {
            const life = lives[r.address];
            const born = births.get(r.address);
            const name = names.get(r.address.toLowerCase()) ?? short(r.address);
            return (
              <tr key={r.address} data-testid="choice" data-address={r.address}>
                <td className="cut"><Link to="/stake/$node" params={{ node: r.address }}>{name}</Link></td>
                <td data-label="roles">{roleNames(r.roles)}</td>
                <td className="right num" data-label="own bond">{formatMill(r.bond)}</td>
                <td className="right num" data-label="delegated">{formatMill(r.delegated)}{room(r) === 0n && <Chip tone="warn">full</Chip>}</td>
                <td className="right num" data-label="commission">{formatBps(r.commission)}{r.nextCommissionAt > 0 && ` → ${formatBps(r.nextCommission)}`}</td>
                <td className="right num" data-label="fees">{formatEth(life?.fees ?? "0")}</td>
                <td className="right num" data-label="slashed">{life && life.slashes > 0 ? <span className="bad">{formatMill(BigInt(life.slashed))}, {life.slashes} ×</span> : "never"}</td>
                <td className="num" data-label="since" data-testid="since">{born === undefined ? <span className="dim">looking</span> : formatAbsolute(born).slice(0, 16)}</td>
                <td className="acts"><Link className="button" to="/start" search={{ guide: "delegator", operator: r.address }} aria-label={`Choose ${name}`} data-testid="choose">Choose</Link></td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </Scroll>
  );
}
