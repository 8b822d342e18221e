import { describe, expect, test } from "vitest";
import { count, formatAbsolute, formatAgo, formatBitrate, formatChance, formatCodec, formatEth, formatFps, formatMs, formatSpan, formatWei, iso, NONE, short, sumWei } from "../src/format";

const thin = "\u202f";

describe("amounts", () => {
  test.each([
    ["0", "0 ETH"],
    ["1000000000000000000", "1 ETH"],
    ["9817340000000000000", "9.8173 ETH"],
    ["-1500000000000000000", "-1.5 ETH"],
    ["123456789000000000000000", `123${thin}456 ETH`],
    ["100000000000000", "0.0001 ETH"],
    ["99999999999999", `99${thin}999 gwei`],
    ["9020200000000", `9${thin}020 gwei`],
    ["1500000", "0.0015 gwei"],
    ["999999", `999${thin}999 wei`],
    ["1", "1 wei"],
  ])("%s wei reads as %s", (wei, text) => expect(formatEth(wei)).toBe(text));

  test("are cut, never rounded up to what is not there", () => {
    expect(formatEth("1999999999999999999")).toBe("1.9999 ETH");
    expect(formatEth("999999999999999999")).toBe("0.999999 ETH");
  });
  test("of the size of a whole supply keep every digit in the tooltip", () => {
    expect(formatWei("120000000123456789012345678")).toBe(`120 000 000 123 456 789 012 345 678 wei`.replaceAll(/(?<=\d) (?=\d)/g, thin));
  });
  test.each([null, undefined, "", "0x10", "1.5", "abc"])("%s is no amount", (text) => {
    expect(formatEth(text)).toBe(NONE);
    expect(formatWei(text)).toBe("not known");
  });
  test("add up without loss, and what is not known counts as nothing", () => {
    expect(sumWei(["9007199254740993", "1", null, undefined, "x"])).toBe("9007199254740994");
    expect(sumWei([])).toBe("0");
  });
});

describe("times", () => {
  test.each([
    [0, "now"],
    [999, "now"],
    [-5_000, "now"],
    [1_000, "1 s ago"],
    [59_999, "59 s ago"],
    [60_000, "1 min ago"],
    [7_200_000, "2 h ago"],
    [200_000_000, "2 d ago"],
  ])("%i ms back reads as %s", (back, text) => expect(formatAgo(1_000_000_000 - back, 1_000_000_000)).toBe(text));

  test.each([
    [-1, "0 s"],
    [42_000, "42 s"],
    [185_000, "3 min 05 s"],
    [7_800_000, "2 h 10 min"],
    [273_600_000, "3 d 4 h"],
  ])("%i ms last %s", (ms, text) => expect(formatSpan(ms)).toBe(text));

  test("absolute times are in the reader's zone, to the millisecond", () => {
    expect(formatAbsolute(new Date(2026, 10, 20, 9, 5, 7, 42).getTime())).toBe("2026-11-20 09:05:07.042");
    expect(formatAbsolute(Number.NaN)).toBe("not a time");
    expect(iso(Date.UTC(2026, 10, 20, 9, 5, 7, 42))).toBe("2026-11-20T09:05:07.042Z");
    expect(iso(1e300)).toBeNull();
  });
});

describe("figures", () => {
  test.each([
    [0.7, "0.7 ms"],
    [212.4, "212 ms"],
    [1849, "1.8 s"],
    [null, NONE],
    [Number.NaN, NONE],
  ])("%s ms is %s", (ms, text) => expect(formatMs(ms)).toBe(text));
  test.each([
    [2_800_000, "2.8 Mb/s"],
    [3_012_000, "3 Mb/s"],
    [20_000_000, "20 Mb/s"],
    [800_000, "800 kb/s"],
    [0, NONE],
  ])("%i bit/s is %s", (bits, text) => expect(formatBitrate(bits)).toBe(text));
  test.each([
    [1, "always"],
    [0.25, "25 %"],
    [1 / 40, "1 in 40"],
    [0, "never"],
    [-1, NONE],
  ])("a chance of %d is %s", (p, text) => expect(formatChance(p)).toBe(text));
  test.each([
    ["h264", "H.264"],
    ["avc1.64001f", "H.264"],
    ["hvc1.1.6.L93", "HEVC"],
    ["av01.0.04M.08", "AV1"],
    ["vp09.00.31.08", "VP9"],
    ["vp8", "VP8"],
    ["vvc1", "vvc1"],
    [null, NONE],
  ])("codec %s is %s", (codec, text) => expect(formatCodec(codec)).toBe(text));
  test("frame rates keep only what they need", () => {
    expect(formatFps(30)).toBe("30 fps");
    expect(formatFps(30_000 / 1001)).toBe("29.97 fps");
  });
  test("counts and hashes", () => {
    expect(count(1, "stream")).toBe("1 stream");
    expect(count(1936, "segment")).toBe(`1${thin}936 segments`);
    expect(short("0x1234567890abcdef1234567890abcdef12345678")).toBe("0x1234…5678");
    expect(short("0x12")).toBe("0x12");
  });
});
