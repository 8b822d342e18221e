// The reference of the contracts for people who integrate, from what the compiler says of them: ABI and NatSpec.

const KINDS = { view: "view", pure: "view", payable: "takes coin", nonpayable: "" };

// A type as the Solidity sources name it.
const typeName = (p) => (p.internalType || p.type).replace(/^(struct|enum|contract) /, "");

const parameter = (p) => [typeName(p), p.indexed ? "indexed" : "", p.name].filter(Boolean).join(" ");

// The name under which the compiler files its docs: without parameters' names, structs unfolded.
const canonical = (p) => (p.type.startsWith("tuple") ? `(${p.components.map(canonical).join(",")})${p.type.slice(5)}` : p.type);
const key = (entry) => `${entry.name}(${entry.inputs.map(canonical).join(",")})`;

const oneLine = (text) => (text || "").replace(/\s+/g, " ").trim();

function entryText(entry, user, dev) {
  const returns = (entry.outputs || []).length ? ` → (${entry.outputs.map(parameter).join(", ")})` : "";
  const kind = KINDS[entry.stateMutability] ? ` · ${KINDS[entry.stateMutability]}` : "";
  const lines = [`#### \`${entry.name}(${entry.inputs.map(parameter).join(", ")})${returns}\`${kind}`, ""];
  // What has no notice comes from a library, whose own documentation tells it.
  if (!user?.notice) return lines.join("\n");
  lines.push([oneLine(user.notice), oneLine(dev?.details)].filter(Boolean).join(" "), "");
  const named = [...Object.entries(dev?.params || {}), ...Object.entries(dev?.returns || {})];
  for (const [name, meaning] of named) {
    lines.push(name.startsWith("_") ? `- returns ${oneLine(meaning)}` : `- \`${name}\`: ${oneLine(meaning)}`);
  }
  if (named.length) lines.push("");
  return lines.join("\n");
}

// Every struct that a call takes or gives, with its fields.
function structs(abi) {
  const found = new Map();
  const look = (p) => {
    if (!p.components) return;
    found.set(typeName(p).replace(/\[\d*\]$/, ""), p.components.map(parameter));
    p.components.forEach(look);
  };
  for (const entry of abi) [...(entry.inputs || []), ...(entry.outputs || [])].forEach(look);
  return [...found].sort(([a], [b]) => (a < b ? -1 : 1));
}

function contractText(name, { abi, userdoc, devdoc }) {
  const lines = [`## ${name}`, ""];
  for (const text of [devdoc.title, userdoc.notice, devdoc.details]) {
    if (text) lines.push(oneLine(text).replace(`${name}: `, ""), "");
  }
  // Docs of methods by name and types; of errors a list for each.
  const user = (kind, entry) => [userdoc[kind]?.[key(entry)]].flat()[0];
  const dev = (kind, entry) => [devdoc[kind]?.[key(entry)]].flat()[0];
  for (const [title, type, kind] of [["Calls", "function", "methods"], ["Events", "event", "events"], ["Errors", "error", "errors"]]) {
    const entries = abi.filter((entry) => entry.type === type).sort((a, b) => (key(a) < key(b) ? -1 : 1));
    if (!entries.length) continue;
    lines.push(`### ${name}: ${title.toLowerCase()}`, "");
    for (const entry of entries) lines.push(entryText(entry, user(kind, entry), dev(kind, entry)));
  }
  const types = structs(abi);
  if (types.length) {
    lines.push(`### ${name}: structs`, "");
    for (const [type, fields] of types) lines.push(`- \`${type}\`: ${fields.map((field) => `\`${field}\``).join(", ")}`);
    lines.push("");
  }
  return lines.join("\n");
}

// `contracts`: pairs of a name and what the compiler says of it.
module.exports = (contracts) =>
  [
    "# Contracts",
    "",
    "What the contracts take, tell and refuse. Their addresses on a network are in its address book (`millrace deploy`). This page is made",
    "from the sources by `contracts/build`; ABI and bytecode are in `contracts/artifacts`. Amounts of coin are in wei, of MILL in units of",
    "10^-18, times in unix seconds.",
    "",
    ...contracts.map(([name, metadata]) => contractText(name, metadata)),
  ]
    .join("\n")
    .replace(/\n{3,}/g, "\n\n")
    .trimEnd() + "\n";
