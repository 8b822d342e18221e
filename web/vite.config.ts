// Builds the console into dist/, which crates/node embeds and serves at `/`.
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// `npm run dev` shows a running node's data: name another one with MILLRACE_NODE.
const node = process.env.MILLRACE_NODE ?? "http://127.0.0.1:8080";

export default defineConfig({
  plugins: [react()],
  build: {
    target: "es2022",
    // hls.js is one chunk of some 600 kB by itself, loaded only when a stream is shown.
    chunkSizeWarningLimit: 700,
    rolldownOptions: {
      output: {
        // What changes seldom has files of its own, which browsers keep: React with its libraries, and those of the chain. A group takes
        // with it what it stands on, so the first one has what both need, and what loads files when they are needed.
        codeSplitting: {
          groups: [
            { name: "frame", test: /vite\/preload-helper|node_modules\/(react|react-dom|scheduler|use-sync-external-store|@tanstack)\// },
            { name: "chain", test: /node_modules\/(viem|wagmi|@wagmi|ox|abitype|@noble|@scure|mipd|zustand|eventemitter3)\// },
          ],
        },
      },
    },
  },
  server: { proxy: { "/api": node, "/live": node, "/readyz": node, "^/recordings/.": node } },
  test: { include: ["test/**/*.test.{ts,tsx}"] },
});
