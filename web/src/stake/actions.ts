// What an operator and a delegator can do at the registry, with its limits before and its effects after.
import { type Address, encodeFunctionData, formatEther, type Hex, maxUint96, zeroHash } from "viem";
import type { Chain } from "../chain/facts";
import { moment } from "../chain/refusal";
import { formatBps, formatEth, formatMill, short } from "../format";
import type { Action } from "../wallet/action";
import { roleNames } from "../wallet/fields";
import { type Call, together } from "../wallet/send";
import type { Mine, Record_ } from "./read";

/** Seconds that tokens take to leave, and a higher commission to hold (Bonds.sol). */
export const UNBONDING_S = 7 * 86_400;
/** Most that is delegated to a node, in multiples of its own bond. */
export const LEVERAGE = 10n;
const MAX_COMMISSION = 5_000n;
const MAX_RISE = 500;
const MAX_URI = 280n;

const limit = (value: bigint, why: string) => ({ value, why });
const has = (mill: bigint) => limit(mill, "that is all the MILL that the account has");

/** What a delegation may still add to a node. */
export function room(r: Record_): bigint {
  const most = r.bond * LEVERAGE;
  return most > r.delegated ? most - r.delegated : 0n;
}

export function operatorActions(chain: Chain, mine: Mine) {
  const own = mine.own!;
  const encode = (functionName: string, args: readonly unknown[]): Hex => encodeFunctionData({ abi: chain.registry.abi, functionName, args } as never);
  const call = (functionName: string, args: readonly unknown[]): Call => ({ to: "registry", data: encode(functionName, args) });
  const slashable = `It can be slashed for contradicting signatures (half of it), a lost dispute (5 %) and a withheld sampling secret (1 %).`;
  const commissionWords = (now: number, next: number) =>
    next <= own.commission || own.roles === 0 ? `The commission is ${formatBps(next)} at once.` : `The commission rises from ${formatBps(own.commission)} to ${formatBps(next)} at ${moment(now + UNBONDING_S, now)}; delegators can leave until then.`;
  const publication = [
    { name: "roles", label: "Roles", kind: "roles", start: String(own.roles) },
    { name: "uri", label: "Where the node answers", kind: "text", start: own.serviceURI, optional: true, most: limit(MAX_URI, ""), hint: "Such as quic://orch.example.com:4433; empty for a node that only dials" },
    { name: "fingerprint", label: "Fingerprint of its TLS key", kind: "text", start: own.fingerprint === zeroHash ? "" : own.fingerprint, optional: true, hint: "0x and 64 digits; a running node publishes its own" },
  ] as const satisfies Action["fields"];
  const fingerprintOf = (text: string): Hex | null => (text === "" ? zeroHash : /^0x[0-9a-f]{64}$/i.test(text) ? (text as Hex) : null);
  const missing = mine.least > own.bond ? mine.least - own.bond : 1n;
  const misprint = { problem: "A fingerprint is 0x and 64 hexadecimal digits." };

  const register: Action = {
    name: "register",
    button: "Register",
    title: "Register a node",
    fields: [
      ...publication,
      { name: "bond", label: "Bond", kind: "mill", start: formatEther(missing), most: has(mine.mill), least: limit(missing, `the least bond is ${formatMill(mine.least)}`) },
      { name: "commission", label: "Commission", kind: "percent", start: String(own.commission / 100), most: limit(MAX_COMMISSION, "the highest commission") },
    ],
    plan: (v, me, now) => {
      const fingerprint = fingerprintOf(v("fingerprint"));
      if (!fingerprint) return misprint;
      const [bond, commission, roles] = [v<bigint>("bond"), v<number>("commission"), v<number>("roles")];
      const parts = commission === own.commission ? [] : [encode("setCommission", [commission])];
      return {
        call: together(chain, [...parts, encode("register", [roles, v("uri"), fingerprint, bond])], bond),
        what: `Register as ${roleNames(roles)} with ${formatMill(bond)}`,
        changes: [`${short(me)} is in the registry as ${roleNames(roles)}.`, `${formatMill(bond)} leave the account and are its bond. ${slashable}`, "They come back seven days after they are taken out.", ...(roles & 1 ? ["An orchestrator reveals a sampling secret each day: a running node does so by itself."] : []), ...(parts.length > 0 ? [commissionWords(now, commission)] : [])],
      };
    },
  };
  const update: Action = {
    name: "update",
    button: "Change what is published",
    title: "Publish roles, address and key",
    fields: publication,
    plan: (v) => {
      const fingerprint = fingerprintOf(v("fingerprint"));
      if (!fingerprint) return misprint;
      const roles = v<number>("roles");
      return { call: call("update", [roles, v("uri"), fingerprint]), what: `Publish ${roleNames(roles)} at ${v("uri") || "no address"}`, changes: [`Roles: ${roleNames(roles)}.`, `Peers find the node at ${v("uri") || "no address: it only dials"}.`, "Peers refuse a connection whose TLS key is not the published one."] };
    },
  };
  const bond: Action = {
    name: "bond",
    button: "Add to the bond",
    title: "Add to the bond",
    fields: [{ name: "amount", label: "Amount", kind: "mill", most: has(mine.mill) }],
    plan: (v) => {
      const amount = v<bigint>("amount");
      return { call: together(chain, [encode("addBond", [amount])], amount), what: `Add ${formatMill(amount)} to the bond`, changes: [`The bond is ${formatMill(own.bond + amount)}, now ${formatMill(own.bond)}.`, slashable, `Others may delegate up to ${formatMill((own.bond + amount) * LEVERAGE)} to it.`] };
    },
  };
  const unbond: Action = {
    name: "unbond",
    button: "Take the bond out",
    title: "Take the bond out",
    fields: [{ name: "amount", label: "Amount", kind: "mill", most: limit(own.bond, "that is the whole bond") }],
    plan: (v, _, now) => {
      const amount = v<bigint>("amount");
      const left = own.bond - amount;
      if (left > 0n && left < mine.least && own.roles !== 0) return { problem: `${formatMill(left)} would be left, and the least bond is ${formatMill(mine.least)}: take all of it, or less.` };
      return {
        call: call("startUnbond", [amount]),
        what: `Take ${formatMill(amount)} of the bond out`,
        changes: [
          left === 0n && own.roles !== 0 ? "With all of its bond on the way out, the node is out of the registry at once." : `The bond is ${formatMill(left)}.`,
          `${formatMill(own.unbonding + amount)} can be withdrawn from ${moment(now + UNBONDING_S, now)} on; until then they can still be slashed.`,
          ...(own.unbonding > 0n ? ["What is on its way already waits for the new date too."] : []),
        ],
      };
    },
  };
  const withdraw: Action = {
    name: "withdraw-bond",
    button: "Withdraw",
    title: "Withdraw what has unbonded",
    fields: [],
    plan: () => ({ call: call("withdrawBond", []), what: `Withdraw ${formatMill(own.unbonding)} of the bond`, changes: [`${formatMill(own.unbonding)} come to the account.`] }),
  };
  const commission: Action = {
    name: "commission",
    button: "Set the commission",
    title: "Set the commission",
    fields: [{ name: "percent", label: "Commission", kind: "percent", start: String(own.commission / 100), most: limit(MAX_COMMISSION, "the highest commission"), hint: "A lower one holds at once, a higher one in seven days and by at most five points" }],
    plan: (v, _, now) => {
      const next = v<number>("percent");
      if (own.roles !== 0 && next > own.commission + MAX_RISE) return { problem: `Up to ${formatBps(own.commission + MAX_RISE)} can be announced now: five points more than the ${formatBps(own.commission)} of today.` };
      return { call: call("setCommission", [next]), what: `Set the commission to ${formatBps(next)}`, changes: [commissionWords(now, next)] };
    },
  };
  return { register, update, bond, unbond, withdraw, commission };
}

