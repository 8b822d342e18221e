// The way of a GPU owner, from devices to the first ticket. Pure.
import type { Address } from "viem";
import type { OwnDevices, Segment, Tickets } from "../api";
import { moment } from "../chain/refusal";
import { count, formatEth, formatMill, grouped, short } from "../format";
import { done, eth, fileOf, gasMoney, inOrder, isPoverty, known, type Line, next, said, type Settings, type Step, step, type Told, type Wallet, waiting, walletStep, wrong } from "./steps";
import { inWords } from "../verification/fault";

/** A node's account, as the chain has it. */
export interface Account {
  address: Address;
  coin: bigint;
  mill: bigint;
  roles: number;
  bond: bigint;
  unbonding: bigint;
  /** The least bond of the network. */
  least: bigint;
  gasPrice: bigint;
  /** The guardian takes no deposits until then. */
  stoppedUntil: number;
  /** The chain's clock. */
  now: number;
}

/** An orchestrator that the configuration names, as the registry has it. */
export interface Listing {
  address: Address;
  /** Null where the registry has none of that role. */
  uri: string | null;
}

export interface TranscoderFacts {
  /** The page's clock, unix milliseconds. */
  now: number;
  wallet: Wallet;
  devices: Told<OwnDevices>;
  settings: Told<Settings>;
  account: Told<Account>;
  listings: Told<Listing[]>;
  /** Whether it has a session with its orchestrator. */
  connected: Told<boolean>;
  segments: Told<Segment[]>;
  tickets: Told<Tickets>;
  log: Told<Line[]>;
}

const TRANSCODER = 2;
/** What a node says in its log while it cannot register. */
const UNREGISTERED = "not registered yet";
/** Megapixels a second of a stream of 720p at 30 frames with the default ladder. */
const USUAL = 47;
const KINDS: Record<string, string> = { nvenc: "NVENC", x264: "the processor's cores, by x264" };

export function transcoderSteps(facts: TranscoderFacts): Step[] {
  const money = moneyStep(facts);
  const spare = money.state === "done" ? "Not needed: the node's own account has what it needs." : null;
  return inOrder([devicesStep(facts), walletStep(facts.wallet, spare), money, bondStep(facts, money), orchestratorStep(facts), segmentStep(facts), ticketStep(facts)]);
}

function devicesStep({ devices, settings }: TranscoderFacts): Step {
  return step("devices", "Devices that encode", [devices], ({ devices, processes }) => {
    const file = fileOf(known(settings), "transcoder");
    const able = devices.filter((d) => d.megapixels_per_second > 0);
    const ended = processes.find((p) => p.last_end !== null);
    if (able.length === 0) {
      const why = ended?.last_end ? `The process of ${ended.device} ended: ${ended.last_end}. It is started again.` : "No device is ready to encode.";
      return wrong(`${why} If that lasts, say encoder = "x264" in [transcoder] of ${file} and start the node again: then the processor's cores encode.`);
    }
    const each = able.map((d) => `${d.name}: H.264 by ${KINDS[d.kind] ?? d.kind}, ${grouped(d.megapixels_per_second)} megapixels a second`).join("; ");
    const most = Math.max(...able.map((d) => d.megapixels_per_second));
    const small = most < USUAL ? ` A stream of 720p takes ${USUAL}, so smaller ones alone will come.` : "";
    const slow = able.every((d) => d.kind === "x264") ? " No GPU encodes here: the log says why, in the line “devices found”." : "";
    return done(`${each}.${small}${slow}`);
  });
}

/** The bond that the node wants: what its file says, and no less than the network does. */
function wanted(account: Account, settings: Settings | undefined): bigint {
  return settings && settings.bond > account.least ? settings.bond : account.least;
}

/**
 * In the registry, and content with it. A node whose file asks for a larger bond than it has adds to it at its start, and says so while it
 * cannot; a bond that was slashed later does not keep it from working.
 */
function isBonded(account: Account, { settings, log, now }: TranscoderFacts): boolean {
  const { roles, bond, least } = account;
  return (roles & TRANSCODER) !== 0 && bond >= least && (bond >= wanted(account, known(settings)) || !said(log, now, UNREGISTERED));
}

