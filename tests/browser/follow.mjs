// Follows every playlist of a stream as a low-latency player would, and says what it finds against RFC 8216bis.
//   node follow.mjs MASTER_URL [SECONDS]
// It ends with the stream, or after so many seconds. Each playlist is reloaded by its next part, parsed strictly, and held against what was
// listed before and against the other playlists. Parts and segments are fetched, once each. Prints one line of JSON:
// { playlists, reloads, deltas, segments, parts, gaps, discontinuities, whole, late, bandwidths, findings }, and exits 1 when there is a finding.
import HLS from "hls-parser";

HLS.setOptions({ strictMode: true });
const [master, limit = "86400"] = process.argv.slice(2);
const until = Date.now() + 1000 * Number(limit);
/** A publisher may be away for ten seconds, and a reload is held for six. */
const ANSWER_MS = 25_000;
const MOST_FINDINGS = 20;

const facts = { playlists: 0, reloads: 0, deltas: 0, segments: 0, parts: 0, gaps: 0, discontinuities: 0, whole: 0, late: 0, bandwidths: {}, findings: [] };
const finding = (what) => facts.findings.length < MOST_FINDINGS && facts.findings.push(what);
/** By segment number: what every playlist must say alike. */
const timeline = new Map();

async function get(url) {
  const answer = await fetch(url, { signal: AbortSignal.timeout(ANSWER_MS) });
  return { status: answer.status, bytes: Buffer.from(await answer.arrayBuffer()), headers: answer.headers };
}

function parse(name, text) {
  try {
    return HLS.parse(text);
  } catch (error) {
    finding(`${name}: ${error.message}\n${text}`);
    return null;
  }
}

/** The boxes between two places of a file: kind, where its content begins, where it ends. */
function* boxes(bytes, from = 0, to = bytes.length) {
  for (let at = from; at + 8 <= to; at += bytes.readUInt32BE(at)) yield [bytes.toString("latin1", at + 4, at + 8), at + 8, at + bytes.readUInt32BE(at)];
}
const inside = (bytes, box, kind) => [...boxes(bytes, box[1], box[2])].filter(([found]) => found === kind);

/** What the samples of a segment last together, in units of its track (ISO/IEC 14496-12, 8.8.7 and 8.8.8). */
function units(bytes) {
  let sum = 0;
  for (const traf of [...boxes(bytes)].filter(([kind]) => kind === "moof").flatMap((moof) => inside(bytes, moof, "traf"))) {
    const [[, head]] = inside(bytes, traf, "tfhd");
    const set = bytes.readUInt32BE(head);
    const each = set & 8 ? bytes.readUInt32BE(head + 8 + (set & 1 ? 8 : 0) + (set & 2 ? 4 : 0)) : 0;
    for (const [, run] of inside(bytes, traf, "trun")) {
      const flags = bytes.readUInt32BE(run);
      const width = 4 * [0x100, 0x200, 0x400, 0x800].filter((field) => flags & field).length;
      const samples = run + 8 + (flags & 1 ? 4 : 0) + (flags & 4 ? 4 : 0);
      for (let n = 0; n < bytes.readUInt32BE(run + 4); n += 1) sum += flags & 0x100 ? bytes.readUInt32BE(samples + n * width) : each;
    }
  }
  return sum;
}

/** When the first sample of a segment is decoded, in units of its track. */
function begins(bytes) {
  const [moof] = [...boxes(bytes)].filter(([kind]) => kind === "moof");
  const [traf] = inside(bytes, moof, "traf");
  const [[, at]] = inside(bytes, traf, "tfdt");
  return bytes[at] === 1 ? Number(bytes.readBigUInt64BE(at + 4)) : bytes.readUInt32BE(at + 4);
}

/** Units a second of the track that an init segment describes. */
function timescale(init) {
  const at = init.indexOf("mdhd", 0, "latin1") + 4;
  return init.readUInt32BE(at + (init[at] === 1 ? 20 : 12));
}

