// What a contract, a wallet or the node refuses, in a sentence with its figures and the way out: the words of the command line.
import { BaseError, decodeErrorResult, formatEther, type Hex } from "viem";
import { brokerAbi } from "../abi/broker";
import { registryAbi } from "../abi/registry";
import { tokenAbi } from "../abi/token";
import { formatAbsolute, formatSpan, short } from "../format";

const ERRORS = [...registryAbi, ...brokerAbi, ...tokenAbi].filter((entry) => entry.type === "error");
const REVERT = [{ type: "error", name: "Error", inputs: [{ name: "reason", type: "string" }] }] as const;

type Fields = Record<string, unknown>;

/** `now`: the chain's clock, unix seconds. */
export function explain(error: unknown, now: number): string {
  const data = revertOf(error);
  if (data) return inWords(data, now);
  const code = find(error, (e) => typeof e.code === "number")?.code;
  if (code === 4001 || nameOf(error, "UserRejectedRequestError")) return "You declined it in the wallet: nothing was sent.";
  if (code === 4902) return "The wallet does not know this chain.";
  if (nameOf(error, "InsufficientFundsError") || /insufficient funds|lack of funds|exceeds the balance/i.test(textOf(error))) return "The account has too little ETH for the amount and the gas: send it some.";
  if (nameOf(error, "HttpRequestError", "TimeoutError")) return "This node does not answer, so nothing was sent. Try again once it does.";
  if (/chain endpoint does not answer/.test(textOf(error))) return "The node's chain endpoint does not answer, so nothing was sent. Try again once it does.";
  if (/too many requests from this address/.test(textOf(error))) return "This page has asked the node too often: wait a few seconds.";
  const text = error instanceof BaseError ? error.shortMessage : error instanceof Error ? error.message : String(error);
  return text.split("\n")[0]!.slice(0, 240);
}

/** A contract's error by its data. */
export function inWords(data: Hex, now: number): string {
  try {
    const { errorName, args, abiItem } = decodeErrorResult({ abi: [...ERRORS, ...REVERT], data });
    const inputs = abiItem.type === "error" ? abiItem.inputs : [];
    return sentence(errorName, Object.fromEntries(inputs.map((input, i) => [input.name, (args as readonly unknown[] | undefined)?.[i]])), now);
  } catch {
    return `The contract refuses, for a reason that this page does not know (${data.slice(0, 10)}).`;
  }
}

