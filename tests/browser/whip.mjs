// A streamer in a browser: publishes a made-up camera by WHIP for some seconds, as any page would, and says goodbye.
//   node whip.mjs BROADCASTER_URL KEY SECONDS CAMERA.y4m
// Prints one line of JSON: what the browser sent. Sends "publishing" to stdout as soon as the connection stands.
import { chromium } from "playwright-core";

const [url, key, seconds, camera] = process.argv.slice(2);
/** ICE and DTLS on one machine take a fraction of a second; two cores that also transcode may be busy. */
const CONNECT_MS = 30_000;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream", `--use-file-for-fake-video-capture=${camera}`,
  ],
});
try {
  const context = await browser.newContext({ permissions: ["camera", "microphone"] });
  const page = await context.newPage();
  page.on("requestfailed", (request) => console.error(`${request.method()} ${request.url()}: ${request.failure()?.errorText}`));
  await page.goto(`${url}/healthz`); // any page of the origin: cameras are for secure origins, which loopback is
  // Trickle: the offer goes out without candidates, and they follow.
  await page.evaluate(
    async ([key, timeout]) => {
      const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 360, frameRate: 30 }, audio: true });
      const pc = new RTCPeerConnection();
      const candidates = [];
      pc.onicecandidate = ({ candidate }) => candidate && candidates.push(candidate);
      for (const track of stream.getTracks()) pc.addTransceiver(track, { direction: "sendonly", streams: [stream] });
      await pc.setLocalDescription(await pc.createOffer());
      const headers = { "Content-Type": "application/sdp", Authorization: `Bearer ${key}` };
      const created = await fetch("/whip", { method: "POST", headers, body: pc.localDescription.sdp });
      if (created.status !== 201) throw new Error(`POST: ${created.status} ${await created.text()}`);
      const session = created.headers.get("location");
      await pc.setRemoteDescription({ type: "answer", sdp: await created.text() });
      const [, ufrag] = pc.localDescription.sdp.match(/a=ice-ufrag:(\S+)/);
      const [, pwd] = pc.localDescription.sdp.match(/a=ice-pwd:(\S+)/);
      const body = [`a=ice-ufrag:${ufrag}`, `a=ice-pwd:${pwd}`, "m=audio 9 RTP/AVP 0", "a=mid:0", ...candidates.map((c) => `a=${c.candidate}`), "a=end-of-candidates", ""].join("\r\n");
      const trickle = await fetch(session, {
        method: "PATCH",
        headers: { "Content-Type": "application/trickle-ice-sdpfrag", "If-Match": created.headers.get("etag"), Authorization: `Bearer ${key}` },
        body,
      });
      if (trickle.status !== 204) throw new Error(`PATCH: ${trickle.status} ${await trickle.text()}`);
      const since = performance.now();
      while (pc.connectionState !== "connected") {
        if (performance.now() - since > timeout) throw new Error(`the connection is ${pc.connectionState} after ${timeout} ms`);
        await new Promise((done) => setTimeout(done, 50));
      }
      window.whip = { pc, session, key };
    },
    [key, CONNECT_MS],
  );
  console.log("publishing");
  await new Promise((done) => setTimeout(done, Number(seconds) * 1000));
  const sent = await page.evaluate(async () => {
    const { pc, session, key } = window.whip;
    const reports = [...(await pc.getStats()).values()];
    const video = reports.find((r) => r.type === "outbound-rtp" && r.kind === "video");
    const audio = reports.find((r) => r.type === "outbound-rtp" && r.kind === "audio");
    const codec = reports.find((r) => r.id === video.codecId);
    const ended = await fetch(session, { method: "DELETE", headers: { Authorization: `Bearer ${key}` } });
    pc.close();
    return {
      codec: codec?.mimeType, frames: video.framesSent, keyFrames: video.keyFramesEncoded, width: video.frameWidth, height: video.frameHeight,
      plis: video.pliCount, nacks: video.nackCount, retransmitted: video.retransmittedPacketsSent, audioPackets: audio?.packetsSent, ended: ended.status,
    };
  });
  console.log(JSON.stringify(sent));
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  await browser.close();
}
