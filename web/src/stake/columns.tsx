// The columns that every table of operators begins with: who it is, and its record at the chain.
import { Link } from "@tanstack/react-router";
import { formatBps, formatEth, formatMill, short } from "../format";
import { Chip } from "../ui";
import { roleNames } from "../wallet/fields";
import { room } from "./actions";
import type { Life, Record_ } from "./read";

export function OperatorHeads() {
  return (
    <>
      <th>Operator</th>
      <th>Roles</th>
      <th className="right" title="The operator's own tokens, which are slashed first">Own bond</th>
      <th className="right" title="Delegated by others, of the most that the node takes">Delegated</th>
      <th className="right" title="The operator's part of all fees before they are shared">Commission</th>
      <th className="right" title="Shared out by the registry since the beginning">Fees</th>
      <th className="right" title="Tokens that were ever taken from it">Slashed</th>
    </>
  );
}

export function OperatorCells({ r, life, name }: { r: Record_; life: Life | undefined; name: string | undefined }) {
  return (
    <>
      <td className="cut"><Link to="/stake/$node" params={{ node: r.address }}>{name ?? short(r.address)}</Link></td>
      <td data-label="roles">{r.roles === 0 ? <Chip tone="bad">out of the registry</Chip> : roleNames(r.roles)}</td>
      <td className="right num" data-label="own bond">{formatMill(r.bond)}</td>
      <td className="right num" data-label="delegated">{formatMill(r.delegated)}{r.roles !== 0 && room(r) === 0n && <Chip tone="warn">full</Chip>}</td>
      <td className="right num" data-label="commission">{formatBps(r.commission)}{r.nextCommissionAt > 0 && ` → ${formatBps(r.nextCommission)}`}</td>
      <td className="right num" data-label="fees">{formatEth(life?.fees ?? "0")}</td>
      <td className="right num" data-label="slashed">{life && life.slashes > 0 ? <span className="bad">{formatMill(BigInt(life.slashed))}, {life.slashes} ×</span> : "never"}</td>
    </>
  );
}
