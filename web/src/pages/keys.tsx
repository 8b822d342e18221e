// Stream keys: which there are, a new one with its addresses, shown once, and the end of one.
import { TextInput } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { type NewKey, type StreamKey, sorry } from "../api";
import { Confirm } from "../confirm";
import { useOwn } from "../network";
import { ffmpeg, Line } from "../publish";
import { OwnersOnly } from "../session/closed";
import { useSession } from "../session/session";
import { KEYS, NEW_KEY } from "../shapes";
import { Ago, Chip, Loaded, Panel, Scroll } from "../ui";
import { OfBroadcasters } from "./of-broadcasters";

const POLL_MS = 5_000;

export function KeysPage() {
  return (
    <OfBroadcasters title="Stream keys">
      <Keys />
    </OfBroadcasters>
  );
}

function Keys() {
  const keys = useOwn<StreamKey>("keys", KEYS, POLL_MS);
  const cache = useQueryClient();
  const anew = () => void cache.invalidateQueries({ queryKey: ["", "keys"] });
  return (
    <>
      <Panel title="Make a key">
        <OwnersOnly what="Making and revoking keys" />
        <Make made={anew} />
      </Panel>
      <Panel title="Stream keys" aside={keys.state === "ready" && keys.data.length > 0 ? `${keys.data.filter((k) => k.revoked_at === null).length} of ${keys.data.length} let publishers in` : null}>
        <p className="pad">Who has a key publishes under its name. The node keeps hashes alone, so a key that is lost is revoked, and another made. Keys that stand in the configuration are not listed here.</p>
        <KeyTable keys={keys} revoked={anew} />
      </Panel>
    </>
  );
}

export function KeyTable({ keys, revoked }: { keys: ReturnType<typeof useOwn<StreamKey>>; revoked: () => void }) {
  const { session, change } = useSession();
  return (
    <Loaded load={keys} empty="No key has been made yet.">
      {(items) => (
        <Scroll label="Table of keys">
          <table className="table cards">
            <thead>
              <tr><th>Stream</th><th>Id</th><th>Made</th><th>Last used</th><th>State</th><th>Actions</th></tr>
            </thead>
            <tbody>
              {items.toSorted((a, b) => Number(a.revoked_at !== null) - Number(b.revoked_at !== null) || b.created_at - a.created_at).map((key) => (
                <tr key={key.id} data-testid="key" data-name={key.name} data-id={key.id} data-revoked={key.revoked_at !== null}>
                  <td className="cut"><b>{key.name}</b></td>
                  <td className="num" data-label="id"><code>{key.id}</code></td>
                  <td data-label="made"><Ago at={key.created_at} /></td>
                  <td data-label="last used">{key.used_at === null ? <span className="dim">never</span> : <Ago at={key.used_at} />}</td>
                  <td data-label="state">{key.revoked_at === null ? <Chip tone="ok">good</Chip> : <><Chip tone="idle">revoked</Chip> <Ago at={key.revoked_at} /></>}</td>
                  <td className="acts">
                    {key.revoked_at === null && (
                      <Confirm
                        name="revoke"
                        button="Revoke"
                        title={`Revoke key ${key.id} of ${key.name}`}
                        what={["What is published with it ends within seconds, and its viewers see the end.", "It never lets anybody in again: there is no way back, only another key."]}
                        yes="Revoke it"
                        disabled={session?.can_operate ? null : "Sign in as an owner first"}
                        act={() => change("DELETE", `keys/${encodeURIComponent(key.id)}`, null, null)}
                        done={revoked}
                      />
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
    </Loaded>
  );
}

function Make({ made }: { made: () => void }) {
  const { session, change } = useSession();
  const [name, setName] = useState("");
  const [problem, setProblem] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const [key, setKey] = useState<NewKey | null>(null);
  const may = session?.can_operate ?? false;
  const make = async () => {
    if (name.trim() === "") return setProblem("Type the stream's name: it is part of its address.");
    setBusy(true);
    setProblem(null);
    try {
      setKey(await change<NewKey>("POST", "keys", { name: name.trim() }, NEW_KEY));
      setName("");
      made();
    } catch (error) {
      setProblem(sorry(error));
    }
    setBusy(false);
  };
  if (key) return <Made made={key} close={() => setKey(null)} />;
  return (
    <form
      className="inline-form"
      onSubmit={(e) => {
        e.preventDefault();
        if (!busy && may) void make();
      }}
    >
      <TextInput label="Name of the stream" description="Public: viewers see it in the address. Several keys may have one name." value={name} error={problem} disabled={!may} maxLength={80} data-testid="key-name" onChange={(e) => setName(e.currentTarget.value)} />
      <button type="submit" className="button main" data-testid="make-key" disabled={!may || busy}>{busy ? "Making it" : "Make a key"}</button>
    </form>
  );
}

/** The one time that a key is shown. */
export function Made({ made, close }: { made: NewKey; close: () => void }) {
  const server = (url: string) => url.slice(0, url.lastIndexOf("/"));
  const command = ffmpeg(server(made.rtmp_url), made.key);
  return (
    <div className="publish" data-testid="made-key" data-id={made.id}>
      <h3>
        <span>
          A key for <b>{made.name}</b>. It is shown this once: copy it now.
        </span>
        <button type="button" className="button" onClick={close}>I have it</button>
      </h3>
      <Line label="Stream key" text={made.key} shown={made.key} />
      <Line label="OBS server" text={server(made.rtmp_url)} shown={server(made.rtmp_url)} />
      {made.rtmps_url && <Line label="OBS server, encrypted" text={server(made.rtmps_url)} shown={server(made.rtmps_url)} />}
      <Line label="ffmpeg" text={command} shown={command} />
      {made.srt_url && <Line label="SRT" text={made.srt_url} shown={made.srt_url} />}
      <Line label="WHIP, with the key as bearer token" text={made.whip_url} shown={made.whip_url} />
      {made.hls_url && <Line label="Watch at" text={made.hls_url} shown={made.hls_url} />}
    </div>
  );
}
