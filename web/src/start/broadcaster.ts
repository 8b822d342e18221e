// The way of a broadcaster's operator, from an orchestrator to a viewer. Pure.
import type { Address } from "viem";
import type { Ingest, Segment, Stream, StreamKey, Tickets } from "../api";
import { moment } from "../chain/refusal";
import { count, formatBitrate, formatCodec, formatFps, short } from "../format";
import { done, eth, fileOf, gasMoney, inOrder, isPoverty, type Judged, known, type Line, next, said, type Settings, type Step, step, type Told, type Wallet, waiting, walletStep, wrong } from "./steps";
import type { Listing } from "./transcoder";

/** The money that the node spends, as the chain has it. */
export interface Spending {
  /** The node's own account. */
  node: Address;
  payer: Address;
  /** The node's own coin. */
  coin: bigint;
  /** What tickets can take, for each orchestrator. */
  locks: { payee: Address; usable: bigint }[];
  /** The node's key at the payer; null where it needs none. */
  session: { expiry: number; dailyCap: bigint } | null;
  gasPrice: bigint;
  stoppedUntil: number;
  /** The chain's clock. */
  now: number;
}

export interface BroadcasterFacts {
  /** The page's clock, unix milliseconds. */
  now: number;
  wallet: Wallet;
  settings: Told<Settings>;
  listings: Told<Listing[]>;
  spending: Told<Spending>;
  ingest: Told<Ingest>;
  keys: Told<StreamKey[]>;
  streams: Told<Stream[]>;
  segments: Told<Segment[]>;
  tickets: Told<Tickets>;
  log: Told<Line[]>;
}

/** A session key has to outlive the tickets that it signs (24 hours). */
const TICKET_S = 86_400;
const REFUSED = ["rtmp refused", "srt refused", "whip refused", "rtmp publisher cut off", "srt publisher cut off", "whip publisher cut off"];

const same = (a: string, b: string) => a.toLowerCase() === b.toLowerCase();

export function broadcasterSteps(facts: BroadcasterFacts): Step[] {
  const [lock, session] = [lockStep(facts), sessionStep(facts)];
  const spare = lock.state === "done" && session.state === "done" ? "Not needed: what the node spends is locked and allowed." : null;
  return inOrder([orchestratorStep(facts), walletStep(facts.wallet, spare), lock, session, keyStep(facts), pictureStep(facts), renditionStep(facts), watchStep(facts)]);
}

function orchestratorStep({ settings, listings }: BroadcasterFacts): Step {
  return step("orchestrator", "An orchestrator to transcode", [settings, listings], (s, all) => {
    const place = `orchestrators, in [broadcaster] of ${fileOf(s, "broadcaster")}`;
    if (all.length === 0) return wrong(`The node names no orchestrator, so viewers would get the source alone. Put an address into ${place}, and start the node again. Stake lists those of this network.`);
    const listed = all.filter((o) => o.uri !== null);
    if (listed.length === 0) return wrong(`${all.map((o) => o.address).join(", ")}: no orchestrator of this network's registry. Ask its operator for the address, put it into ${place}, and start the node again.`);
    return done(`${listed.map((o) => `${short(o.address)} at ${o.uri}`).join("; ")}.`);
  });
}

function lockStep({ settings, spending, wallet, log, now }: BroadcasterFacts): Step {
  return step("lock", "Money locked for the orchestrator", [settings, spending], ({ lock }, s): Judged => {
    // Below half of it a node fills its lock up again.
    const good = s.locks.filter((l) => l.usable * 2n >= lock && l.usable > 0n);
    if (good.length > 0) return done(`${good.map((l) => `${eth(l.usable)} for ${short(l.payee)}`).join("; ")}. Only winning tickets take it; the rest can be taken back.`);
    const short_ = s.locks[0];
    if (!short_) return waiting("It is locked for an orchestrator that the node names.");
    if (s.stoppedUntil > s.now) return wrong(`The guardian of the contracts has stopped new deposits until ${moment(s.stoppedUntil, s.now)}. Nothing can be locked before.`);
    const missing = lock - short_.usable;
    if (!same(s.payer, s.node)) return payerLocks(s, short_.payee, missing, wallet);
    const need = missing + gasMoney(s.gasPrice) / 2n;
    if (s.coin < need) {
      const coin = missing + gasMoney(s.gasPrice) - s.coin;
      if (wallet.coin !== null && wallet.coin <= coin) return wrong(`The node's account lacks ${eth(coin)} for its lock and for gas, and the wallet has ${eth(wallet.coin)}: put more into it, or send coin to ${s.node} from elsewhere.`);
      return next(`The node pays from an account of its own, ${short(s.node)}, whose key stays on its machine. It lacks ${eth(coin)} for its lock and for gas.`, { do: "send-coin", to: s.node, amount: coin });
    }
    const why = said(log, now, "cannot use an orchestrator", "the lock for an orchestrator could not be filled");
    return why && !isPoverty(why) ? wrong(`The node cannot lock it: ${why}. It tries again every few seconds.`) : waiting("The node has the money, and locks it by itself within seconds.");
  });
}

/** Another account than the node's pays: that one, or anybody for it, locks the money. */
function payerLocks({ payer }: Spending, payee: Address, missing: bigint, wallet: Wallet): Judged {
  const isPayer = wallet.address !== null && same(wallet.address, payer);
  if (wallet.coin !== null && wallet.coin <= missing) return wrong(`${eth(missing)} have to be locked for ${short(payee)}, and the wallet has ${eth(wallet.coin)}: put more into it.`);
  const offer = { do: "lock", payee, amount: missing, payer: isPayer ? null : payer } as const;
  const whose = isPayer || !wallet.address ? "" : ` The connected account is another than the payer, ${short(payer)}: what it locks will be the payer's.`;
  return next(`Tickets are paid out of a lock that nobody but this orchestrator can take from. ${eth(missing)} are missing in it.${whose}`, offer);
}

