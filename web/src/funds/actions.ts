// What an account can do with its coin at the ticket broker, with its limits before and its effects after.
import { type Address, encodeFunctionData } from "viem";
import type { Chain } from "../chain/facts";
import { moment } from "../chain/refusal";
import { formatEth, formatMill, short } from "../format";
import type { Action } from "../wallet/action";
import type { Call } from "../wallet/send";
import type { Funds, Lock } from "./read";

/** Seconds from an announcement to the withdrawal, and from a key's revocation to its end (TicketBroker.sol). */
export const UNLOCK_S = 72 * 3600;

const eth = (wei: bigint) => formatEth(wei.toString());

export function fundActions(chain: Chain, funds: Funds) {
  const call = (functionName: string, args: readonly unknown[], value = 0n): Call => ({ to: "broker", data: encodeFunctionData({ abi: chain.broker.abi, functionName, args } as never), value });
  const coin = { value: funds.coin, why: "that is all the ETH that the account has, and the gas comes on top" };

  const lock = (payee: Address | null): Action => ({
    name: payee ? "lock-more" : "lock",
    button: payee ? "Lock more" : "Lock coin for a payee",
    title: payee ? `Lock more for ${short(payee)}` : "Lock coin for a payee",
    fields: [
      ...(payee ? [] : [{ name: "payee", label: "Payee: an orchestrator, or a transcoder", kind: "address" } as const]),
      { name: "amount", label: "Amount", kind: "eth", most: coin },
      ...(payee ? [] : [{ name: "payer", label: "Payer, if it is not you", kind: "address", optional: true, hint: "Adds to somebody else's lock; you cannot take it back" } as const]),
    ],
    plan: (v, me) => {
      const to = payee ?? v<Address>("payee");
      const payer = payee ? me : v<Address | "">("payer") || me;
      const amount = v<bigint>("amount");
      const own = payer.toLowerCase() === me.toLowerCase();
      return {
        call: own ? call("fund", [to], amount) : call("fundFor", [payer, to], amount),
        what: `Lock ${eth(amount)} for ${short(to)}${own ? "" : ` in the name of ${short(payer)}`}`,
        changes: own
          ? [`${eth(amount)} leave the account. Only winning tickets that you, or your session keys, sign for ${short(to)} can take them.`, "What is not won comes back 72 hours after you announce it."]
          : [`${eth(amount)} leave the account and belong to ${short(payer)}: only that account can take them back.`],
      };
    },
  });
  const unlock = (l: Lock): Action => ({
    name: "unlock",
    button: l.unlockAt > 0 ? "Announce anew" : "Unlock",
    title: `Take coin out of the lock for ${short(l.payee)}`,
    fields: [{ name: "amount", label: "Amount", kind: "eth", most: { value: l.locked, why: "that is all that is locked for this payee" } }],
    plan: (v, _, now) => {
      const amount = v<bigint>("amount");
      return {
        call: call("requestUnlock", [l.payee, amount]),
        what: `Announce that ${eth(amount)} leave the lock for ${short(l.payee)}`,
        changes: [
          `${eth(amount)} can be withdrawn from ${moment(now + UNLOCK_S, now)} on, or what winners have left of it.`,
          "Until then it still pays tickets that you signed and that won.",
          ...(l.unlockAt > 0 ? [`This replaces the announcement of ${eth(l.pendingUnlock)}, and the 72 hours begin anew.`] : []),
          "A running broadcaster fills its locks up again: stop it first.",
        ],
      };
    },
  });
  const cancel = (l: Lock): Action => ({
    name: "cancel-unlock",
    button: "Cancel",
    title: `Leave the lock for ${short(l.payee)} as it is`,
    fields: [],
    plan: () => ({ call: call("cancelUnlock", [l.payee]), what: `Cancel the unlock for ${short(l.payee)}`, changes: [`${eth(l.pendingUnlock)} stay locked for ${short(l.payee)}.`] }),
  });
  const withdraw = (l: Lock): Action => ({
    name: "withdraw",
    button: "Withdraw",
    title: `Withdraw from the lock for ${short(l.payee)}`,
    fields: [],
    plan: () => {
      const amount = l.pendingUnlock < l.locked ? l.pendingUnlock : l.locked;
      return { call: call("withdraw", [l.payee]), what: `Withdraw ${eth(amount)} from the lock for ${short(l.payee)}`, changes: [`${eth(amount)} come to the account.`, `${eth(l.locked - amount)} stay locked.`] };
    },
  });
  const addKey: Action = {
    name: "add-key",
    button: "Add a session key",
    title: "Let another key sign tickets",
    fields: [
      { name: "key", label: "The key's address", kind: "address", hint: "Mostly a broadcaster's node: Nodes lists its address" },
      { name: "days", label: "For how long", kind: "days", start: "30" },
      { name: "cap", label: "Cap for each payee and day (UTC)", kind: "eth" },
    ],
    plan: (v, _, now) => {
      const key = v<Address>("key");
      const expiry = now + v<number>("days") * 86_400;
      const cap = v<bigint>("cap");
      const old = funds.keys.find((k) => k.key.toLowerCase() === key.toLowerCase());
      if (old && old.expiry !== 0) return { problem: `${short(key)} is a session key already, and its terms never change: take another key for other terms.` };
      return {
        call: call("setSessionKey", [key, expiry, cap]),
        what: `Let ${short(key)} sign tickets, ${eth(cap)} a day`,
        changes: [`${short(key)} can sign tickets that this account's locks pay, until ${moment(expiry, now)}.`, `Each payee can redeem at most ${eth(cap)} of it for each day (UTC).`, "These terms never change; revoked, the key ends 72 hours later."],
      };
    },
  };
  const revoke = (key: Address, expiry: number): Action => ({
    name: "revoke-key",
    button: "Revoke",
    title: `End session key ${short(key)}`,
    fields: [],
    plan: (_, __, now) => ({ call: call("revokeSessionKey", [key]), what: `Revoke session key ${short(key)}`, changes: [`The key ends at ${moment(Math.min(expiry, now + UNLOCK_S), now)}: tickets that payees already took stay good.`] }),
  });
  const carrier = (who: Address | null): Action => ({
    name: who ? "remove-carrier" : "add-carrier",
    button: who ? "Remove" : "Add a carrier",
    title: who ? `Let ${short(who)} redeem no longer` : "Let another account redeem for this one",
    fields: who ? [] : [{ name: "carrier", label: "The carrier's address", kind: "address" }],
    plan: (v) => {
      const address = who ?? v<Address>("carrier");
      return {
        call: call("setCarrier", [address, who === null]),
        what: who ? `Let ${short(address)} redeem no longer` : `Let ${short(address)} redeem`,
        changes: [who ? `${short(address)} can take this account's winners to the chain no longer.` : `${short(address)} can take this account's winners to the chain, at its cost of gas. The money comes to this account in any case.`],
      };
    },
  });
  const send: Action = {
    name: "send-mill",
    button: "Send MILL",
    title: "Send MILL",
    fields: [
      { name: "to", label: "To", kind: "address" },
      { name: "amount", label: "Amount", kind: "mill", most: { value: funds.mill, why: "that is all the MILL that the account has" } },
    ],
    plan: (v) => {
      const [to, amount] = [v<Address>("to"), v<bigint>("amount")];
      return { call: { to: "token", data: encodeFunctionData({ ...chain.token, functionName: "transfer", args: [to, amount] }) }, what: `Send ${formatMill(amount)} to ${short(to)}`, changes: [`${formatMill(amount)} go to ${to}, for good.`] };
    },
  };
  return { lock, unlock, cancel, withdraw, addKey, revoke, carrier, send };
}