function sentence(name: string, f: Fields, now: number): string {
  const coin = (v: unknown) => `${formatEther(v as bigint)} ETH`;
  const mill = (v: unknown) => `${formatEther(v as bigint)} MILL`;
  const who = (v: unknown) => short(String(v));
  const percent = (v: unknown) => `${Number(v) / 100} %`;
  const until = (v: unknown) => moment(Number(v), now);
  switch (name) {
    case "Error":
      return `The contract refuses: ${f.reason}.`;
    case "DepositsStopped":
      return `The guardian has stopped new deposits until ${until(f.until)}; what is deposited can be taken out as ever.`;
    case "StillLocked":
      return `Still locked until ${until(f.unlockAt)}.`;
    case "NoUnlock":
      return "No unlock is pending for this payee: announce one first.";
    case "NoValue":
    case "NoAmount":
      return "The amount is nothing.";
    case "LockTooSmall":
      return `Only ${coin(f.locked)} are locked for this payee, and ${coin(f.faceValue)} were asked for.`;
    case "LockTooLarge":
      return `The lock would be ${coin(f.locked)}: more than it can count.`;
    case "NothingToClaim":
      return "payee" in f ? `${who(f.payee)} has no credit: its winners were paid out already, or none was redeemed.` : "No fees are there to be claimed.";
    case "TransferFailed":
      return `${who(f.to)} refuses to receive coin: it is a contract that does not take it.`;
    case "SessionKeyAlreadySet":
      return `${who(f.key)} is a session key already, and its terms never change: take another key for other terms.`;
    case "SessionKeyUnknown":
      return `${who(f.key)} is no session key of this account.`;
    case "SessionKeyInPast":
      return "The key would have ended already: name a later end.";
    case "StillUnbonding":
      return `Still unbonding until ${until(f.withdrawableAt)}.`;
    case "BondTooLow":
      return `The bond would be ${mill(f.bond)}, and the least one is ${mill(f.least)}: take all of it, or less.`;
    case "BondTooSmall":
      return `The bond is ${mill(f.bond)}, and ${mill(f.amount)} were asked for.`;
    case "AlreadyRegistered":
      return "This account is registered: change what it publishes, or add to its bond.";
    case "NotRegistered":
      return `${who(f.node)} is not registered (any more), so it takes no delegation.`;
    case "UnknownRoles":
      return "Choose at least one role: orchestrator, transcoder, checker.";
    case "CheckerTooSoon":
      return `The account was a checker until lately, and can be one again from ${until(f.from)}.`;
    case "UriTooLong":
      return `The address has ${f.length} bytes, at most ${f.limit}.`;
    case "AllowanceTooSmall":
      return `The permission was refused, and the registry may take ${mill(f.allowance)} where ${mill(f.amount)} are needed.`;
    case "DelegationTooLarge":
      return `${who(f.node)} would have ${mill(f.delegated)} delegated, and takes ${mill(f.limit)}, ten times its own bond: delegate less, or to another.`;
    case "DelegationTooSmall":
      return `${mill(f.delegated)} are delegated to ${who(f.node)}, and ${mill(f.amount)} were asked for.`;
    case "PoolSlashed":
      return `The pool of ${who(f.node)} was slashed to ${mill(f.tokens)}: it takes delegations again once all have left it.`;
    case "NothingToWithdraw":
      return "Nothing is on its way out.";
    case "CommissionTooHigh":
      return `A commission of ${percent(f.commission)} is above the highest, ${percent(f.limit)}.`;
    case "CommissionRiseTooLarge":
      return `A commission of ${percent(f.commission)} is too much at once: up to ${percent(f.limit)} can be announced now.`;
    case "ERC20InsufficientBalance":
      return `The account has ${mill(f.balance)}, and ${mill(f.needed)} are needed: send it MILL.`;
    case "ERC20InsufficientAllowance":
      return `${who(f.spender)} may take ${mill(f.allowance)}, and ${mill(f.needed)} are needed: allow it first.`;
    default:
      return `The contract refuses: ${name}.`;
  }
}

/** `2026-01-02 03:04 (in 2 d 3 h)`. */
export function moment(at: number, now: number): string {
  const time = formatAbsolute(at * 1000).slice(0, 16);
  return at > now ? `${time} (in ${formatSpan((at - now) * 1000)})` : time;
}

type Link = { code?: number; data?: unknown; name?: string; cause?: unknown; message?: string; details?: string };

/** The first of an error and its causes that fits. Wallets and viem nest them, some ten deep at the most. */
function find(error: unknown, fits: (link: Link) => boolean): Link | undefined {
  let link = error as Link | undefined;
  for (let depth = 0; link && typeof link === "object" && depth < 12; depth += 1) {
    if (fits(link)) return link;
    link = link.cause as Link | undefined;
  }
  return undefined;
}

function revertOf(error: unknown): Hex | null {
  const hex = (value: unknown) => (typeof value === "string" && /^0x[0-9a-f]{8}/i.test(value) ? (value as Hex) : null);
  const data = (link: Link) => hex(link.data) ?? hex((link.data as Link | undefined)?.data);
  const link = find(error, (l) => data(l) !== null);
  return link ? data(link) : null;
}

const nameOf = (error: unknown, ...names: string[]) => find(error, (l) => names.includes(l.name ?? "")) !== undefined;

function textOf(error: unknown): string {
  const words: string[] = [];
  find(error, (l) => (words.push(l.message ?? "", l.details ?? ""), false));
  return words.join(" ");
}
