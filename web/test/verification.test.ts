// What the console makes of a rendition that failed: figures, words, pictures and signatures.
import { describe, expect, test } from "vitest";
import { difference, WHITE } from "../src/verification/difference";
import { bars, type Evidence, type Sampling, secrets } from "../src/verification/evidence";
import { inWords, levels } from "../src/verification/fault";
import { signers } from "../src/verification/signed";

describe("figures", () => {
  test("come in levels and not in sixteenths", () => {
    expect(levels(3104)).toBe("194");
    expect(levels(200)).toBe("12.5");
    expect(inWords("brightness differs from the source by 3104/16 levels in its worst cell, 160/16 are accepted there")).toBe("brightness differs from the source by 194 levels in its worst cell, 10 are accepted there");
    expect(inWords("the sample aspect ratio is 4:3, 16/9 was agreed")).toBe("the sample aspect ratio is 4:3, 16/9 was agreed");
  });
  const [luma, chroma, bits] = bars({ luma: 3104, luma_limit: 160, chroma: 64, chroma_limit: 64, bits: 0, bits_limit: 0, firm: 158, flat: false });
  test("beyond the limit fill their bar, and the limit is where it belongs", () => {
    expect(luma).toMatchObject({ beyond: true, value: 1, text: "194 levels apart, 10 accepted" });
    expect(luma!.limit).toBeCloseTo(160 / 3104);
  });
  test("at the limit are accepted, and leave the limit within the bar", () => {
    expect(chroma).toMatchObject({ beyond: false, value: 0.8, limit: 0.8 });
  });
  test("of nothing are nothing, and no division by it", () => {
    expect(bits).toMatchObject({ beyond: false, value: 0, limit: 0, text: "0 of 158 bits differ, 0 accepted" });
  });
  test("say nothing of the structure of a flat source", () => {
    expect(bars({ luma: 3104, luma_limit: 160, chroma: 64, chroma_limit: 64, bits: 9, bits_limit: 4, firm: 2, flat: true })).toHaveLength(2);
  });
});

describe("the difference of two pictures", () => {
  const picture = (...samples: [number, number, number][]) => new Uint8ClampedArray(samples.flatMap((rgb) => [...rgb, 255]));
  test("is black where they are alike, white where they are far apart, and opaque", () => {
    const { pixels, mean, most } = difference(picture([10, 200, 30], [255, 255, 255]), picture([10, 200, 30], [0, 0, 0]));
    expect([...pixels]).toEqual([0, 0, 0, 255, 255, 255, 255, 255]);
    expect(mean).toBeCloseTo(127.5);
    expect(most).toBeCloseTo(255);
  });
  test("is amber where it is small, more of it the further apart, and the same both ways", () => {
    const [dark, light] = [picture([100, 100, 100]), picture([110, 110, 110])];
    const { pixels, mean } = difference(dark, light);
    expect(pixels[0]!).toBeGreaterThan(pixels[1]!);
    expect(pixels[1]!).toBeGreaterThan(pixels[2]!);
    expect(pixels[2]!).toBeGreaterThan(0);
    expect(mean).toBeCloseTo(10);
    expect(difference(light, dark).pixels).toEqual(pixels);
    expect(difference(picture([0, 0, 0]), picture([WHITE, WHITE, WHITE])).pixels[2]).toBe(255);
  });
  test("weighs green most, as eyes do", () => {
    const black = picture([0, 0, 0]);
    expect(difference(black, picture([0, 90, 0])).mean).toBeGreaterThan(difference(black, picture([90, 0, 0])).mean);
  });
  test("of two sizes is refused", () => expect(() => difference(picture([0, 0, 0]), new Uint8ClampedArray())).toThrow("cannot be compared"));
});

