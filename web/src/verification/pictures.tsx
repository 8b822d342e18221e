// The key frames of a source and of its rendition: beside each other, one over the other, and what is different between them.
import { SegmentedControl, Slider } from "@mantine/core";
import { type CSSProperties, useEffect, useRef, useState } from "react";
import type { From } from "../network";
import { Skeleton } from "../ui";
import { type Difference, difference, WHITE } from "./difference";
import { type Evidence, useFile } from "./evidence";

const WAYS = [
  { value: "beside", label: "Side by side" },
  { value: "over", label: "One over the other" },
  { value: "difference", label: "Difference" },
];
/** Samples of a side at which two pictures are compared: what the node has kept is no larger. */
const MOST = 960;

export function Pictures({ shown }: { shown: From<Evidence> }) {
  const [way, setWay] = useState("beside");
  const source = usePicture(shown, "source.jpg");
  const rendition = usePicture(shown, "rendition.jpg");
  const { width, height } = shown.item;
  const shape: CSSProperties = { aspectRatio: width > 0 && height > 0 ? `${width} / ${height}` : "16 / 9" };
  const both = source.url && rendition.url ? { source: source.url, rendition: rendition.url } : null;
  return (
    <div className="evidence-pictures" data-testid="pictures" data-way={both ? way : "beside"}>
      {both && <SegmentedControl size="xs" transitionDuration={0} aria-label="How the pictures are shown" data={WAYS} value={way} onChange={setWay} />}
      {both && way === "over" ? (
        <Over {...both} shape={shape} />
      ) : both && way === "difference" ? (
        <Apart {...both} shape={shape} />
      ) : (
        <div className="pair">
          <Picture of="Source" picture={source} shape={shape} />
          <Picture of="Rendition" picture={rendition} shape={shape} />
        </div>
      )}
    </div>
  );
}

interface Shown {
  url: string | null;
  /** Why there is none. */
  missing: string | null;
}

/** A picture as an address within the page: the node's own may be of another origin, whose pixels a page may not read. */
function usePicture(shown: From<Evidence>, file: string): Shown {
  const { data, error } = useFile(shown, file);
  const [url, setUrl] = useState<string | null>(null);
  useEffect(() => {
    if (!data) return;
    const made = URL.createObjectURL(data);
    setUrl(made);
    return () => {
      URL.revokeObjectURL(made);
      setUrl(null);
    };
  }, [data]);
  const missing = !shown.item.files.includes(file) ? "Its key frame could not be decoded: there is no picture." : error ? `The picture cannot be had: ${error.message}.` : null;
  return { url, missing };
}

function Picture({ of, picture: { url, missing }, shape }: { of: string; picture: Shown; shape: CSSProperties }) {
  return (
    <figure>
      <figcaption>{of}</figcaption>
      <div className="frame" style={shape}>
        {url ? <img src={url} alt={`Key frame of the ${of.toLowerCase()}`} data-testid={`${of.toLowerCase()}-picture`} /> : missing ? <p className="note">{missing}</p> : <Skeleton />}
      </div>
    </figure>
  );
}

interface Both {
  source: string;
  rendition: string;
  shape: CSSProperties;
}

function Over({ source, rendition, shape }: Both) {
  const [at, setAt] = useState(50);
  return (
    <figure>
      <figcaption className="ends">
        <span>Rendition</span>
        <span>Source</span>
      </figcaption>
      <div className="frame" style={shape}>
        <img src={source} alt="Key frame of the source" />
        <img src={rendition} alt="Key frame of the rendition, over it" style={{ clipPath: `inset(0 ${100 - at}% 0 0)` }} />
        <i className="edge" style={{ left: `${at}%` }} />
      </div>
      <Slider value={at} onChange={setAt} size="sm" label={(n) => `${n} %`} thumbLabel="How much of the rendition lies over the source" />
      <p className="dim">Drag it, or use the arrow keys; Home and End show one alone.</p>
    </figure>
  );
}

function Apart({ source, rendition, shape }: Both) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [found, setFound] = useState<Pick<Difference, "mean" | "most"> | "failed" | null>(null);
  useEffect(() => {
    let gone = false;
    compare(source, rendition).then(
      ({ image, mean, most }) => {
        const context = canvas.current?.getContext("2d");
        if (gone || !canvas.current || !context) return;
        canvas.current.width = image.width;
        canvas.current.height = image.height;
        context.putImageData(image, 0, 0);
        setFound({ mean, most });
      },
      () => !gone && setFound("failed"),
    );
    return () => {
      gone = true;
    };
  }, [source, rendition]);
  return (
    <figure>
      <figcaption>Difference in brightness</figcaption>
      <div className="frame" style={shape}>
        <canvas ref={canvas} role="img" aria-label="Where the rendition differs from the source in brightness" data-testid="difference" data-mean={found && found !== "failed" ? found.mean.toFixed(1) : undefined} />
      </div>
      {found === "failed" ? (
        <p className="bad" role="alert">This browser could not compare the pictures.</p>
      ) : (
        found && (
          <p className="dim">
            <b className="num">{found.mean.toFixed(1)}</b> levels of 256 apart in the mean, <b className="num">{Math.round(found.most)}</b> at most. Black is alike, white is {WHITE} levels or more. Counted here from the two pictures; the verdict rests on the figures below.
          </p>
        )
      )}
    </figure>
  );
}

async function compare(source: string, rendition: string) {
  const [a, b] = await Promise.all([decoded(source), decoded(rendition)]);
  const scale = Math.min(1, MOST / Math.max(a.naturalWidth, a.naturalHeight));
  const width = Math.max(1, Math.round(a.naturalWidth * scale));
  const height = Math.max(1, Math.round(a.naturalHeight * scale));
  const pixels = (picture: HTMLImageElement) => {
    const canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    if (!context) throw new Error("no canvas");
    context.drawImage(picture, 0, 0, width, height);
    return context.getImageData(0, 0, width, height).data;
  };
  const { pixels: drawn, mean, most } = difference(pixels(a), pixels(b));
  return { image: new ImageData(drawn, width, height), mean, most };
}

async function decoded(url: string): Promise<HTMLImageElement> {
  const picture = new Image();
  picture.src = url;
  await picture.decode();
  return picture;
}