/** What a delegator does at a node; the last also the operator at its own. */
export function delegatorActions(chain: Chain, r: Record_, mill: bigint) {
  const { mine } = r;
  const node = short(r.address);
  const call = (functionName: string, args: readonly unknown[]): Call => ({ to: "registry", data: encodeFunctionData({ abi: chain.registry.abi, functionName, args } as never) });
  const most = room(r) < mill ? limit(room(r), "the node takes no more, ten times its own bond") : has(mill);
  const delegate: Action = {
    name: "delegate",
    button: "Delegate",
    title: `Delegate to ${node}`,
    fields: [{ name: "amount", label: "Amount", kind: "mill", most }],
    plan: (v) => {
      const amount = v<bigint>("amount");
      const delegated = encodeFunctionData({ ...chain.registry, functionName: "delegate", args: [r.address, amount] });
      return {
        call: together(chain, [delegated], amount),
        what: `Delegate ${formatMill(amount)} to ${node}`,
        changes: [`${formatMill(amount)} leave the account; ${formatMill(mine.amount + amount)} of yours are then at ${node}.`, `They earn a share of its fees, after a commission of ${formatBps(r.commission)}.`, "They can be slashed with the node, after all of its own bond; nothing known today goes so far.", "Leaving takes seven days, in which they earn nothing and can still be slashed."],
      };
    },
  };
  const undelegate: Action = {
    name: "undelegate",
    button: "Undelegate",
    title: `Take a delegation to ${node} out`,
    fields: [{ name: "amount", label: "Amount", kind: "mill", most: limit(mine.amount, "that is all that you have delegated to it") }],
    plan: (v, _, now) => {
      const amount = v<bigint>("amount");
      return {
        call: call("undelegate", [r.address, amount === mine.amount ? maxUint96 : amount]),
        what: `Undelegate ${formatMill(amount)} from ${node}`,
        changes: [`${formatMill(mine.amount - amount)} of yours stay delegated.`, `${formatMill(mine.unbonding + amount)} can be withdrawn from ${moment(now + UNBONDING_S, now)} on.`, "Until then they earn nothing and can still be slashed with the node."],
      };
    },
  };
  const withdraw: Action = {
    name: "withdraw-delegation",
    button: "Withdraw",
    title: `Withdraw a delegation from ${node}`,
    fields: [],
    plan: () => ({ call: call("withdrawDelegation", [r.address]), what: `Withdraw ${formatMill(mine.unbonding)} from ${node}`, changes: [`${formatMill(mine.unbonding)} come to the account, or less if a slash comes first.`] }),
  };
  const claim: Action = {
    name: "claim-fees",
    button: "Claim fees",
    title: `Have the fees earned at ${node} paid out`,
    fields: [],
    plan: () => ({ call: call("claimFees", [r.address]), what: `Claim ${formatEth(mine.fees.toString())} of fees at ${node}`, changes: [`${formatEth(mine.fees.toString())} come to the account.`] }),
  };
  return { delegate, undelegate, withdraw, claim, credit: creditAction(chain, r.address, r.credit, r.delegated > 0n) };
}

/** Anyone may have a payee's credit paid out. */
export function creditAction(chain: Chain, payee: Address, credit: bigint, isShared: boolean): Action {
  const amount = formatEth(credit.toString());
  return {
    name: "claim-credit",
    button: "Pay the credit out",
    title: `Have the credit of ${short(payee)} paid out`,
    fields: [],
    plan: () => ({
      call: { to: "broker", data: encodeFunctionData({ ...chain.broker, functionName: "claim", args: [payee] }) },
      what: `Pay ${amount} of credit of ${short(payee)} out`,
      changes: [isShared ? `${amount} that its winners brought go to the registry, which shares them between the operator and those who delegate to it.` : `${amount} that its winners brought go to ${short(payee)}.`],
    }),
  };
}
