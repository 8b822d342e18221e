// How far two pictures are apart in brightness, sample by sample. Pure.

/** So many levels apart is white: what the eye would miss is seen. */
export const WHITE = 128;
/** Amber first, then white: a little and a lot are told apart, also by those who do not tell red from green. */
const GAINS = [3.2, 2, 1].map((gain) => (gain * 256) / WHITE) as [number, number, number];

export interface Difference {
  /** RGBA, opaque: black where both are alike. */
  pixels: Uint8ClampedArray<ArrayBuffer>;
  /** Levels of 256. */
  mean: number;
  most: number;
}

/** Of two RGBA pictures of one size. */
export function difference(a: Uint8ClampedArray, b: Uint8ClampedArray): Difference {
  if (a.length !== b.length) throw new Error(`pictures of ${a.length} and ${b.length} bytes cannot be compared`);
  const pixels = new Uint8ClampedArray(a.length);
  let sum = 0;
  let most = 0;
  for (let i = 0; i < a.length; i += 4) {
    const apart = Math.abs(luma(a, i) - luma(b, i));
    sum += apart;
    if (apart > most) most = apart;
    pixels[i] = apart * GAINS[0];
    pixels[i + 1] = apart * GAINS[1];
    pixels[i + 2] = apart * GAINS[2];
    pixels[i + 3] = 255;
  }
  return { pixels, mean: a.length === 0 ? 0 : sum / (a.length / 4), most };
}

/** BT.709, as the streams are. */
function luma(p: Uint8ClampedArray, i: number): number {
  return 0.2126 * p[i]! + 0.7152 * p[i + 1]! + 0.0722 * p[i + 2]!;
}
