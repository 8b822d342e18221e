// The operators of the network with their records, to choose one among.
import { Link } from "@tanstack/react-router";
import { useNet } from "../app";
import type { Chain } from "../chain/facts";
import { formatAbsolute, short } from "../format";
import { namesOf } from "../network";
import { OperatorCells, OperatorHeads } from "../stake/columns";
import { useLives } from "../stake/read";
import { Scroll } from "../ui";
import { useBirths } from "./births";
import { useOperators } from "./guides";
import { known } from "./steps";
import { useConnection } from "../wallet/hooks";

export function Operators({ chain }: { chain: Chain }) {
  const { address } = useConnection();
  const all = known(useOperators(chain, address ?? null)) ?? [];
  const lives = useLives(chain).data?.facts ?? {};
  const births = useBirths(chain);
  const names = namesOf(useNet().nodes);
  const listed = all.filter((r) => r.roles !== 0).sort((a, b) => Number(b.bond + b.delegated - a.bond - a.delegated));
  return (
    <Scroll label="Operators to choose among">
      <table className="table cards">
        <thead>
          <tr>
            <OperatorHeads />
            <th title="When it first came into the registry">Since</th>
            <th><span className="dim">Choose</span></th>
          </tr>
        </thead>
        <tbody>
          {listed.map((r) => {
            const born = births.get(r.address);
            const name = names.get(r.address.toLowerCase());
            return (
              <tr key={r.address} data-testid="choice" data-address={r.address}>
                <OperatorCells r={r} life={lives[r.address]} name={name} />
                <td className="num" data-label="since" data-testid="since">{born === undefined ? <span className="dim">looking</span> : formatAbsolute(born).slice(0, 16)}</td>
                <td className="acts"><Link className="button" to="/start" search={{ guide: "delegator", operator: r.address }} aria-label={`Choose ${name ?? short(r.address)}`} data-testid="choose">Choose</Link></td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </Scroll>
  );
}
