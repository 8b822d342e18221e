//! Pictures for the tests: clips and generated sources decoded by the `ffmpeg` program, honest renditions, and attacks.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A picture in 4:2:0, tight planes.
#[derive(Clone)]
pub(crate) struct Frame {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) planes: [Vec<u8>; 3],
}

impl Frame {
    pub(crate) fn size(&self, plane: usize) -> (usize, usize) {
        if plane == 0 { (self.width, self.height) } else { (self.width.div_ceil(2), self.height.div_ceil(2)) }
    }

    /// A new picture whose every sample is computed from its plane, its place (0..1 across and down, at the sample's centre) and this picture.
    pub(crate) fn map(&self, f: impl Fn(usize, f64, f64) -> f64) -> Frame {
        let mut out = self.clone();
        for plane in 0..3 {
            let (w, h) = self.size(plane);
            for y in 0..h {
                for x in 0..w {
                    let value = f(plane, (x as f64 + 0.5) / w as f64, (y as f64 + 0.5) / h as f64);
                    out.planes[plane][y * w + x] = value.round().clamp(0.0, 255.0) as u8;
                }
            }
        }
        out
    }

    /// The sample at a place, bilinear.
    pub(crate) fn at(&self, plane: usize, x: f64, y: f64) -> f64 {
        let (w, h) = self.size(plane);
        let fx = (x * w as f64 - 0.5).clamp(0.0, (w - 1) as f64);
        let fy = (y * h as f64 - 0.5).clamp(0.0, (h - 1) as f64);
        let (x0, y0) = (fx as usize, fy as usize);
        let (x1, y1) = ((x0 + 1).min(w - 1), (y0 + 1).min(h - 1));
        let (dx, dy) = (fx - x0 as f64, fy - y0 as f64);
        let p = |x: usize, y: usize| f64::from(self.planes[plane][y * w + x]);
        (p(x0, y0) * (1.0 - dx) + p(x1, y0) * dx) * (1.0 - dy) + (p(x0, y1) * (1.0 - dx) + p(x1, y1) * dx) * dy
    }

    /// What an eye sees from afar: means of 64 × 36 places in luma and 32 × 18 in U and V.
    pub(crate) fn thumbnail(&self) -> Thumbnail {
        [(0, 64, 36), (1, 32, 18), (2, 32, 18)].map(|(plane, across, down)| {
            let (w, h) = self.size(plane);
            let mut sums = vec![(0u32, 0u32); across * down];
            for y in 0..h {
                for x in 0..w {
                    let (sum, count) = &mut sums[y * down / h * across + x * across / w];
                    *sum += u32::from(self.planes[plane][y * w + x]);
                    *count += 1;
                }
            }
            sums.iter().map(|&(sum, count)| f64::from(sum) / f64::from(count)).collect()
        })
    }
}

pub(crate) type Thumbnail = [Vec<f64>; 3];

/// Whether two pictures differ so that one could see it: 3 levels of luma or 2 of colour, root mean square over the thumbnail. An
/// attack that changes less (a mirrored flat picture, a cropped clear sky) harms nobody and is counted apart.
pub(crate) fn visible(a: &Thumbnail, b: &Thumbnail) -> bool {
    let mean_square = |p: usize| a[p].iter().zip(&b[p]).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / a[p].len() as f64;
    mean_square(0) >= 9.0 || mean_square(1) >= 4.0 || mean_square(2) >= 4.0
}

