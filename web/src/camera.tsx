// Publishing from the browser: camera and microphone by WHIP (RFC 9725) to the broadcaster that served this page.
import { useEffect, useRef, useState } from "react";
import { NativeSelect } from "@mantine/core";
import type { Ingest } from "./api";
import { absolute } from "./format";
import type { From, Load } from "./network";
import { Loaded } from "./ui";

/** ICE and DTLS take a second or two on a bad line; after this the peer is not there. */
const CONNECT_MS = 20_000;

interface Session {
  peer: RTCPeerConnection;
  media: MediaStream;
  url: string;
  key: string;
}
type State = { phase: "off" | "starting" | "live"; problem: string | null };

export function BrowserPublish({ ingest }: { ingest: Load<From<Ingest>[]> }) {
  return (
    <Loaded load={ingest} empty="This node knows of no broadcaster that takes streams.">
      {(items) => {
        const places = items.flatMap(({ node, item }) => item.keys.map((key) => ({ ...key, node: node.name, whip: absolute(item.whip_path, node.url) })));
        return places.length === 0 ? <div className="note">No stream key is shown here. Make one with: millrace key new NAME</div> : <Camera places={places} />;
      }}
    </Loaded>
  );
}

function Camera({ places }: { places: { name: string; key: string; node: string; whip: string | null }[] }) {
  const [at, setAt] = useState(0);
  const [{ phase, problem }, setState] = useState<State>({ phase: "off", problem: null });
  const session = useRef<Session | null>(null);
  const video = useRef<HTMLVideoElement>(null);
  const place = places[at] ?? places[0]!;

  const stop = (why: string | null = null) => {
    const s = session.current;
    session.current = null;
    if (s) end(s);
    setState({ phase: "off", problem: why });
  };
  useEffect(() => () => void (session.current && end(session.current)), []);

  const start = async () => {
    setState({ phase: "starting", problem: null });
    try {
      if (!place.whip) throw new Error("this broadcaster's WHIP address is not usable");
      if (!navigator.mediaDevices) throw new Error("the browser gives cameras to https and to localhost only: open the console by one of them");
      const media = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } }, audio: true });
      if (video.current) video.current.srcObject = media;
      session.current = await publish(place.whip, place.key, media);
      session.current.peer.onconnectionstatechange = () => {
        const state = session.current?.peer.connectionState;
        if (state === "failed" || state === "closed") stop("The connection to the broadcaster is lost.");
      };
      setState({ phase: "live", problem: null });
    } catch (error) {
      stop(error instanceof Error ? error.message : String(error));
    }
  };

  return (
    <div className="camera">
      <NativeSelect label="Stream" value={at} disabled={phase !== "off"} onChange={(e) => setAt(Number(e.currentTarget.value))} data={places.map((p, i) => ({ value: String(i), label: `${p.name || "unnamed"} at ${p.node}` }))} />
      <video ref={video} muted autoPlay playsInline hidden={phase === "off"} aria-label="Your camera" />
      {problem && <div className="note bad" role="alert">{problem}</div>}
      <div className="actions tight">
        {phase === "off" ? (
          <button type="button" className="button" onClick={() => void start()}>Use camera and microphone</button>
        ) : (
          <button type="button" className="button" onClick={() => stop()}>Stop publishing</button>
        )}
        <span className="dim" role="status">{phase === "live" ? `Publishing as ${place.name}: it appears among the streams within seconds.` : phase === "starting" ? "Connecting" : ""}</span>
      </div>
    </div>
  );
}

/** One offer with all candidates, one answer; the resource that it makes is deleted at the end. */
async function publish(url: string, key: string, media: MediaStream): Promise<Session> {
  const peer = new RTCPeerConnection();
  const late = AbortSignal.timeout(CONNECT_MS);
  try {
    for (const track of media.getTracks()) peer.addTransceiver(track, { direction: "sendonly", streams: [media] });
    await peer.setLocalDescription(await peer.createOffer());
    await reached(late, "the browser found no way to the network", peer, "icegatheringstatechange", () => peer.iceGatheringState === "complete");
    const headers = { "content-type": "application/sdp", authorization: `Bearer ${key}` };
    const created = await fetch(url, { method: "POST", headers, body: peer.localDescription!.sdp, signal: late });
    if (created.status !== 201) throw new Error(`the broadcaster refused: ${(await created.text()).slice(0, 200) || created.status}`);
    const location = created.headers.get("location");
    await peer.setRemoteDescription({ type: "answer", sdp: await created.text() });
    await reached(late, "no connection to the broadcaster came about", peer, "connectionstatechange", () => peer.connectionState === "connected");
    return { peer, media, key, url: new URL(location ?? url, url).href };
  } catch (error) {
    peer.close();
    for (const track of media.getTracks()) track.stop();
    throw error;
  }
}

function reached(late: AbortSignal, else_: string, peer: RTCPeerConnection, event: string, holds: () => boolean): Promise<void> {
  return new Promise((done, fail) => {
    const look = () => holds() && done();
    late.addEventListener("abort", () => fail(new Error(else_)), { once: true });
    peer.addEventListener(event, look);
    look();
  });
}

function end({ peer, media, url, key }: Session): void {
  peer.onconnectionstatechange = null;
  peer.close();
  for (const track of media.getTracks()) track.stop();
  // A page that closes cannot wait for it: the broadcaster notices by itself too.
  void fetch(url, { method: "DELETE", headers: { authorization: `Bearer ${key}` }, keepalive: true }).catch(() => undefined);
}
