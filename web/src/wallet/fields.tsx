// What a person types for an action, and whether it can be: each limit is named where it is exceeded.
import { Checkbox, Group, TextInput } from "@mantine/core";
import { formatEther, isAddress } from "viem";
import { formatEth, formatMill, parseAmount, parsePercent } from "../format";
import { MOST } from "./send";

export interface Field {
  name: string;
  label: string;
  kind: "mill" | "eth" | "address" | "text" | "percent" | "days" | "roles";
  hint?: string;
  /** What it begins with. */
  start?: string;
  /** The largest amount, or the highest commission in basis points, and why it is. */
  most?: { value: bigint; why: string };
  /** The smallest amount, and why it is. */
  least?: { value: bigint; why: string };
  /** May stay empty. */
  optional?: boolean;
}

/** Bits of the registry. */
export const ROLES = [
  { bit: 1, name: "orchestrator" },
  { bit: 2, name: "transcoder" },
  { bit: 4, name: "checker" },
];
export const roleNames = (bits: number) => ROLES.filter((r) => bits & r.bit).map((r) => r.name).join(", ");

/** Days that a session key may be given: after ten years its owner has forgotten it. */
const MOST_DAYS = 3650;

export type Value = bigint | number | string;

/** A field's value, or what is wrong with it. */
export function check(field: Field, text: string): { value: Value } | { problem: string } {
  const typed = text.trim();
  if (typed === "" && field.optional) return { value: "" };
  switch (field.kind) {
    case "mill":
    case "eth": {
      const value = parseAmount(typed);
      const show = (amount: bigint) => (field.kind === "mill" ? formatMill(amount) : formatEth(amount.toString()));
      if (typeof value === "string") return { problem: value };
      if (value > MOST) return { problem: "More than the contracts can count (2^96)." };
      if (field.most && value > field.most.value) return { problem: `At most ${show(field.most.value)}: ${field.most.why}.` };
      if (field.least && value < field.least.value) return { problem: `At least ${show(field.least.value)}: ${field.least.why}.` };
      return { value };
    }
    case "address":
      if (!/^0x[0-9a-f]{40}$/i.test(typed)) return { problem: "An address is 0x and 40 hexadecimal digits." };
      return isAddress(typed) ? { value: typed } : { problem: "Its checksum is wrong: a digit or a letter's case was changed. Copy it again." };
    case "percent": {
      const value = parsePercent(typed, Number(field.most?.value ?? 10_000n));
      return typeof value === "string" ? { problem: field.most ? `${value} (${field.most.why})` : value } : { value };
    }
    case "days": {
      const days = /^\d{1,5}$/.test(typed) ? Number(typed) : 0;
      return days >= 1 && days <= MOST_DAYS ? { value: days } : { problem: `Whole days, 1 to ${MOST_DAYS}.` };
    }
    case "roles":
      return typed === "0" || typed === "" ? { problem: "Choose at least one role." } : { value: Number(typed) };
    case "text": {
      const bytes = new TextEncoder().encode(typed).length;
      const most = Number(field.most?.value ?? 280n);
      return bytes > most ? { problem: `It has ${bytes} bytes, at most ${most}.` } : { value: typed };
    }
  }
}

/** `first` has the keyboard when the dialog opens. */
export function Input({ field, first, text, problem, set }: { field: Field; first: boolean; text: string; problem: string | null; set: (text: string) => void }) {
  const testid = `field-${field.name}`;
  if (field.kind === "roles") {
    const bits = Number(text || 0);
    return (
      <Group gap="md" role="group" aria-label={field.label} data-testid={testid}>
        {ROLES.map((role, i) => (
          <Checkbox key={role.bit} data-autofocus={(first && i === 0) || undefined} label={role.name} checked={(bits & role.bit) !== 0} onChange={(e) => set(String(e.currentTarget.checked ? bits | role.bit : bits & ~role.bit))} />
        ))}
        {problem && <span className="bad" role="alert">{problem}</span>}
      </Group>
    );
  }
  const unit = { mill: "MILL", eth: "ETH", percent: "%", days: "days", address: "", text: "", roles: "" }[field.kind];
  const most = (field.kind === "mill" || field.kind === "eth") && field.most && field.most.value > 0n ? field.most.value : null;
  return (
    <TextInput
      data-testid={testid}
      data-autofocus={first || undefined}
      label={unit ? `${field.label}, ${unit}` : field.label}
      description={field.hint}
      value={text}
      error={problem}
      inputMode={field.kind === "mill" || field.kind === "eth" || field.kind === "percent" ? "decimal" : field.kind === "days" ? "numeric" : "text"}
      autoComplete="off"
      spellCheck={false}
      onChange={(e) => set(e.currentTarget.value)}
      rightSectionWidth={most ? 44 : undefined}
      rightSection={most ? <button type="button" className="button" aria-label={`All: ${formatEther(most)} ${unit}`} onClick={() => set(formatEther(most))}>all</button> : undefined}
    />
  );
}