pub(crate) type Attack = (&'static str, fn(&Frame) -> Frame);

fn colour(f: &Frame, degrees: f64, saturation: f64) -> Frame {
    let (s, c) = degrees.to_radians().sin_cos();
    f.map(|plane, x, y| {
        let (u, v) = (f.at(1, x, y) - 128.0, f.at(2, x, y) - 128.0);
        match plane {
            0 => f.at(0, x, y),
            1 => 128.0 + saturation * (u * c - v * s),
            _ => 128.0 + saturation * (u * s + v * c),
        }
    })
}

/// A patch of `area` of the picture with its top left corner at (`left`, `top`), as a share of what room there is.
fn patch(f: &Frame, area: f64, left: f64, top: f64, colour: [f64; 3], opacity: f64) -> Frame {
    let side = area.sqrt();
    let (x0, y0) = (left * (1.0 - side), top * (1.0 - side));
    f.map(|plane, x, y| {
        let old = f.at(plane, x, y);
        if x >= x0 && x < x0 + side && y >= y0 && y < y0 + side {
            old * (1.0 - opacity) + colour[plane] * opacity
        } else {
            old
        }
    })
}

fn window(f: &Frame, x0: f64, y0: f64, w: f64, h: f64) -> Frame {
    f.map(|plane, x, y| f.at(plane, x0 + x * w, y0 + y * h))
}

fn bars(f: &Frame, w: f64, h: f64) -> Frame {
    f.map(|plane, x, y| {
        let (sx, sy) = ((x - 0.5) / w + 0.5, (y - 0.5) / h + 0.5);
        if (0.0..1.0).contains(&sx) && (0.0..1.0).contains(&sy) {
            f.at(plane, sx, sy)
        } else if plane == 0 {
            16.0
        } else {
            128.0
        }
    })
}

fn levels(f: &Frame, g: impl Fn(f64) -> f64) -> Frame {
    f.map(|plane, x, y| if plane == 0 { g(f.at(0, x, y)) } else { f.at(plane, x, y) })
}

const WHITE: [f64; 3] = [235.0, 128.0, 128.0];
const BLACK: [f64; 3] = [16.0, 128.0, 128.0];
const GREY: [f64; 3] = [126.0, 128.0, 128.0];
const RED: [f64; 3] = [81.0, 90.0, 240.0];

pub(crate) const ATTACKS: &[Attack] = &[
    ("black", |f| f.map(|p, _, _| BLACK[p])),
    ("grey picture", |f| f.map(|p, _, _| GREY[p])),
    ("half black, left", |f| f.map(|p, x, y| if x < 0.5 { BLACK[p] } else { f.at(p, x, y) })),
    ("half black, bottom", |f| f.map(|p, x, y| if y > 0.5 { BLACK[p] } else { f.at(p, x, y) })),
    ("mirrored across", |f| f.map(|p, x, y| f.at(p, 1.0 - x, y))),
    ("upside down", |f| f.map(|p, x, y| f.at(p, x, 1.0 - y))),
    ("turned by 180", |f| f.map(|p, x, y| f.at(p, 1.0 - x, 1.0 - y))),
    ("cropped 10 %, centre", |f| window(f, 0.05, 0.05, 0.9, 0.9)),
    ("cropped 10 %, corner", |f| window(f, 0.1, 0.1, 0.9, 0.9)),
    ("cropped 10 %, sides", |f| window(f, 0.05, 0.0, 0.9, 1.0)),
    ("cropped 5 %, centre", |f| window(f, 0.025, 0.025, 0.95, 0.95)),
    ("shifted 5 %", |f| f.map(|p, x, y| f.at(p, (x + 0.05).min(1.0), y))),
    ("letterboxed 75 %", |f| bars(f, 1.0, 0.75)),
    ("letterboxed 90 %", |f| bars(f, 1.0, 0.9)),
    ("pillarboxed 75 %", |f| bars(f, 0.75, 1.0)),
    ("white patch 5 %, corner", |f| patch(f, 0.05, 0.97, 0.03, WHITE, 1.0)),
    ("white patch 10 %, corner", |f| patch(f, 0.1, 0.97, 0.03, WHITE, 1.0)),
    ("black patch 5 %, corner", |f| patch(f, 0.05, 0.03, 0.97, BLACK, 1.0)),
    ("grey patch 5 %, corner", |f| patch(f, 0.05, 0.03, 0.03, GREY, 1.0)),
    ("red patch 5 %, middle", |f| patch(f, 0.05, 0.5, 0.5, RED, 1.0)),
    ("white veil 5 %, half clear", |f| patch(f, 0.05, 0.97, 0.97, WHITE, 0.5)),
    ("white veil 10 %, half clear", |f| patch(f, 0.1, 0.97, 0.97, WHITE, 0.5)),
    ("black band 8 %, bottom", |f| f.map(|p, x, y| if y > 0.92 { BLACK[p] } else { f.at(p, x, y) })),
    ("logo of stripes 5 %", |f| {
        f.map(|p, x, y| {
            let inside = (0.7..0.95).contains(&x) && (0.05..0.25).contains(&y);
            if inside && ((x * 80.0) as usize).is_multiple_of(2) { WHITE[p] } else { f.at(p, x, y) }
        })
    }),
    ("without colour", |f| colour(f, 0.0, 0.0)),
    ("hue 180", |f| colour(f, 180.0, 1.0)),
    ("hue 90", |f| colour(f, 90.0, 1.0)),
    ("hue 30", |f| colour(f, 30.0, 1.0)),
    ("half the colour", |f| colour(f, 0.0, 0.5)),
    ("U and V swapped", |f| Frame { planes: [f.planes[0].clone(), f.planes[2].clone(), f.planes[1].clone()], ..*f }),
    ("tinted by 16", |f| f.map(|p, x, y| f.at(p, x, y) + if p == 1 { 16.0 } else { 0.0 })),
    ("negative", |f| levels(f, |y| 251.0 - y)),
    ("brighter by 16", |f| levels(f, |y| y + 16.0)),
    ("brighter by 32", |f| levels(f, |y| y + 32.0)),
    ("darker by 16", |f| levels(f, |y| y - 16.0)),
    ("darker by 32", |f| levels(f, |y| y - 32.0)),
    ("contrast 75 %", |f| levels(f, |y| 126.0 + (y - 126.0) * 0.75)),
];

/// What a title is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    /// Clips that the thresholds were fitted on.
    Fitted,
    /// Clips that they were not fitted on.
    Reported,
    /// Made by FFmpeg; not fitted on.
    Generated,
}