/** The highest bit rate of any segment of a playlist, but for short rests of one; by the playlist's name. */
const peaks = new Map();

/** Follows one media playlist to its end. */
async function follow(url) {
  const name = url.pathname.split("/").at(-2);
  const listed = new Map(); // segments by number
  const parts = new Map(); // the bytes of parts by "number.index"
  const scales = new Map(); // timescales by init segment
  let target = null;
  let partTarget = null;
  let next = null;
  let first = 0;
  let edge = -1;
  let reached = 0; // times never run backwards, not even at a discontinuity
  while (Date.now() < until) {
    const asked = new URL(url);
    if (next) for (const [key, value] of Object.entries(next)) asked.searchParams.set(key, value);
    const { status, bytes } = await get(asked);
    facts.reloads += 1;
    if (status === 503) continue;
    if (status !== 200) return finding(`${name}: ${asked.search} was answered with ${status}: ${bytes}`);
    const playlist = parse(name, bytes.toString());
    if (!playlist) return;
    target ??= playlist.targetDuration;
    partTarget ??= playlist.partTargetDuration;
    if (playlist.targetDuration !== target) finding(`${name}: the target duration changed from ${target} to ${playlist.targetDuration}`);
    if (playlist.partTargetDuration !== partTarget && !playlist.endlist) finding(`${name}: the part target changed from ${partTarget} to ${playlist.partTargetDuration}`);
    if (playlist.mediaSequenceBase < first) finding(`${name}: the media sequence went back from ${first} to ${playlist.mediaSequenceBase}`);
    first = playlist.mediaSequenceBase;

    const whole = playlist.segments.filter((s) => s.uri);
    for (const s of whole) {
      const number = s.mediaSequenceNumber;
      const now = { uri: s.uri, duration: s.duration, gap: s.gap === true, discontinuity: s.discontinuity === true, date: s.programDateTime?.getTime(), sequence: s.discontinuitySequence };
      if (Math.round(now.duration) > target) finding(`${name} ${number}: ${now.duration} s is more than the target duration ${target}`);
      const before = listed.get(number);
      if (before && JSON.stringify(before) !== JSON.stringify(now)) finding(`${name} ${number} changed from ${JSON.stringify(before)} to ${JSON.stringify(now)}`);
      const shared = JSON.stringify([now.discontinuity, now.date]);
      const others = timeline.get(number) ?? shared;
      timeline.set(number, others);
      if (others !== shared) finding(`${name} ${number}: ${shared} here, ${others} elsewhere`);
      if (before) continue;
      listed.set(number, now);
      facts.segments += 1;
      facts.gaps += now.gap ? 1 : 0;
      facts.discontinuities += now.discontinuity && !now.gap ? 1 : 0;
      if (now.gap) continue;
      const media = await get(new URL(s.uri, url));
      if (media.status !== 200) finding(`${name} ${number}: ${s.uri} was answered with ${media.status}`);
      if (!scales.has(s.map.uri)) scales.set(s.map.uri, timescale((await get(new URL(s.map.uri, url))).bytes));
      const lasts = units(media.bytes) / scales.get(s.map.uri);
      if (Math.abs(lasts - s.duration) > 0.001) finding(`${name} ${number}: it lasts ${lasts} s and is listed with ${s.duration}`);
      const time = begins(media.bytes) / scales.get(s.map.uri);
      if (time < reached) finding(`${name} ${number}: it begins at ${time} s, and what was before it went to ${reached} s`);
      reached = time + lasts - 0.001;
      if (lasts >= target / 2) peaks.set(name, Math.max(peaks.get(name) ?? 0, (8 * media.bytes.length) / lasts));
      // What was listed in parts is their sum; what a lost worker left was taken back and is listed whole.
      const had = [];
      for (let index = 0; parts.has(`${number}.${index}`); index += 1) had.push(parts.get(`${number}.${index}`));
      const sum = Buffer.concat(had);
      if (s.parts.length > 0 && had.length === s.parts.length && !sum.equals(media.bytes)) finding(`${name} ${number} is not the sum of its ${had.length} parts`);
      if (s.parts.length === 0 && edge >= number) facts.whole += 1;
    }
    for (const s of playlist.segments) {
      for (const [index, part] of s.parts.entries()) {
        if (part.hint) continue;
        edge = Math.max(edge, s.mediaSequenceNumber);
        const key = `${s.mediaSequenceNumber}.${index}`;
        if (!part.uri.split("/").at(-1).startsWith(`${key}.m4s`)) finding(`${name}: part ${key} is ${part.uri}`);
        if (part.duration > partTarget + 1e-4) finding(`${name} ${key}: ${part.duration} s is more than the part target ${partTarget}`);
        if (parts.has(key)) continue;
        facts.parts += 1;
        const media = await get(new URL(part.uri, url));
        if (media.status === 200) parts.set(key, media.bytes);
        else facts.late += 1; // its worker was lost in between
      }
    }
    for (const key of parts.keys()) if (Number.parseInt(key, 10) < first - 5) parts.delete(key);
    if (playlist.endlist) return;
    const last = playlist.segments.at(-1);
    const open = last && !last.uri ? last : null;
    const newest = whole.at(-1)?.mediaSequenceNumber ?? first - 1;
    next = { _HLS_msn: newest + 1, ...(partTarget ? { _HLS_part: open ? open.parts.filter((p) => !p.hint).length : 0 } : {}) };
    // A delta update must leave the same playlist, so its own segments are held against what is known.
    if (facts.reloads % 10 === 0) {
      const delta = await get(new URL("?_HLS_skip=YES", url));
      const text = delta.bytes.toString();
      const skipped = Number(/SKIPPED-SEGMENTS=(\d+)/.exec(text)?.[1] ?? 0);
      facts.deltas += skipped > 0 ? 1 : 0;
      const from = Number(/MEDIA-SEQUENCE:(\d+)/.exec(text)?.[1]) + skipped;
      const numbers = [...text.matchAll(/^(?:\.\.\/[^/]+\/)?(\d+)\.m4s/gm)].map((match) => Number(match[1]));
      if (numbers.some((number, place) => number !== from + place)) finding(`${name}: a delta update of ${skipped} lists ${numbers} from ${from} on`);
    }
  }
}

