// Reads a master playlist and all that it names, strictly, and prints what they say as JSON.
//   node playlists.mjs MASTER_URL
// { variants: [{ url, name, width, height, bandwidth, codecs, frameRate, audio, media }], audio: [{ url, name, media }] }
// media: { targetDuration, ended, segments: [{ seq, url, init, duration, gap, discontinuity, at }] }; times in seconds and Unix ms.
import HLS from "hls-parser";

HLS.setOptions({ strictMode: true });

async function read(url) {
  const answer = await fetch(url, { signal: AbortSignal.timeout(5000) });
  if (!answer.ok) throw new Error(`${url}: HTTP ${answer.status}`);
  const type = answer.headers.get("content-type");
  if (!type?.startsWith("application/vnd.apple.mpegurl")) throw new Error(`${url}: content type ${type}`);
  const text = await answer.text();
  try {
    return HLS.parse(text);
  } catch (error) {
    throw new Error(`${url}: ${error.message}\n${text}`);
  }
}

async function media(url) {
  const playlist = await read(url);
  if (playlist.isMasterPlaylist) throw new Error(`${url}: a master playlist where a media playlist belongs`);
  let init; // EXT-X-MAP holds until the next one
  return {
    targetDuration: playlist.targetDuration,
    ended: playlist.endlist,
    segments: playlist.segments.map((s) => {
      init = s.map ? new URL(s.map.uri, url).href : init;
      return {
        seq: s.mediaSequenceNumber,
        url: new URL(s.uri, url).href,
        init,
        duration: s.duration,
        gap: s.gap === true,
        discontinuity: s.discontinuity === true,
        at: s.programDateTime?.getTime() ?? null,
      };
    }),
  };
}

try {
  const url = process.argv[2];
  const master = await read(url);
  if (!master.isMasterPlaylist) throw new Error(`${url}: not a master playlist`);
  const named = async (uri) => {
    const at = new URL(uri, url).href;
    return { url: at, name: at.split("/").at(-2), media: await media(at) };
  };
  const groups = new Map(master.variants.flatMap((v) => v.audio.map((a) => [a.uri, a])));
  const variants = await Promise.all(
    master.variants.map(async (v) => ({
      ...(await named(v.uri)),
      width: v.resolution?.width ?? null,
      height: v.resolution?.height ?? null,
      bandwidth: v.bandwidth,
      codecs: v.codecs ?? "",
      frameRate: v.frameRate ?? null,
      audio: v.audio.length > 0,
    })),
  );
  console.log(JSON.stringify({ variants, audio: await Promise.all([...groups.keys()].map(named)) }));
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