/// Where a test finds pictures: a real clip, or one that FFmpeg generates.
#[derive(Clone)]
pub(crate) struct Title {
    pub(crate) name: &'static str,
    pub(crate) input: Vec<String>,
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) group: Group,
}

pub(crate) fn media() -> PathBuf {
    std::env::var_os("MILLRACE_MEDIA")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/media")))
}

pub(crate) fn clips() -> Vec<Title> {
    let clip = |name: &'static str, width, height, group| Title {
        name,
        input: vec!["-i".into(), media().join(name).to_string_lossy().into_owned()],
        width,
        height,
        group,
    };
    vec![
        clip("bigbuckbunny.mp4", 1280, 720, Group::Fitted),
        clip("carphone_pristine.mp4", 176, 144, Group::Fitted),
        clip("portrait.ts", 720, 1280, Group::Fitted),
        clip("missing-dts.ts", 1920, 1080, Group::Fitted),
        clip("livepeer-rtmp.flv", 640, 360, Group::Reported),
        clip("bikes.mp4", 640, 272, Group::Reported),
        clip("livepeer-422.ts", 1280, 720, Group::Reported),
    ]
}

pub(crate) fn generated(frames: u32) -> Vec<Title> {
    let source = |name: &'static str, graph: &str| Title {
        name,
        input: ["-f", "lavfi", "-i", &format!("{graph},format=yuv420p"), "-frames:v", &frames.to_string()]
            .map(String::from)
            .to_vec(),
        width: 1280,
        height: 720,
        group: Group::Generated,
    };
    let s = "s=1280x720:r=5";
    vec![
        source("testsrc2", &format!("testsrc2={s}")),
        source("mandelbrot", &format!("mandelbrot={s}")),
        source(
            "life",
            "life=s=320x180:r=5:random_seed=1:mold=10:ratio=0.3:death_color=#C83232:life_color=#00ff00,scale=1280:720:flags=neighbor",
        ),
        source("life, one pixel a cell", &format!("life={s}:ratio=0.3:random_seed=1")),
        source("flat grey", &format!("color=c=gray:{s}")),
        source("flat blue", &format!("color=c=blue:{s}")),
        source("flat skin", &format!("color=c=#d0a080:{s}")),
        source("flat black", &format!("color=c=black:{s}")),
        source("fade from black", &format!("testsrc2={s},fade=in:0:{frames}")),
        source("noise", &format!("color=c=gray:{s},noise=alls=100:allf=t")),
        source("noise on dark", &format!("color=c=0x101014:{s},noise=alls=12:allf=t")),
        source("bars", &format!("smptehdbars={s}")),
        source("gradient", &format!("gradients={s}:c0=0x203040:c1=0x405060:n=2:speed=0.05:seed=1")),
        source("night", &format!("mandelbrot={s},eq=brightness=-0.35:contrast=0.3")),
    ]
}

