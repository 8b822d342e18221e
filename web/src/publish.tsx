// How to publish: ready lines for ffmpeg and OBS with this broadcaster's URL and key.
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import type { Ingest } from "./api";
import { absolute } from "./format";
import type { From, Load } from "./network";
import { CopyButton, Loaded } from "./ui";

export function Publish({ ingest }: { ingest: Load<From<Ingest>[]> }) {
  const [shown, setShown] = useState(false);
  return (
    <Loaded load={ingest} empty="This node knows of no broadcaster that takes streams.">
      {(items) =>
        items.flatMap(({ node, item }) =>
          item.keys.length === 0
            ? [<div className="note" key={node.url}>{node.name} has no stream key that it may show. <Link to="/keys">Make one</Link>, or with: millrace key new NAME</div>]
            : item.keys.map(({ name, key }) => {
                const hide = (text: string) => (shown ? text : text.replaceAll(key, "••••••••"));
                const command = ffmpeg(item.rtmp_url, key);
                const srt = item.srt_url && `${item.srt_url}?streamid=${key}`;
                const whip = absolute(item.whip_path, node.url);
                return (
                  <div className="publish" key={`${node.url} ${key}`} data-testid="publish">
                    <h3>
                      <span>
                        Publish {name && <>as <b>{name}</b></>} to {node.name}
                      </span>
                      <button type="button" className="button" aria-pressed={shown} onClick={() => setShown(!shown)}>
                        {shown ? "Hide key" : "Show key"}
                      </button>
                    </h3>
                    <Line label="OBS server" text={item.rtmp_url} shown={item.rtmp_url} />
                    {item.rtmps_url && <Line label="OBS server, encrypted" text={item.rtmps_url} shown={item.rtmps_url} />}
                    <Line label="OBS stream key" text={key} shown={hide(key)} />
                    <Line label="ffmpeg" text={command} shown={hide(command)} />
                    {srt && <Line label="SRT" text={srt} shown={hide(srt)} />}
                    {whip && <Line label="WHIP" text={whip} shown={whip} />}
                  </div>
                );
              }),
        )
      }
    </Loaded>
  );
}

/** A command that loops a file in real time, with an IDR every two seconds for clean segments. */
export function ffmpeg(rtmpUrl: string, key: string): string {
  const url = `${rtmpUrl.replace(/\/+$/, "")}/${key}`;
  return `ffmpeg -re -stream_loop -1 -i video.mp4 -c:v libx264 -preset veryfast -tune zerolatency -b:v 3M -force_key_frames "expr:gte(t,n_forced*2)" -c:a aac -b:a 128k -f flv "${url}"`;
}

/** An address to copy. */
export function Line(props: { label: string; text: string; shown: string }) {
  return (
    <div className="line">
      <span className="dim">{props.label}</span>
      <code>{props.shown}</code>
      <CopyButton text={props.text} what={props.label} />
    </div>
  );
}