describe("the state of the sampling secrets", () => {
  const sampling: Sampling = { epoch: 20779, revealed: 20779, next_reveal_at: 1_795_478_400, overdue_at: 1_795_737_600, problem: null };
  const now = 1_795_309_000_000;
  test("says up to when they are public, and when the next can be", () => {
    expect(secrets("sluice", sampling, now)).toMatchObject({ bad: false });
    expect(secrets("sluice", sampling, now).text).toMatch(/^The sampling secrets of sluice are public up to 2026-11-22 \(UTC\); the next can be revealed from 2026-11-2\d \d\d:\d\d on\.$/);
  });
  test("warns of one that is overdue, and of what is not known", () => {
    expect(secrets("sluice", sampling, 1_795_737_600_000)).toMatchObject({ bad: true, text: expect.stringContaining("anyone can have the node slashed") });
    expect(secrets("sluice", { ...sampling, problem: "the chain does not answer" }, now)).toEqual({ bad: true, text: "How the sampling secrets of sluice stand is not known: the chain does not answer." });
  });
  test("of a node without any says so", () => {
    expect(secrets("sluice", { ...sampling, revealed: 1e300 }, now).text).toContain("public up to day 1e+300");
    expect(secrets("sluice", { epoch: 1, revealed: null, next_reveal_at: null, overdue_at: null, problem: null }, now)).toEqual({ bad: false, text: "sluice has committed to no sampling secrets at the chain." });
  });
});

/** As a network of this project has signed it. */
const SIGNED: Pick<Evidence, "assignment" | "receipt"> = {
  assignment: {
    body: {
      streamId: "0x7c813f61b025d4053b5bff82f1421ebddeb28e2dde323876b48cdbcbd944aae5",
      seq: 0,
      attempt: 0,
      sourceHash: "0x9b3f36ca9a0a575334b176b977ccb900ca16c4fdb7fdfb1980282bbda8bcc975",
      profileHash: "0x6a98c1215e8e05dd9d6f581a251873909f72d231dba4f54b6e23b9bf5c840fdf",
      price: "0x13a3466c00",
      deadline: "0x6b024189",
      payer: "0x8fa224ec247671070aeb469532f481dd3e91c522",
      worker: "0x15254ad6e8c3e6ee2c5a63dfcf12e9cdd71803ef",
      sampleCommit: "0x7c5ab737b96d9ad353fab8910aec1b70b05d33b95de401fe6e7acbafae3bbf42",
    },
    signature: "0x57eb10b224f5bd345d7e6ab4d8adb7823c8aa7bfaafc92c522ceabc327799971056070de9ff8ba9765b92426b73357a0bb713e19fd4b42d230fd4a8ba01ee5411b",
  },
  receipt: {
    body: {
      assignmentHash: "0x9d3fd5c6c6fdca37f754e0808a6c6b92154871f58edb5232e24e48025169e2fe",
      renditionRoot: "0x25807aacc5cfc9b4bd1f111a4698b34ba6b4218ae239eef7f9eb4ea1749eec4a",
      hashRoot: "0xa7f109ed2e26abe112e5f345d01cf6493cb0028869fe0e13351acbe2a11a53d5",
      pixels: 93715200,
      frames: 180,
      duration: 180000,
      time: "0x6b024184",
    },
    signature: "0xe6944a5f97fe84468c2dcd94b119b8bf864ac817c3c80f12ae9673f9ee20e2393ceec0cd50003de25816773b5fc8825e5ee743deb6c306713f26c95fafc394e21b",
  },
};
const CHAIN = { id: 31337, registry: `0x${"0".repeat(40)}`, broker: "0xdc64a140aa3e981100a9beca4e685f962f0cf6c9", block: 1 };

describe("what was signed", () => {
  const evidence = SIGNED as Evidence;
  test("names who has signed it", async () => {
    const found = await signers(evidence, CHAIN);
    expect(found.assignment.toLowerCase()).toBe(evidence.assignment.body.payer);
    expect(found.receipt.toLowerCase()).toBe(evidence.assignment.body.worker);
    expect(found.linked).toBe(true);
  });
  test("does not name them once a word of it is another, or on another chain", async () => {
    const { assignment } = evidence;
    const other = await signers({ ...evidence, assignment: { ...assignment, body: { ...assignment.body, price: "0x1" } } }, CHAIN);
    expect(other.assignment.toLowerCase()).not.toBe(assignment.body.payer);
    expect(other.linked).toBe(false);
    expect((await signers(evidence, { ...CHAIN, id: 1 })).receipt.toLowerCase()).not.toBe(assignment.body.worker);
  });
  test("is told apart from what is no signature", async () => {
    await expect(signers({ ...evidence, receipt: { ...evidence.receipt, signature: "0x00" } }, CHAIN)).rejects.toThrow();
  });
});
