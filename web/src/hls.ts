// A live HLS player as a hook: hls.js is loaded when first needed, its levels and figures come back as plain values.
// Falls back to the browser's own HLS where Media Source Extensions are missing (iPhones).
import type Hls from "hls.js";
import { type RefObject, useEffect, useRef, useState } from "react";
import { partOf } from "./later";

const library = partOf("hls.js", () => import("hls.js"), { ahead: false });

export interface Level {
  /** The rendition's name; unique, so that a menu can use it as its value. */
  name: string;
  width: number;
  height: number;
  /** Bits per second, average where the playlist gives it. */
  bitrate: number;
}

export type Phase = "loading" | "playing" | "stalled" | "paused" | "ended" | "waiting" | "failed";

export interface Playback {
  phase: Phase;
  /** Why it waits or failed, in words. */
  message: string | null;
  /** The HTTP status with which its playlist is refused, null while that is not why it waits. */
  refused: number | null;
  levels: Level[];
  /** The level on screen, null until the first picture. */
  current: Level | null;
  /** The level the viewer chose, null for automatic. */
  chosen: string | null;
  /** Seconds behind live; seconds of media buffered ahead. */
  latency: number | null;
  buffer: number;
  stalls: number;
  stalledMs: number;
  dropped: number;
  time: number;
}

export const IDLE: Playback = { phase: "loading", message: null, refused: null, levels: [], current: null, chosen: null, latency: null, buffer: 0, stalls: 0, stalledMs: 0, dropped: 0, time: 0 };

/** How often the figures are read from the player. */
const SAMPLE_MS = 500;
/** First wait after a playlist failed; it doubles up to the limit, since a stream that has just started may not be listed yet. */
const RETRY_MS = 1_000;
const RETRY_LIMIT_MS = 8_000;
/** Target durations behind live at which the player jumps: 16 s with 2 s segments, where 6 s is usual. */
const MAX_BEHIND = 8;
/** Two decoder recoveries nearer than this mean that recovering does not help. */
const RECOVERY_MS = 5_000;

export interface Player {
  playback: Playback;
  choose: (name: string | null) => void;
  toLive: () => void;
}

