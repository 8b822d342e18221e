// The file and the command that start a node of each role in this network. Pure.
import type { ChainFacts } from "../chain/shape";

export interface Launch {
  file: string;
  text: string;
  command: string;
  /** Where its console leads on. */
  console: string;
}

/** What stands for what only the reader knows. */
const UNKNOWN = { rpc: "https://...", address: "0x..." };

/** `payer` is the wallet that is connected: its money is spent, and its key stays where it is. */
export function launch(role: "transcoder" | "broadcaster", facts: ChainFacts, orchestrator: string | null, payer: string | null): Launch {
  const port = role === "transcoder" ? 8082 : 8080;
  const who = orchestrator ?? UNKNOWN.address;
  const own = role === "transcoder" ? [`orchestrator = "${who}"`] : [`orchestrators = ["${who}"]`, ...(payer ? [`payer = "${payer}"`] : [])];
  const text = [
    "[node]",
    `name = "my-${role}"`,
    `data_dir = "${role}-data"`,
    `http_listen = "127.0.0.1:${port}"`,
    "",
    "[chain]",
    `rpc_url = "${facts.rpc_url ?? UNKNOWN.rpc}"`,
    `registry = "${facts.contracts.registry}"`,
    `broker = "${facts.contracts.broker}"`,
    "",
    `[${role}]`,
    ...own,
    "",
  ].join("\n");
  return { file: `${role}.toml`, text, command: `millrace ${role} --config ${role}.toml`, console: `http://127.0.0.1:${port}/start` };
}
