// Reads a master playlist and all that it names, strictly, and prints what they say as JSON.
//   node playlists.mjs MASTER_URL
// { variants: [{ url, name, width, height, bandwidth, codecs, frameRate, audio, media }], audio: [{ url, name, media }] }
// media: { targetDuration, partTarget, ended, segments: [{ seq, url, init, duration, gap, discontinuity, at, parts }], open }; times in
// seconds and Unix ms. parts: [{ url, duration, independent }]; open: those of the segment that is not finished, as { seq, parts, hint }.
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
  const at = (uri) => new URL(uri, url).href;
  const parts = (s) => s.parts.filter((p) => !p.hint).map((p) => ({ url: at(p.uri), duration: p.duration, independent: p.independent === true }));
  let init; // EXT-X-MAP holds until the next one
  const segments = playlist.segments.filter((s) => s.uri).map((s) => {
    init = s.map ? at(s.map.uri) : init;
    return {
      seq: s.mediaSequenceNumber,
      url: at(s.uri),
      init,
      duration: s.duration,
      gap: s.gap === true,
      discontinuity: s.discontinuity === true,
      at: s.programDateTime?.getTime() ?? null,
      parts: parts(s),
    };
  });
  const tail = playlist.segments.find((s) => !s.uri);
  const hint = tail?.parts.find((p) => p.hint);
  return {
    targetDuration: playlist.targetDuration,
    partTarget: playlist.partTargetDuration ?? null,
    ended: playlist.endlist,
    segments,
    open: tail ? { seq: tail.mediaSequenceNumber, parts: parts(tail), hint: hint ? at(hint.uri) : null } : null,
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
  const played = master.variants.filter((v) => !v.isIFrameOnly);
  const groups = new Map(master.variants.flatMap((v) => v.audio.map((a) => [a.uri, a])));
  const variants = await Promise.all(
    played.map(async (v) => ({
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
