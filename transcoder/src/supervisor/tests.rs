//! A real worker process, killed, stopped and fed nonsense. The process is this test executable again: see [`worker_process`].

use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use millrace_media::cmaf::{self, Track};
use millrace_media::{demux, synthetic};
use tokio::time::{Instant, timeout};

use super::*;
use crate::worker;

const LIMIT: Duration = Duration::from_secs(60);
const MARK: &str = "MILLRACE_TEST_WORKER";

/// The worker process itself, when it is started with the mark: events on descriptor 3, since the test harness writes on standard output.
#[test]
fn worker_process() {
    let Ok(device) = std::env::var(MARK) else { return };
    let output = std::fs::OpenOptions::new().write(true).open("/proc/self/fd/3").unwrap();
    let _ = worker::run(&device.parse().unwrap(), std::io::stdin(), output);
}

fn launch(device: &str) -> Launch {
    let exe = std::env::current_exe().unwrap();
    let script = "exec 3>&1 >/dev/null; exec \"$0\" supervisor::tests::worker_process --exact --nocapture";
    Launch {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into(), exe.into()],
        envs: vec![(MARK.into(), device.into())],
    }
}

async fn worker() -> Worker {
    Worker::start(launch("x264:ultrafast")).await.unwrap()
}

/// A small source: its init segment and the parts of three segments of one second.
fn source() -> &'static (Bytes, Vec<Vec<Bytes>>) {
    static SOURCE: OnceLock<(Bytes, Vec<Vec<Bytes>>)> = OnceLock::new();
    SOURCE.get_or_init(|| {
        let (track, samples) = synthetic::source(320, 180, 30, 90, 30).unwrap();
        let segments = demux::cut(&samples, 90_000, 18_000);
        let write = |part: &&[cmaf::Sample]| cmaf::write_part(1, part).unwrap();
        let segments = segments.iter().map(|parts| parts.iter().map(write).collect()).collect();
        (cmaf::write_init(&Track::Video(track)).unwrap(), segments)
    })
}

fn job(stream: u8) -> SegmentJob {
    let spec = |name: &str, width, height| RenditionSpec { name: name.to_owned(), width, height, bitrate: 200_000 };
    SegmentJob {
        stream: [stream; 32],
        init: source().0.clone(),
        specs: vec![spec("180p", 320, 180), spec("90p", 160, 90)],
    }
}

/// Sends a whole segment and reads it to its last event: the frames of each rendition's parts, or the reason of its failure.
async fn finish(segment: Segment, parts: &[Bytes]) -> Result<Vec<usize>, String> {
    let Segment { input, mut events } = segment;
    let send = async {
        for part in parts {
            // A segment that failed takes no more.
            let _ = input.send(SegmentInput::Part(part.clone())).await;
        }
        let _ = input.send(SegmentInput::End).await;
    };
    let read = async {
        let mut frames = vec![0; 2];
        let mut inits = 0;
        loop {
            match timeout(LIMIT, events.recv()).await.unwrap().expect("a last event comes always") {
                SegmentEvent::Init { .. } => inits += 1,
                SegmentEvent::Part { rendition, bytes, .. } => {
                    frames[usize::from(rendition)] += cmaf::read_part(&bytes).unwrap().len();
                }
                SegmentEvent::Done(stats) => {
                    assert_eq!((inits, stats.renditions.len(), stats.frames), (2, 2, 30));
                    assert!(events.recv().await.is_none(), "nothing follows the last event");
                    return Ok(frames);
                }
                SegmentEvent::Failed(reason) => return Err(reason),
            }
        }
    };
    tokio::join!(send, read).1
}

async fn until(worker: &Worker, what: &str, good: impl FnMut(&Status) -> bool) -> Status {
    let mut watch = worker.watch();
    let status = timeout(LIMIT, watch.wait_for(good)).await.unwrap_or_else(|_| panic!("not in time: {what}")).unwrap();
    status.clone()
}

fn signal(name: &str, pid: u32) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

#[tokio::test]
async fn segments_of_one_stream_and_of_several_come_back_whole() {
    let (worker, segments) = (worker().await, &source().1);
    // All at once: those of one stream wait for one another, those of two do not.
    let order = [(1, 0), (2, 0), (1, 1), (2, 1), (1, 2), (2, 2)];
    let runs = order.map(|(stream, n)| finish(worker.transcode(job(stream)).unwrap(), &segments[n]));
    for run in futures::future::join_all(runs).await {
        assert_eq!(run.unwrap(), [30, 30]);
    }
    let status = until(&worker, "idle", |s| s.segments == 0 && s.streams == 0).await;
    assert_eq!(status.restarts, 0);
}

