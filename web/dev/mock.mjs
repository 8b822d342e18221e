// Serves web/dist with made-up data on four ports, as four nodes would, and a real live HLS ladder made by ffmpeg.
//   node dev/mock.mjs [live|empty|trouble]     Development only.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { network } from "./data.mjs";

const DIST = fileURLToPath(new URL("../dist", import.meta.url));
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".m3u8": "application/vnd.apple.mpegurl", ".m4s": "video/mp4", ".mp4": "video/mp4" };

/** A ladder of a moving picture and a tone, in real time, into `dir`. */
export function ladder(dir) {
  const size = (w, h) => `scale=${w}:${h}`;
  return spawn(
    "ffmpeg",
    [
      "-loglevel", "error", "-re", "-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=15", "-f", "lavfi", "-i", "sine=frequency=330:sample_rate=48000",
      "-filter_complex", `[0:v]split=3[a][b][c];[b]${size(854, 480)}[b2];[c]${size(640, 360)}[c2]`,
      "-map", "[a]", "-map", "[b2]", "-map", "[c2]", "-map", "1:a",
      "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "30", "-sc_threshold", "0", "-b:v:0", "2800k", "-b:v:1", "1400k", "-b:v:2", "800k", "-c:a", "aac",
      "-f", "hls", "-hls_time", "2", "-hls_list_size", "6", "-hls_segment_type", "fmp4", "-hls_flags", "delete_segments+independent_segments+program_date_time",
      "-master_pl_name", "master.m3u8", "-var_stream_map", "v:0,agroup:aud,name:720p v:1,agroup:aud,name:480p v:2,agroup:aud,name:360p a:0,agroup:aud,name:audio",
      "-hls_segment_filename", join(dir, "%v", "%d.m4s"), "-hls_fmp4_init_filename", "init.mp4", join(dir, "%v", "index.m3u8"),
    ],
    { stdio: "inherit" },
  );
}

/** Starts the four nodes; `set` changes the scene, `stop` ends all of it. */
export async function start(scene, first = 18_080) {
  const ports = [0, 1, 2, 3].map((i) => first + i);
  const media = mkdtempSync(join(tmpdir(), "millrace-mock-"));
  const encoder = ladder(media);
  let tell = network(scene, ports);
  const file = async (root, path, res) => {
    try {
      const body = await readFile(join(root, normalize(path)));
      res.writeHead(200, { "content-type": TYPES[extname(path)] ?? "application/octet-stream", "cache-control": "no-cache" }).end(body);
    } catch {
      res.writeHead(404).end();
    }
  };
  const servers = ports.map((port, i) =>
    createServer((req, res) => {
      const url = new URL(req.url, "http://localhost");
      res.setHeader("access-control-allow-origin", "*");
      if (url.pathname.startsWith("/api/v1/")) {
        const answer = tell(i, url.pathname.slice(8), url.searchParams);
        if (answer === undefined) return res.writeHead(404).end();
        return res.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer));
      }
      if (url.pathname.startsWith("/live/demo/")) return file(media, url.pathname.slice(11), res);
      return file(DIST, url.pathname === "/" ? "/index.html" : url.pathname, res);
    }).listen(port, "127.0.0.1"),
  );
  return {
    url: `http://127.0.0.1:${ports[0]}/`,
    servers,
    set: (next) => {
      tell = network(next, ports);
    },
    stop: () => {
      for (const s of servers) {
        s.close();
        s.closeAllConnections();
      }
      encoder.kill("SIGKILL");
      rmSync(media, { recursive: true, force: true });
    },
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const mock = await start(process.argv[2] ?? "live");
  console.log(`console with made-up data at ${mock.url}, Ctrl-C ends it`);
  process.on("SIGINT", () => {
    mock.stop();
    process.exit(0);
  });
}
