// Faults of verification as people count: in levels and not in the sixteenths that are measured. Pure.

/** `3104/16 levels` becomes `194 levels`. */
export function inWords(fault: string): string {
  return fault.replaceAll(/\b(\d+)\/16\b/g, (_, n: string) => levels(Number(n)));
}

/** Sixteenths of a level: `194`, `12.5`. */
export function levels(sixteenths: number): string {
  return String(Number((sixteenths / 16).toFixed(1)));
}