/** Plays `url` in the video element, muted and near live. A changed `url` starts anew. */
export function useHls(video: RefObject<HTMLVideoElement | null>, url: string): Player {
  const [playback, setPlayback] = useState<Playback>(IDLE);
  const engine = useRef<Hls | null>(null);
  const levels = useRef<Level[]>([]);
  const wanted = useRef<string | null>(null);

  useEffect(() => {
    const element = video.current;
    if (!element) return;
    let retry: ReturnType<typeof setTimeout> | undefined;
    let wait = RETRY_MS;
    let recovered = 0;
    let status: Pick<Playback, "phase" | "message" | "refused"> = { phase: "loading", message: null, refused: null };
    let started = false;
    let stalls = 0;
    let stalledMs = 0;
    let stalledAt = 0;

    const sample = () => {
      const hls = engine.current;
      const index = hls ? hls.currentLevel : -1;
      const native = !hls && element.videoHeight > 0 ? { name: "native", width: element.videoWidth, height: element.videoHeight, bitrate: 0 } : null;
      setPlayback((before) => ({
        ...before,
        ...status,
        levels: levels.current,
        current: started ? (levels.current[index] ?? native ?? before.current) : null,
        latency: hls && started && Number.isFinite(hls.latency) ? hls.latency : null,
        buffer: ahead(element),
        stalls,
        stalledMs: stalledMs + (stalledAt > 0 ? performance.now() - stalledAt : 0),
        dropped: element.getVideoPlaybackQuality?.().droppedVideoFrames ?? 0,
        time: element.currentTime,
      }));
    };
    const set = (phase: Phase, message: string | null = null, refused: number | null = null) => {
      status = { phase, message, refused };
      sample();
    };
    const resumed = () => {
      if (stalledAt > 0) stalledMs += performance.now() - stalledAt;
      stalledAt = 0;
    };
    const on = {
      playing: () => {
        started = true;
        wait = RETRY_MS;
        resumed();
        set("playing");
      },
      // Waiting for data after the first picture is a stall; while seeking it is not.
      waiting: () => {
        if (!started || element.seeking || stalledAt > 0) return;
        stalls += 1;
        stalledAt = performance.now();
        set("stalled");
      },
      pause: () => {
        resumed();
        if (!element.ended) set("paused");
      },
      ended: () => set("ended"),
    };
    for (const [name, handler] of Object.entries(on)) element.addEventListener(name, handler);

    const play = () => void element.play().catch(() => set("paused", "The browser did not start it by itself: press play"));
    const start = () => {
      const loaded = library.now();
      if (loaded === null) return;
      if (loaded === "away") return set("failed", "The node did not give the player. Asking again every few seconds");
      set("loading");
      const { default: Hls } = loaded;
      if (!Hls.isSupported()) {
        if (!element.canPlayType("application/vnd.apple.mpegurl")) return set("failed", "This browser plays no HLS: it has no Media Source Extensions");
        element.src = url;
        return play();
      }
      const hls = new Hls({
        // A console stays open for days: what was seen is let go.
        backBufferLength: 20,
        maxBufferLength: 20,
        // A small lag is made good by playing a little faster.
        maxLiveSyncPlaybackRate: 1.05,
        // Each stall moves it back by one part: most have one at their start, and the usual second would double the distance from live.
        liveSyncOnStallIncrease: 0.25,
      });
      // After a pause or a hidden tab it jumps back to live. Set here and not above: as an option it would demand
      // liveSyncDurationCount, which overrides the hold-back that the playlist asks for.
      hls.config.liveMaxLatencyDurationCount = MAX_BEHIND;
      engine.current = hls;
      hls.on(Hls.Events.MANIFEST_PARSED, (_, data) => {
        levels.current = named(data.levels.map((l) => ({ name: l.name ?? "", uri: l.url[0] ?? "", width: l.width, height: l.height, bitrate: l.averageBitrate || l.bitrate })));
        // After a playlist was loaded anew, the viewer's choice still holds.
        if (wanted.current !== null) hls.nextLevel = levels.current.findIndex((l) => l.name === wanted.current);
        play();
      });
      hls.on(Hls.Events.LEVEL_SWITCHED, sample);
      hls.on(Hls.Events.ERROR, (_, error) => {
        if (!error.fatal) return;
        if (error.type === Hls.ErrorTypes.MEDIA_ERROR && performance.now() - recovered > RECOVERY_MS) {
          recovered = performance.now();
          return hls.recoverMediaError();
        }
        started = false;
        // A code of 0: nobody answered.
        const code = error.response?.code || null;
        if (error.type === Hls.ErrorTypes.NETWORK_ERROR) set("waiting", `The playlist ${code ? `answered ${code}` : "did not answer"}. Trying again`, code);
        else set("waiting", `Playback broke (${error.details}). Trying again`);
        clearTimeout(retry);
        retry = setTimeout(() => hls.loadSource(url), wait);
        wait = Math.min(wait * 2, RETRY_LIMIT_MS);
      });
      hls.loadSource(url);
      hls.attachMedia(element);
    };
    const leave = library.wait(start);
    start();
    const beat = setInterval(sample, SAMPLE_MS);

    return () => {
      leave();
      clearInterval(beat);
      clearTimeout(retry);
      for (const [name, handler] of Object.entries(on)) element.removeEventListener(name, handler);
      engine.current?.destroy();
      engine.current = null;
      levels.current = [];
      wanted.current = null;
      element.removeAttribute("src");
      element.load();
      setPlayback(IDLE);
    };
  }, [url, video]);

  return {
    playback,
    // `nextLevel` drops what is buffered ahead in the old level, so the choice shows within a segment and without a stall.
    choose: (name) => {
      if (!engine.current) return;
      wanted.current = name;
      engine.current.nextLevel = levels.current.findIndex((l) => l.name === name);
      setPlayback((before) => ({ ...before, chosen: name }));
    },
    toLive: () => {
      const edge = engine.current?.liveSyncPosition;
      if (video.current && edge) video.current.currentTime = edge;
      void video.current?.play().catch(() => undefined);
    },
  };
}

/** Names levels by the playlist's NAME, else by the folder of their URI (`…/720p/index.m3u8`), else by height; each name once. */
export function named(levels: (Level & { uri: string })[]): Level[] {
  const taken = new Map<string, number>();
  return levels.map(({ uri, ...level }) => {
    const name = level.name || uri.split("?")[0]!.split("/").at(-2) || `${level.height}p`;
    const before = taken.get(name) ?? 0;
    taken.set(name, before + 1);
    return { ...level, name: before === 0 ? name : `${name} (${before + 1})` };
  });
}

/** Seconds that can be played from here without more data. */
function ahead(element: HTMLVideoElement): number {
  const { buffered, currentTime } = element;
  for (let i = 0; i < buffered.length; i += 1) {
    if (buffered.start(i) <= currentTime + 0.1 && buffered.end(i) > currentTime) return buffered.end(i) - currentTime;
  }
  return 0;
}
