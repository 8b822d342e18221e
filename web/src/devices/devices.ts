// What a transcoder says of its devices: where it is asked for, and its words.
import type { DeviceLoad, DeviceProcess, OwnDevices } from "../api";
import { grouped } from "../format";
import { type From, type Load, merge, type Network, type Seen, useAnswers } from "../network";
import { DEVICES } from "../shapes";

/** A device's load is looked at, not listened to. */
const DEVICES_MS = 2_000;

/** The devices of these transcoders. */
export function useDevices(net: Network, nodes: Seen[]): Load<From<OwnDevices>[]> {
  return merge(nodes, useAnswers<OwnDevices>("devices", DEVICES, nodes.map((n) => n.url), DEVICES_MS), net.root);
}

/** The process behind each device, in the order of the devices: two devices may have one name. */
export function processes({ devices, processes }: OwnDevices): (DeviceProcess | null)[] {
  const left = [...processes];
  return devices.map((device) => {
    const at = left.findIndex((p) => p.device === device.name);
    return at < 0 ? null : (left.splice(at, 1)[0] ?? null);
  });
}

/** `3.2 of 23 GiB`; null where nothing is told. */
export function memory({ memory_bytes: used, memory_total_bytes: all }: DeviceLoad): string | null {
  if (used == null) return null;
  return all == null ? `${gib(used)} GiB` : `${gib(used)} of ${gib(all)} GiB`;
}

function gib(bytes: number): string {
  const n = bytes / 2 ** 30;
  return n < 100 ? String(Number(n.toFixed(1))) : grouped(Math.round(n));
}

/** What there is to say of a load in a row: `40 % busy, 61 °C`, empty where nothing is told. */
export function loadLine(load: DeviceLoad | null): string {
  if (!load) return "";
  const { utilisation: busy, temperature_c: warm } = load;
  return [busy != null && `${Math.round(busy)} % busy`, warm != null && `${Math.round(warm)} °C`].filter(Boolean).join(", ");
}

/** A column with one more, and no more than `most` of them. */
export function appended<T>(column: T[], value: T, most: number): T[] {
  return [...column.slice(Math.max(0, column.length + 1 - most)), value];
}
