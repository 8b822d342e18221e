// A viewer in a browser: plays one rendition of a stream with hls.js until so many seconds of it were shown.
//   node play.mjs MASTER_URL RENDITION SECONDS [whole]      whole: by segments, as a player of plain HLS
// Prints { height, shown, latency, parts, stalls, errors, captions } as one line of JSON and exits 0, or says what it saw instead and exits 1.
import { readFileSync } from "node:fs";
import { chromium } from "playwright-core";

const [url, rendition, seconds, parts] = process.argv.slice(2);
/** Besides what is shown: the browser's start, the first segment, publishers that are away; and two cores also encode. */
const LIMIT_MS = 60_000 + 1500 * Number(seconds);
const engine = readFileSync(new URL("../../web/node_modules/hls.js/dist/hls.min.js", import.meta.url), "utf8");

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required"],
});
try {
  const page = await browser.newPage();
  await page.setContent("<video muted autoplay playsinline></video>");
  await page.addScriptTag({ content: engine });
  await page.evaluate(
    ({ url, rendition, lowLatencyMode }) => {
      const video = document.querySelector("video");
      const seen = { parts: 0, stalls: 0, errors: {}, captions: [], fatal: null, shown: 0 };
      const hls = new Hls({ renderTextTracksNatively: false, lowLatencyMode });
      Object.assign(window, { seen, hls });
      hls.on(Hls.Events.MANIFEST_PARSED, (_, data) => {
        const level = data.levels.findIndex((level) => level.url[0].includes(`/${rendition}/`));
        if (level < 0) seen.fatal = `no rendition ${rendition}`;
        hls.currentLevel = level;
        void video.play();
      });
      hls.on(Hls.Events.FRAG_LOADED, (_, data) => (seen.parts += data.part ? 1 : 0));
      hls.on(Hls.Events.CUES_PARSED, (_, { type, cues }) => {
        if (type === "captions") seen.captions.push(...cues.map((cue) => cue.text));
      });
      hls.on(Hls.Events.ERROR, (_, error) => {
        const what = `${error.details}${error.response?.code ? ` ${error.response.code}` : ""}`;
        seen.errors[what] = (seen.errors[what] ?? 0) + 1;
        if (error.fatal) seen.fatal = what;
      });
      video.addEventListener("waiting", () => (seen.stalls += 1));
      // A seek is no picture that was shown.
      let last = 0;
      setInterval(() => {
        const step = video.currentTime - last;
        if (step > 0 && step < 1) seen.shown += step;
        last = video.currentTime;
      }, 100);
      hls.loadSource(url);
      hls.attachMedia(video);
    },
    { url, rendition, lowLatencyMode: parts !== "whole" },
  );
  const done = ({ seconds }) => window.seen.fatal !== null || window.seen.shown >= seconds;
  const late = await page.waitForFunction(done, { seconds: Number(seconds) }, { timeout: LIMIT_MS, polling: 100 }).catch(() => `not within ${LIMIT_MS / 1000} s`);
  const facts = await page.evaluate(() => {
    const video = document.querySelector("video");
    return { height: video.videoHeight, latency: window.hls.latency, ...window.seen };
  });
  if (typeof late === "string" || facts.fatal !== null) throw new Error(`${typeof late === "string" ? late : "it broke"}: ${JSON.stringify(facts)}`);
  console.log(JSON.stringify(facts));
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  await browser.close();
}
