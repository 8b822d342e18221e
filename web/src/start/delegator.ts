// The way of a delegator, from a wallet to a share in an operator's stake. Pure.
import type { Address } from "viem";
import { moment } from "../chain/refusal";
import { formatBps, formatMill, short } from "../format";
import { LEVERAGE, room, UNBONDING_S } from "../stake/actions";
import type { Record_ } from "../stake/read";
import { done, eth, inOrder, type Judged, next, type Step, step, type Told, type Wallet, waiting, walletStep, wrong } from "./steps";

export interface DelegatorFacts {
  wallet: Wallet;
  /** Whom the reader has chosen: the page's address says so. */
  chosen: Address | null;
  /** Everybody that the registry has ever had, with what the wallet has there. */
  operators: Told<Record_[]>;
  /** The price of gas, wei; when the guardian takes deposits again, and the chain's clock. */
  chain: Told<{ gasPrice: bigint; stoppedUntil: number; now: number }>;
}

/** Gas of a delegation with its permission, with room (docs/gas.md has 83,884 without). */
const GAS = 300_000n;

/** Whom the guide is about: the one chosen, or the one where the wallet has most already. */
export function subject({ chosen, operators }: Pick<DelegatorFacts, "chosen" | "operators">): Address | null {
  if (chosen) return chosen;
  const mine = operators.is === "known" ? operators.value.filter((r) => r.mine.amount > 0n) : [];
  return mine.toSorted((a, b) => (a.mine.amount < b.mine.amount ? 1 : -1))[0]?.address ?? null;
}

export function delegatorSteps(facts: DelegatorFacts): Step[] {
  const { wallet, operators, chain } = facts;
  const who = subject(facts);
  const of = (all: Record_[]) => all.find((r) => r.address.toLowerCase() === who?.toLowerCase());

  const choice = step("operator", "Choose an operator", [operators], (all): Judged => {
    const r = of(all);
    if (r && r.mine.amount > 0n) return done(`${short(r.address)}, where you have delegated.`);
    if (!all.some((one) => one.roles !== 0)) return wrong("No operator is registered in this network yet.");
    if (!who) return next("Compare their own bond, their commission, their slashes and how long they have been there. A slash takes the operator's own bond first.", { do: "choose" });
    if (!r || r.roles === 0) return wrong(`${short(who)} is not in the registry, so it takes no delegation: choose another.`, { do: "choose" });
    if (room(r) === 0n) return wrong(`${short(who)} has all that it takes, ten times its own bond: choose another.`, { do: "choose" });
    return { ...done(`${short(r.address)}: ${formatMill(r.bond)} of its own, ${formatMill(r.delegated)} delegated, a commission of ${formatBps(r.commission)}.`), offers: [{ do: "choose-again" }] };
  });

  const money = step("money", "MILL to delegate, and coin for gas", [operators, chain], (all, { gasPrice }): Judged => {
    if ((of(all)?.mine.amount ?? 0n) > 0n) return done("You have delegated already.");
    if (wallet.mill === null || wallet.coin === null) return waiting("What the wallet has is seen once it is connected.");
    const gas = gasPrice * GAS;
    if (wallet.mill === 0n) return wrong(`The wallet has no MILL. Get some from whoever runs this network, or on a market that has it, and send it to ${wallet.address}.`);
    if (wallet.coin < gas) return wrong(`The wallet has ${eth(wallet.coin)}, and a delegation takes some ${eth(gas)} of gas: send coin to ${wallet.address}.`);
    return done(`The wallet has ${formatMill(wallet.mill)} and ${eth(wallet.coin)}.`);
  });

  const delegated = step("delegate", "Delegate", [operators, chain], (all, { stoppedUntil, now }): Judged => {
    const r = of(all);
    if (r && r.mine.amount > 0n) return done(`${formatMill(r.mine.amount)} of yours are at ${short(r.address)}. You can leave at any time: it takes seven days.`);
    if (stoppedUntil > now) return wrong(`The guardian of the contracts has stopped new delegations until ${moment(stoppedUntil, now)}.`);
    if (!r) return waiting("When an operator is chosen.");
    const most = wallet.mill !== null && wallet.mill < room(r) ? wallet.mill : room(r);
    return next(
      `At most ${formatMill(most)}. It earns a share of the operator's fees, after ${formatBps(r.commission)} of commission. At risk: it can be slashed with the operator, after all ${formatMill(r.bond + r.unbonding)} of the operator's own; no slash known today goes so far. Leaving takes ${UNBONDING_S / 86_400} days, in which it earns nothing and can still be slashed.`,
      { do: "delegate", node: r.address },
    );
  });

  const seen = step("seen", "Seen in the operator's stake", [operators], (all): Judged => {
    const r = of(all);
    if (!r || r.mine.amount === 0n) return waiting("The registry counts it in the block of your transaction.");
    if (r.delegated < r.mine.amount) return waiting("The registry's two figures come from different blocks: asking again.");
    const out = r.roles === 0 ? " The operator has left the registry since: your MILL earns nothing there, so undelegate it under Stake." : "";
    return done(`${formatMill(r.mine.amount)} of the ${formatMill(r.delegated)} delegated to ${short(r.address)} are yours; it takes ${formatMill(r.bond * LEVERAGE)}.${out}`);
  });

  return inOrder([walletStep(wallet), choice, money, delegated, seen]);
}
