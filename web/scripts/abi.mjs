// Writes the interfaces of the contracts that the page speaks to into src/abi, as constants whose types the compiler reads. Run by
// the build, the tests and the type check, so that they are those of contracts/artifacts.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";

const CONTRACTS = { registry: "Registry", broker: "TicketBroker", token: "MillraceToken", parameters: "Parameters" };
const at = (path) => new URL(path, import.meta.url);

mkdirSync(at("../src/abi"), { recursive: true });
for (const [name, artifact] of Object.entries(CONTRACTS)) {
  const { abi } = JSON.parse(readFileSync(at(`../../contracts/artifacts/${artifact}.json`), "utf8"));
  const entries = abi.filter((entry) => entry.type !== "constructor").map(bare);
  writeFileSync(at(`../src/abi/${name}.ts`), `// Made by scripts/abi.mjs from contracts/artifacts/${artifact}.json.\nexport const ${name}Abi = ${JSON.stringify(entries)} as const;\n`);
}

/** Without the names of Solidity's own types, which nothing here reads. */
function bare(value) {
  if (Array.isArray(value)) return value.map(bare);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).filter(([key]) => key !== "internalType").map(([key, inner]) => [key, bare(inner)]));
}