function sessionStep({ spending, wallet }: BroadcasterFacts): Step {
  return step("session-key", "The node's key may sign tickets", [spending], ({ node, payer, session, now }): Judged => {
    if (same(node, payer) || !session) return done("Not needed: the node pays from its own account.");
    const { expiry, dailyCap } = session;
    if (expiry > now + TICKET_S) return done(`Until ${moment(expiry, now)}, and up to ${eth(dailyCap)} a day for each payee.`);
    if (expiry > 0) {
      const over = expiry <= now ? "ended" : "ends";
      return wrong(`The node's key ${over} at ${moment(expiry, now)}, and tickets live for a day. A key's terms never change: stop the node, give it another data_dir, and start it again with a new key.`);
    }
    if (wallet.address && !same(wallet.address, payer)) return wrong(`Only the payer, ${payer}, can allow it: choose that account in the wallet, or make ${short(wallet.address)} the payer in the node's file.`);
    return next(`The money is the payer's, and the node signs the tickets: allow its key, ${short(node)}. At risk is the daily cap that you set.`, { do: "session-key", key: node });
  });
}

function keyStep({ settings, ingest, keys }: BroadcasterFacts): Step {
  return step("key", "A stream key", [ingest, keys], (told, made): Judged => {
    const names = new Set([...told.keys, ...made.filter((k) => k.revoked_at === null)].map((k) => k.name));
    if (names.size > 0) return done(`${count(names.size, "stream")} can be published: ${[...names].slice(0, 5).join(", ")}${names.size > 5 ? " and more" : ""}.`);
    if (known(settings)?.hook) return done("Your own program decides who may publish.");
    return next("Whoever publishes needs a key. It is shown once, when it is made.", { do: "keys" }, { do: "run", command: `millrace key new show --config ${fileOf(known(settings), "broadcaster")}` });
  });
}

const isLive = (s: Stream) => s.state === "live";

function pictureStep(facts: BroadcasterFacts): Step {
  return step("picture", "The first picture arrives", [facts.streams, facts.tickets, facts.segments], (streams, tickets, segments): Judged => {
    const live = streams.find((s) => isLive(s) && s.source && s.segments > 0);
    if (live?.source) {
      const { codec, width, height, fps, bitrate } = live.source;
      const warning = live.ingest?.warnings[0];
      return done(`${live.name}: ${height === 0 ? "sound alone" : `${width}×${height}, ${formatFps(fps)}`}, ${formatCodec(codec)}, ${formatBitrate(bitrate)}.${warning ? ` To do better: ${warning}.` : ""}`);
    }
    if (streams.some(isLive)) return waiting("An encoder is connected; its first segment takes a few seconds.");
    // What was sent to an orchestrator the node remembers over its restarts.
    if (streams.some((s) => s.segments > 0) || tickets.sent.count > 0 || segments.length > 0) return done("Streams have come in before. None is live now.");
    const why = said(facts.log, facts.now, ...REFUSED);
    if (why) return wrong(`An encoder was just refused: ${why}.`, { do: "publish" });
    return next("Publish with your key, from OBS, ffmpeg or this browser.", { do: "publish" });
  });
}

function renditionStep(facts: BroadcasterFacts): Step {
  const { log, now } = facts;
  return step("rendition", "The first rendition comes back", [facts.streams, facts.tickets, facts.segments], (streams, tickets, segments): Judged => {
    const live = streams.find((s) => isLive(s) && s.source && s.segments > 0);
    const made = live?.renditions.filter((r) => r.last_seq !== null && r.state === "ok") ?? [];
    if (made.length > 0) return done(`${made.map((r) => r.name).join(", ")}, transcoded for ${live?.name ?? ""}.`);
    if (!live) {
      const before = streams.some((s) => s.renditions.some((r) => r.last_seq !== null)) || segments.some((s) => s.result === "pass") || tickets.sent.count > 0;
      return before ? done("Renditions were made before. No stream is live now.") : waiting("It comes some seconds after the first picture.");
    }
    if (live.source?.height === 0) return waiting("Sound alone is served as it is: publish a picture with it.");
    if (live.renditions.length === 0) return wrong("The ladder is empty, so nothing is transcoded: put rungs into ladder, in [broadcaster] of the node's file.");
    const why = said(log, now, "cannot use an orchestrator", "connection to an orchestrator lost");
    if (live.orchestrator === null) return why ? wrong(`No orchestrator takes the stream: ${why}. The node tries again every few seconds; viewers get the source meanwhile.`) : waiting("The node is connecting to its orchestrator.");
    if (live.renditions.every((r) => r.state === "down")) return wrong("The orchestrator takes the stream and brings nothing back: it has no transcoder with room for it. Ask its operator, or name another orchestrator; viewers get the source meanwhile.");
    return waiting("The orchestrator has the stream. The first rendition takes some seconds.");
  });
}

function watchStep({ streams }: BroadcasterFacts): Step {
  const judged = step("watch", "Watch it", [streams], (all): Judged => {
    const live = all.filter((s) => isLive(s) && s.segments > 0);
    const watched = live.find((s) => s.viewers > 0);
    if (watched) return done(`${count(watched.viewers, "viewer")} of ${watched.name} now.`);
    return live[0] ? next("It is live, and nobody watches.", { do: "watch", stream: live[0].id }) : waiting("When a stream is live.");
  });
  return { ...judged, momentary: true };
}
