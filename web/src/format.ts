// Numbers, amounts and times in words. Pure: no clock is read and no locale is asked here, but for absolute times.

const ETH = 10n ** 18n;
const GWEI = 10n ** 9n;

/** What stands for a figure that is not known. */
export const NONE = "–";

/** Decimal wei from the API as an integer, null where there is none or it is not a number. */
export function wei(text: string | null | undefined): bigint | null {
  return typeof text === "string" && /^-?\d{1,78}$/.test(text) ? BigInt(text) : null;
}

/** Sum of decimal wei strings; what is not a number counts as nothing. */
export function sumWei(amounts: (string | null | undefined)[]): string {
  return amounts.reduce((sum, amount) => sum + (wei(amount) ?? 0n), 0n).toString();
}

/** `12345678` → `12 345 678`, with narrow no-break spaces. */
export function grouped(value: bigint | number): string {
  return value.toString().replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

/** An amount in the unit that suits it: ETH from a ten-thousandth up, then gwei, then wei; cut and not rounded up. */
export function formatEth(text: string | null | undefined): string {
  const amount = wei(text);
  if (amount === null) return NONE;
  const size = amount < 0n ? -amount : amount;
  if (size === 0n) return "0 ETH";
  if (size >= ETH / 10_000n) return `${decimal(amount, ETH)} ETH`;
  if (size >= GWEI / 1000n) return `${decimal(amount, GWEI)} gwei`;
  return `${grouped(amount)} wei`;
}

/** The same amount to the last wei, for tooltips. */
export function formatWei(text: string | null | undefined): string {
  const amount = wei(text);
  return amount === null ? "not known" : `${grouped(amount)} wei`;
}

function decimal(amount: bigint, unit: bigint): string {
  const size = amount < 0n ? -amount : amount;
  const whole = size / unit;
  // Fewer decimals as the whole part grows: some five digits are legible in a table.
  const places = whole >= 1000n ? 0 : whole >= 100n ? 2 : whole >= 1n ? 4 : 6;
  const part = ((size % unit) * 10n ** BigInt(places)) / unit;
  const tail = places === 0 ? "" : part.toString().padStart(places, "0").replace(/0+$/, "");
  return `${amount < 0n ? "-" : ""}${grouped(whole)}${tail ? `.${tail}` : ""}`;
}

/** Bits per second: `2.8 Mb/s`, `640 kb/s`. */
export function formatBitrate(bits: number | null | undefined): string {
  if (!known(bits) || bits <= 0) return NONE;
  if (bits >= 1e6) return `${trim(bits / 1e6, bits >= 1e7 ? 0 : 1)} Mb/s`;
  return `${Math.round(bits / 1e3)} kb/s`;
}

/** Milliseconds: `0.7 ms`, `212 ms`, `1.8 s`. */
export function formatMs(ms: number | null | undefined): string {
  if (!known(ms)) return NONE;
  return ms < 1000 ? `${trim(ms, ms < 10 ? 1 : 0)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** Seconds with one decimal, as a player shows them. */
export function formatSeconds(s: number | null | undefined): string {
  return known(s) ? `${s.toFixed(1)} s` : NONE;
}

/** A length of time: `42 s`, `3 min 05 s`, `2 h 10 min`, `3 d 4 h`. */
export function formatSpan(ms: number): string {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${pad(s % 60)} s`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${pad(Math.floor((s % 3600) / 60))} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

/** A place in a recording: `1:05`, `1:02:05`. */
export function formatClock(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  const [h, m] = [Math.floor(s / 3600), Math.floor((s % 3600) / 60)];
  return h > 0 ? `${h}:${pad(m)}:${pad(s % 60)}` : `${m}:${pad(s % 60)}`;
}

/** What somebody typed as a place in a recording (`65`, `1:05`, `0:01:05.5`): its seconds, or what is wrong with it. */
export function parseClock(text: string): number | string {
  const parts = text.trim().split(":");
  if (parts.length > 3 || !parts.every((part, i) => (i === parts.length - 1 ? /^\d{1,9}(\.\d{1,3})?$/ : /^\d{1,5}$/).test(part))) return "Type a time such as 1:05 or 65.";
  if (parts.slice(1).some((part) => Number(part) >= 60)) return "Minutes and seconds go up to 59.";
  return parts.reduce((sum, part) => sum * 60 + Number(part), 0);
}

/** Bytes: `640 kB`, `1.2 GB`. */
export function formatBytes(bytes: number | null | undefined): string {
  if (!known(bytes) || bytes < 0) return NONE;
  const units = ["B", "kB", "MB", "GB", "TB"];
  const at = Math.min(units.length - 1, bytes < 1 ? 0 : Math.floor(Math.log10(bytes) / 3));
  const size = bytes / 1000 ** at;
  return `${trim(size, size < 10 && at > 0 ? 1 : 0)} ${units[at]}`;
}

/** How long ago `at` was, in one unit. A time ahead of our clock reads as now: clocks of two machines differ. */
export function formatAgo(at: number, now: number): string {
  const s = Math.floor((now - at) / 1000);
  if (s < 1) return "now";
  if (s < 60) return `${s} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ago`;
  return `${Math.floor(s / 86_400)} d ago`;
}

/** Date and time of day to the millisecond, in the reader's own zone. */
export function formatAbsolute(at: number): string {
  const t = new Date(at);
  if (Number.isNaN(t.getTime())) return "not a time";
  const day = `${t.getFullYear()}-${pad(t.getMonth() + 1)}-${pad(t.getDate())}`;
  const ms = String(t.getMilliseconds()).padStart(3, "0");
  return `${day} ${pad(t.getHours())}:${pad(t.getMinutes())}:${pad(t.getSeconds())}.${ms}`;
}

/** Time as programs take it, in UTC; null for a number that is no time. */
export function iso(at: number): string | null {
  const t = new Date(at);
  return Number.isNaN(t.getTime()) ? null : t.toISOString();
}

/** `0x12ab34…cd56` of an address or a hash. */
export function short(hex: string): string {
  return hex.length > 14 ? `${hex.slice(0, 6)}…${hex.slice(-4)}` : hex;
}

/** A chance from 0 to 1: `1 in 40`, `25 %`, `always`. */
export function formatChance(p: number | null | undefined): string {
  if (!known(p) || p < 0) return NONE;
  if (p === 0) return "never";
  if (p >= 0.9995) return "always";
  return p >= 0.1 ? `${Math.round(p * 100)} %` : `1 in ${grouped(Math.round(1 / p))}`;
}

/** The usual name of a codec: `h264` and `avc1.64001f` are both `H.264`. */
export function formatCodec(codec: string | null | undefined): string {
  const c = (codec ?? "").toLowerCase();
  if (c === "h264" || c.startsWith("avc1") || c.startsWith("avc3")) return "H.264";
  if (c === "hevc" || c === "h265" || c.startsWith("hvc1") || c.startsWith("hev1")) return "HEVC";
  if (c.startsWith("av1") || c.startsWith("av01")) return "AV1";
  if (c.startsWith("vp9") || c.startsWith("vp09")) return "VP9";
  if (c.startsWith("vp8") || c.startsWith("vp08")) return "VP8";
  return codec || NONE;
}

/** `30`, `29.97`: frames per second without needless zeroes. */
export function formatFps(fps: number | null | undefined): string {
  return known(fps) && fps > 0 ? `${trim(fps, 2)} fps` : NONE;
}

/** `1 stream`, `2 streams`. */
export function count(n: number, one: string, many = `${one}s`): string {
  return `${grouped(n)} ${n === 1 ? one : many}`;
}

/** The beginning of a sentence. */
export function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function known(n: number | null | undefined): n is number {
  return typeof n === "number" && Number.isFinite(n);
}

function trim(n: number, places: number): string {
  return String(Number(n.toFixed(places)));
}

function pad(n: number): string {
  return String(n).padStart(2, "0");
}

/** A node's URL made absolute, relative ones taken from where the node answers; null where it is none of http(s). */
export function absolute(url: string, node: string): string | null {
  const base = node || globalThis.location?.href || "http://localhost";
  return URL.canParse(url, base) && /^https?:$/.test(new URL(url, base).protocol) ? new URL(url, base).href : null;
}

/** Units of 10^-18 MILL: `1 234.5 MILL`; cut after four digits, or after the first two that count. */
export function formatMill(units: bigint): string {
  const part = (units % ETH).toString().padStart(18, "0");
  const places = units >= ETH ? 4 : Math.max(4, part.search(/[1-9]/) + 2);
  const tail = part.slice(0, places).replace(/0+$/, "");
  return `${grouped(units / ETH)}${tail && `.${tail}`} MILL`;
}

/** Basis points as per cent: `7.5 %`. */
export function formatBps(bps: number): string {
  return `${bps / 100} %`;
}

/** What somebody typed as an amount with 18 digits after the point: its units, or what is wrong with it. */
export function parseAmount(text: string): bigint | string {
  const amount = text.trim().replaceAll(/[\s\u202f_]/g, "");
  if (amount === "") return "Type an amount.";
  const [, whole, part = ""] = /^(\d{1,30})(?:\.(\d*))?$/.exec(amount) ?? [];
  if (whole === undefined) return "Type a number such as 12.5, with a point.";
  if (part.length > 18) return "At most 18 digits after the point.";
  const units = BigInt(whole) * ETH + BigInt(part.padEnd(18, "0"));
  return units === 0n ? "The amount is nothing." : units;
}

/** Per cent with up to two digits after the point, as basis points; or what is wrong with it. */
export function parsePercent(text: string, most: number): number | string {
  const [, number] = /^(\d{1,3}(?:\.\d{0,2})?)\s*%?$/.exec(text.trim()) ?? [];
  if (number === undefined) return "Type per cent such as 7.5, with at most two digits after the point.";
  const bps = Math.round(Number(number) * 100);
  return bps > most ? `At most ${formatBps(most)}.` : bps;
}
