// How old the pictures are that a player shows. Plays a stream whose pictures carry the time of their making, and reads it off the screen.
//   node glass.mjs MASTER_URL RENDITION low|plain WARM_SECONDS SECONDS
// The code: 40 fields in a row at the top, each as wide as the picture / 40 and as high, white for 1: milliseconds since 1970, the lower
// 32 bits, then a sum of their four bytes. Prints one line of JSON: { ages, bad, stalls, dropped, edge, errors, fatal }; times in ms.
import { readFileSync } from "node:fs";
import { chromium } from "playwright-core";

const [url, rendition, mode, warm, seconds] = process.argv.slice(2);
const engine = readFileSync(new URL("../../web/node_modules/hls.js/dist/hls.min.js", import.meta.url), "utf8");

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required"],
});
try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 720 } });
  await page.setContent("<video muted autoplay playsinline style='width:640px'></video>");
  await page.addScriptTag({ content: engine });
  await page.evaluate(
    ({ url, rendition, low }) => {
      const video = document.querySelector("video");
      const seen = { ages: [], bad: 0, stalls: 0, dropped: 0, edge: [], errors: {}, fatal: null, counting: false };
      // As the console's player.
      const hls = new Hls({ lowLatencyMode: low, backBufferLength: 20, maxBufferLength: 20, maxLiveSyncPlaybackRate: 1.05, liveSyncOnStallIncrease: 0.25 });
      Object.assign(window, { seen, hls });
      hls.on(Hls.Events.MANIFEST_PARSED, (_, data) => {
        hls.currentLevel = data.levels.findIndex((level) => level.url[0].includes(`/${rendition}/`));
        void video.play();
      });
      hls.on(Hls.Events.ERROR, (_, error) => {
        if (seen.counting) seen.errors[error.details] = (seen.errors[error.details] ?? 0) + 1;
        if (error.fatal) seen.fatal = error.details;
      });
      video.addEventListener("waiting", () => (seen.stalls += seen.counting ? 1 : 0));
      const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
      const FIELDS = 40;
      const read = (_, facts) => {
        video.requestVideoFrameCallback(read);
        if (!seen.counting) return;
        const { videoWidth: width } = video;
        const field = width / FIELDS;
        canvas.canvas.width = width;
        canvas.canvas.height = Math.ceil(field);
        canvas.drawImage(video, 0, 0, width, field, 0, 0, width, field);
        const { data } = canvas.getImageData(0, Math.floor(field / 2), width, 1);
        const bits = Array.from({ length: FIELDS }, (_, i) => data[4 * Math.floor((i + 0.5) * field)] > 127);
        const bytes = Array.from({ length: 5 }, (_, i) => bits.slice(8 * i, 8 * i + 8).reduce((sum, bit) => 2 * sum + bit, 0));
        if ((bytes[0] + bytes[1] + bytes[2] + bytes[3] + 1) % 256 !== bytes[4]) return void (seen.bad += 1);
        const made = bytes.slice(0, 4).reduce((sum, byte) => 256 * sum + byte, 0);
        const shown = performance.timeOrigin + Math.max(facts.expectedDisplayTime, performance.now());
        seen.ages.push((((shown - made) % 2 ** 32) + 2 ** 32) % 2 ** 32);
        if (Number.isFinite(hls.latency)) seen.edge.push(1000 * hls.latency);
      };
      video.requestVideoFrameCallback(read);
      hls.loadSource(url);
      hls.attachMedia(video);
    },
    { url, rendition, low: mode === "low" },
  );
  await page.waitForTimeout(1000 * Number(warm));
  const dropped = () => document.querySelector("video").getVideoPlaybackQuality().droppedVideoFrames;
  const before = await page.evaluate(dropped);
  await page.evaluate(() => (seen.counting = true));
  await page.waitForTimeout(1000 * Number(seconds));
  await page.evaluate(() => (seen.counting = false));
  const after = await page.evaluate(dropped);
  const height = await page.evaluate(() => document.querySelector("video").videoHeight);
  console.log(JSON.stringify({ ...(await page.evaluate(() => seen)), dropped: after - before, height }));
} finally {
  await browser.close();
}