/// An honest rendition: the longer and the shorter side, bit rate, and how its key frames come about.
#[derive(Clone, Copy)]
pub(crate) struct Rung(pub(crate) usize, pub(crate) usize, pub(crate) u32, pub(crate) Keys);

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Keys {
    /// Every picture is a key frame with a quarter of a second's bits (9.4 KB at 300 kb/s). The IDRs of 2 s segments at that rate
    /// were measured at 6 to 19 KB, 10 KB on average, and at 3 to 6 KB for the first of a stream.
    All,
    /// One picture in thirty, the first included, in a stream at 30 frames a second: what the rate control really gives.
    Thirtieth,
}

pub(crate) struct Pictures {
    /// The one that writes the pictures comes first.
    children: Vec<Child>,
    width: usize,
    height: usize,
}

impl Iterator for Pictures {
    type Item = Frame;
    fn next(&mut self) -> Option<Frame> {
        let (cw, ch) = (self.width.div_ceil(2), self.height.div_ceil(2));
        let out = self.children[0].stdout.as_mut().unwrap();
        let mut read = |length: usize| {
            let mut plane = vec![0; length];
            out.read_exact(&mut plane).ok().map(|()| plane)
        };
        let planes = [read(self.width * self.height)?, read(cw * ch)?, read(cw * ch)?];
        Some(Frame { width: self.width, height: self.height, planes })
    }
}

impl Drop for Pictures {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

const RAW: &[&str] = &["-an", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-"];

pub(crate) fn decode(title: &Title, every: usize) -> Pictures {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-nostdin"]).args(&title.input).args(["-vsync", "0"]);
    ffmpeg.args(["-vf", &format!("select=not(mod(n\\,{every}))")]).args(RAW);
    let child = ffmpeg.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("ffmpeg runs");
    Pictures { children: vec![child], width: title.width, height: title.height }
}

/// The key frames of an honest rendition of every `every`th picture, by x264 as the software lane runs it.
pub(crate) fn rendition(title: &Title, &Rung(long, short, kbps, keys): &Rung, every: usize) -> Pictures {
    let (width, height) = if title.width < title.height { (short, long) } else { (long, short) };
    let (fps, gop) = if keys == Keys::All { (4, "1") } else { (30, "30") };
    let filter = format!(
        "select=not(mod(n\\,{every})),settb=1/12000,setpts=N*12000/{fps},fps={fps},scale={width}:{height},format=yuv420p"
    );
    let rate = format!("{kbps}k");
    let mut encode = Command::new("ffmpeg");
    encode.args(["-v", "error", "-nostdin"]).args(&title.input).args(["-vsync", "0", "-an", "-vf", &filter]);
    encode.args(["-c:v", "libx264", "-preset", "superfast", "-tune", "zerolatency", "-threads", "1"]);
    encode.args(["-g", gop, "-sc_threshold", "0", "-b:v", &rate, "-maxrate", &rate, "-bufsize", &rate]);
    encode.args(["-f", "matroska", "-"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut encoder = encode.spawn().expect("ffmpeg runs");
    let mut decode = Command::new("ffmpeg");
    decode.args(["-v", "error", "-skip_frame", "nokey", "-f", "matroska", "-i", "-", "-vsync", "0"]).args(RAW);
    decode.stdin(encoder.stdout.take().unwrap()).stdout(Stdio::piped()).stderr(Stdio::null());
    let child = decode.spawn().expect("ffmpeg runs");
    Pictures { children: vec![child, encoder], width, height }
}