try {
  const { status, bytes } = await get(master);
  if (status !== 200) throw new Error(`${master}: ${status}`);
  const playlist = parse("master", bytes.toString());
  const named = [...playlist.variants.filter((v) => !v.isIFrameOnly).map((v) => v.uri), ...playlist.variants.flatMap((v) => v.audio.map((a) => a.uri))];
  const urls = [...new Set(named)].map((uri) => new URL(uri, master));
  facts.playlists = urls.length;
  await Promise.all(urls.map((url) => follow(url)));
  for (const variant of playlist.variants.filter((v) => v.isIFrameOnly)) {
    const pictures = await get(new URL(variant.uri, master));
    const listed = parse(variant.uri, pictures.bytes.toString());
    if (listed && listed.segments.length === 0) finding(`${variant.uri} lists nothing`);
  }
  // What the master playlist says at the end, of all that was listed.
  const said = parse("master", (await get(master)).bytes.toString());
  for (const { uri, bandwidth } of said.variants.filter((v) => !v.isIFrameOnly)) {
    const name = uri.split("/")[0];
    const measured = (peaks.get(name) ?? 0) + (peaks.get("audio") ?? 0);
    facts.bandwidths[name] = [bandwidth, Math.round(measured)];
    if (bandwidth < measured || bandwidth > 1.1 * measured) finding(`${name}: BANDWIDTH is ${bandwidth}, and its peak was ${measured} bit/s`);
  }
} catch (error) {
  finding(String(error));
}
console.log(JSON.stringify(facts));
process.exitCode = facts.findings.length > 0 ? 1 : 0;
