// What the address of Get started says.

/** Which guide besides the node's own is open, and which operator was chosen. */
export interface StartSearch {
  guide?: "delegator";
  operator?: string;
}

export function startSearch(search: Record<string, unknown>): StartSearch {
  const { guide, operator } = search;
  return { ...(guide === "delegator" && { guide }), ...(typeof operator === "string" && /^0x[0-9a-f]{40}$/i.test(operator) && { operator }) };
}
