// A transcoder's devices in words and columns.
import { expect, test } from "vitest";
import type { DeviceLoad, OwnDevice } from "../src/api";
import { appended, loadLine, memory, processes } from "../src/devices/devices";

const load: DeviceLoad = { utilisation: 40.4, memory_bytes: 3.2 * 2 ** 30, memory_total_bytes: 23 * 2 ** 30, temperature_c: 61, throttled: null, encoder_sessions: 2 };
const nothing: DeviceLoad = { utilisation: null, memory_bytes: null, memory_total_bytes: null, temperature_c: null, throttled: null, encoder_sessions: null };
const device = (name: string): OwnDevice => ({ name, kind: "nvenc", detail: "", megapixels_per_second: 1480, in_use: 0, sessions: 0, load: null });

test("a load says what is told and leaves out what is not", () => {
  expect(loadLine(load)).toBe("40 % busy, 61 °C");
  expect(loadLine({ ...nothing, temperature_c: 0 })).toBe("0 °C");
  expect(loadLine(nothing)).toBe("");
  expect(loadLine(null)).toBe("");
  expect(memory(load)).toBe("3.2 of 23 GiB");
  expect(memory({ ...load, memory_total_bytes: null })).toBe("3.2 GiB");
  expect(memory(nothing)).toBeNull();
});

test("each device has its own process, also where two have one name", () => {
  const process = (name: string, pid: number | null) => ({ device: name, pid, restarts: 0, last_end: null });
  const told = { devices: [device("L4"), device("CPU"), device("L4")], draining: false, processes: [process("CPU", 1), process("L4", 2), process("L4", 3)] };
  expect(processes(told).map((p) => p?.pid)).toEqual([2, 1, 3]);
  expect(processes({ ...told, processes: [] })).toEqual([null, null, null]);
});

test("a column keeps the last points and never more", () => {
  let column: number[] = [];
  for (let i = 0; i < 1000; i += 1) column = appended(column, i, 150);
  expect(column).toHaveLength(150);
  expect([column[0], column.at(-1)]).toEqual([850, 999]);
});