#[tokio::test]
async fn a_process_killed_mid_segment_fails_it_with_a_reason_and_is_back_within_a_second() {
    let (worker, segments) = (worker().await, &source().1);
    let mut cut_off = worker.transcode(job(1)).unwrap();
    let waiting = worker.transcode(job(1)).unwrap();
    cut_off.input.send(SegmentInput::Part(segments[0][0].clone())).await.unwrap();
    while !matches!(timeout(LIMIT, cut_off.events.recv()).await.unwrap().unwrap(), SegmentEvent::Part { .. }) {}

    let old = worker.status().pid.unwrap();
    signal("-KILL", old);
    let killed = Instant::now();
    loop {
        match timeout(LIMIT, cut_off.events.recv()).await.unwrap().unwrap() {
            SegmentEvent::Failed(reason) => {
                assert!(reason.contains("2 segments in flight") && reason.contains("signal: 9"), "{reason}");
                break;
            }
            SegmentEvent::Done(_) => panic!("it was not complete"),
            _ => {}
        }
    }
    assert!(finish(waiting, &segments[0]).await.unwrap_err().contains("lost"));
    let status = until(&worker, "ready again", |s| s.ready && s.pid != Some(old)).await;
    assert!(killed.elapsed() < Duration::from_secs(1), "back after {:?}", killed.elapsed());
    assert_eq!(status.restarts, 1);
    assert_eq!(finish(worker.transcode(job(1)).unwrap(), &segments[0]).await.unwrap(), [30, 30]);
}

#[tokio::test]
async fn a_process_that_hangs_is_killed_and_replaced() {
    let worker = worker().await;
    let old = worker.status().pid.unwrap();
    signal("-STOP", old);
    let status = until(&worker, "replaced", |s| s.ready && s.pid != Some(old)).await;
    assert_eq!(status.restarts, 1);
    assert_eq!(finish(worker.transcode(job(1)).unwrap(), &source().1[0]).await.unwrap(), [30, 30]);
}

#[tokio::test]
async fn one_bad_stream_costs_the_others_nothing() {
    let (worker, segments) = (worker().await, &source().1);
    let nonsense = vec![Bytes::from_static(b"no part at all"); 20];
    let late_start = &segments[0][1..];
    let mut no_init = job(4);
    no_init.init = Bytes::from_static(b"no init");
    let (good, bad, middle, blind) = tokio::join!(
        finish(worker.transcode(job(1)).unwrap(), &segments[0]),
        finish(worker.transcode(job(2)).unwrap(), &nonsense),
        finish(worker.transcode(job(3)).unwrap(), late_start),
        finish(worker.transcode(no_init).unwrap(), &segments[0]),
    );
    assert_eq!(good.unwrap(), [30, 30]);
    assert!(bad.unwrap_err().contains("does not read"));
    assert!(middle.unwrap_err().contains("IDR"));
    assert!(blind.unwrap_err().contains("does not read"));
    // The stream may come back with better bytes.
    assert_eq!(finish(worker.transcode(job(2)).unwrap(), &segments[1]).await.unwrap(), [30, 30]);
    assert_eq!(worker.status().restarts, 0);
}

#[tokio::test]
async fn a_segment_that_is_given_up_makes_room_for_the_next() {
    let (worker, segments) = (worker().await, &source().1);
    let Segment { input, mut events } = worker.transcode(job(1)).unwrap();
    input.send(SegmentInput::Part(segments[0][0].clone())).await.unwrap();
    drop(input);
    loop {
        match timeout(LIMIT, events.recv()).await.unwrap().unwrap() {
            SegmentEvent::Failed(reason) => {
                assert!(reason.contains("given up"), "{reason}");
                break;
            }
            SegmentEvent::Done(_) => panic!("it had no end"),
            _ => {}
        }
    }
    // And one whose reader is gone.
    let unread = worker.transcode(job(1)).unwrap();
    drop(unread.events);
    assert_eq!(finish(worker.transcode(job(1)).unwrap(), &segments[1]).await.unwrap(), [30, 30]);
}

#[tokio::test]
async fn a_reader_that_falls_behind_loses_its_segment_only() {
    let (worker, segments) = (worker().await, &source().1);
    let Segment { input, mut events } = worker.transcode(job(1)).unwrap();
    // The same IDR part again and again: each makes a part of both renditions, until the channel is full.
    let send = async { while input.send(SegmentInput::Part(segments[0][0].clone())).await.is_ok() {} };
    timeout(LIMIT, send).await.unwrap();
    let mut last = None;
    while let Some(event) = events.recv().await {
        last = Some(event);
    }
    let Some(SegmentEvent::Failed(reason)) = last else { panic!("{last:?}") };
    assert!(reason.contains("not read as fast"), "{reason}");
    assert_eq!(finish(worker.transcode(job(1)).unwrap(), &segments[1]).await.unwrap(), [30, 30]);
}

#[tokio::test]
async fn the_process_goes_with_its_last_handle() {
    let worker = worker().await;
    let pid = worker.status().pid.unwrap();
    let clone = worker.clone();
    drop(worker);
    assert!(clone.status().ready);
    drop(clone);
    let gone = async {
        // A killed process that is not waited for yet is still listed, with the state Z.
        let alive = || std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| !s.contains(") Z "));
        while alive() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, gone).await.unwrap();
}

#[tokio::test]
async fn what_does_not_start_says_why() {
    let absent = Launch { program: "/nonexistent/millrace".into(), args: Vec::new(), envs: Vec::new() };
    let error = Worker::start(absent).await.err().unwrap().to_string();
    assert!(error.contains("/nonexistent/millrace"), "{error}");
    if millrace_media::nvenc::probe(7).is_err() {
        let error = Worker::start(launch("nvenc:7")).await.err().unwrap().to_string();
        assert!(error.contains("does not work") && error.contains("nvenc"), "{error}");
    }
}

#[tokio::test]
async fn a_worker_measures_its_device() {
    let worker = worker().await;
    assert!(worker.calibrate().await.unwrap() > 0);
}