function moneyStep(facts: TranscoderFacts): Step {
  const { account, settings, wallet } = facts;
  return step("money", "Money for the bond and for gas", [account], (a) => {
    const [bond, gas] = [wanted(a, known(settings)), gasMoney(a.gasPrice)];
    if (isBonded(a, facts)) return done(`Its bond is in the registry, and ${eth(a.coin)} are there for gas.`);
    const mill = bond > a.bond + a.mill ? bond - a.bond - a.mill : 0n;
    const coin = gas > a.coin * 2n ? gas - a.coin : 0n;
    if (mill === 0n && coin === 0n) return done(`The node's account has ${formatMill(a.mill)} and ${eth(a.coin)}.`);
    const lacks = [mill > 0n ? `${formatMill(mill)} for its bond` : "", coin > 0n ? `${eth(coin)} for gas` : ""].filter(Boolean).join(" and ");
    if (mill > 0n && wallet.mill !== null && wallet.mill < mill) {
      return wrong(`The node's account lacks ${lacks}, and the wallet has ${formatMill(wallet.mill)}: get the rest from whoever runs this network, into this wallet or to ${a.address}.`);
    }
    if (coin > 0n && wallet.coin !== null && wallet.coin <= coin) return wrong(`The node's account lacks ${lacks}, and the wallet has ${eth(wallet.coin)}: put more into it, or send coin to ${a.address} from elsewhere.`);
    return next(
      `The node bonds with an account of its own, ${short(a.address)}, whose key stays on its machine. It lacks ${lacks}.`,
      // The coin's button is there at once, and the other one's chain is asked first: nothing moves from under a hand.
      ...(coin > 0n ? [{ do: "send-coin", to: a.address, amount: coin } as const] : []),
      ...(mill > 0n ? [{ do: "send-mill", to: a.address, amount: mill } as const] : []),
    );
  });
}

function bondStep(facts: TranscoderFacts, money: Step): Step {
  const { account, log, now } = facts;
  return step("bond", "Bonded and registered", [account], (a) => {
    if (isBonded(a, facts)) return done(`${short(a.address)} is in the registry with ${formatMill(a.bond)}; it signs with its own key, so nothing else has to be allowed.`);
    if (a.stoppedUntil > a.now) return wrong(`The guardian of the contracts has stopped new bonds until ${moment(a.stoppedUntil, a.now)}. The node registers by itself after that.`);
    if (money.state !== "done") return waiting("The node registers by itself, within seconds of having the money.");
    const why = said(log, now, UNREGISTERED);
    if (why && !isPoverty(why)) return wrong(`The node cannot register: ${why}. It tries again every two seconds.`);
    if (a.unbonding > 0n) return waiting(`Its last bond, ${formatMill(a.unbonding)}, is on its way out. The node registers anew with what it has, within half a minute.`);
    return waiting("The node registers by itself, within seconds.");
  });
}

function orchestratorStep(facts: TranscoderFacts): Step {
  const { connected, settings, listings, account, log, now } = facts;
  return step("orchestrator", "An orchestrator is connected", [connected], (isConnected) => {
    const listed = known(listings)?.[0];
    const name = listed ? short(listed.address) : "its orchestrator";
    if (isConnected) return done(`The node works for ${name}.`);
    if (listed && listed.uri === null) {
      return wrong(`${listed.address} is no orchestrator of this network's registry. Ask its operator for the right address, put it into orchestrator, in [transcoder] of ${fileOf(known(settings), "transcoder")}, and start the node again.`);
    }
    const bonded = known(account);
    if (!bonded || !isBonded(bonded, facts)) return waiting("The node dials once it is registered. You need no open port: it dials out, by UDP.");
    const why = said(log, now, "no session with the orchestrator", "session with the orchestrator lost");
    return why ? wrong(`There is no session with ${name}: ${why}. The node tries again every few seconds.`) : waiting(`The node dials ${name}, by UDP.`);
  });
}

function segmentStep({ segments, tickets }: TranscoderFacts): Step {
  return step("segment", "The first segment transcoded", [segments, tickets], (all, { received }) => {
    const passed = all.filter((s) => s.result === "pass").length;
    if (passed > 0) return done(`${grouped(passed)} of the last ${count(all.length, "segment")} passed the orchestrator's checks.`);
    if (received.count > 0) return done("Segments have passed, longer ago than the log goes back.");
    const last = all[0];
    if (last) return wrong(`No segment has passed so far; the last one ${last.result === "fail" ? "failed" : "was not delivered"}${last.fault ? `: ${inWords(last.fault)}` : ""}. Honest work does not fail: look for overclocking or an old driver, or try encoder = "x264" on the same machine.`);
    return waiting("Nothing to do here: the first one comes when a broadcaster of this orchestrator has a live stream. If others get them all, ask the orchestrator's operator what they pay: who asks for more gets none.");
  });
}

function ticketStep({ tickets, log, now }: TranscoderFacts): Step {
  return step("ticket", "The first segment paid", [tickets], ({ received }) => {
    if (received.count > 0) {
      const won = received.winners > 0 ? `${grouped(received.winners)} won, and ${formatEth(received.redeemed_wei)} are redeemed` : "none has won so far, which is a matter of luck";
      return done(`${count(received.count, "ticket")}, worth ${formatEth(received.expected_wei)} on average; ${won}.`);
    }
    if (said(log, now, "the orchestrator refuses to pay: its verdict is signed")) return wrong("The orchestrator refuses to pay: the segment did not pass its check. Look under Segments for the fault.");
    return waiting("Each segment that passes is paid by a ticket at once. Nothing to do here.");
  });
}
