//! What goes to the disk in which order, as the kernel was asked for it: by `strace`, on a recorder beside a real origin.

use super::super::tests::{recordings, until};
use super::super::{Policy, Store};
use crate::origin::http_tests::Live;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::Command;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The first is written with the folders and the whole playlist, the others append to it.
const SEGMENTS: u64 = 3;
/// Where the recording is made that is traced.
const TRACED: &str = "MILLRACE_TRACED_RECORDING";
const TEST: &str = "recording::disk::tests::a_loss_of_power_takes_nothing_that_is_listed";

#[test]
fn a_loss_of_power_takes_nothing_that_is_listed() {
    if let Ok(folder) = std::env::var(TRACED) {
        tokio::runtime::Runtime::new().unwrap().block_on(record(Path::new(&folder)));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (folder, log) = (dir.path().join("recordings"), dir.path().join("trace"));
    let calls = "trace=write,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat";
    let mut traced = Command::new("strace");
    traced.args(["-f", "-y", "-s", "65536", "-e", calls, "-o"]).arg(&log).arg(std::env::current_exe().unwrap());
    let traced = traced.args(["--exact", TEST]).env(TRACED, &folder).output();
    let log = std::fs::read_to_string(&log).unwrap_or_default();
    if !log.contains("write(") {
        println!("skipped: strace is not here, or may trace nothing: {traced:?}");
        return;
    }
    let traced = traced.unwrap();
    assert!(traced.status.success(), "{}", String::from_utf8_lossy(&traced.stdout));

    let mut disk = Disk::default();
    log.lines().for_each(|line| disk.call(line));
    let segments = disk.listed.iter().filter(|path| path.ends_with(".m4s")).count() as u64;
    assert_eq!((segments, disk.listed.len() as u64), (SEGMENTS, SEGMENTS + 1), "{:?}", disk.listed);
    // The whole playlist twice, at the beginning and at the end, and what it grew by between them.
    assert_eq!((disk.whole, disk.appended), (2, SEGMENTS as usize - 1));
    assert!(disk.dirty.is_empty(), "written and never synced: {:?}", disk.dirty);
    assert!(disk.unnamed.is_empty(), "named, and the name never synced: {:?}", disk.unnamed);
}

/// A recording of a few segments, each in a write of its own.
async fn record(folder: &Path) {
    let (tasks, live) = (TaskTracker::new(), Live::named("show"));
    let recordings = recordings(Policy::All, folder);
    recordings.follow("show", &live.handle, None, &tasks, &CancellationToken::new()).unwrap();
    live.handle.set_ladder(&[], 0).unwrap();
    for seq in 0..SEGMENTS {
        if seq > 0 {
            live.segment(seq);
        }
        let name = format!("{seq}.m4s");
        until("the segment is listed", async || {
            let id = recordings.catalog.all().first()?.id.clone();
            let text = recordings.options.store.get(&format!("show/{id}/source/index.m3u8")).await.ok()?;
            String::from_utf8_lossy(&text).contains(&name).then_some(())
        })
        .await;
    }
    live.handle.end(true);
    until("the recording ends", async || {
        let Store::Folder(root) = &recordings.options.store else { return None };
        std::fs::read_dir(root.join(".ended/show")).ok()?.next().map(drop)
    })
    .await;
}

/// What would be left of a folder, if the disk kept nothing that it was not asked to keep.
#[derive(Default)]
struct Disk {
    /// What was written to files since they had their name, and is read for what it lists.
    text: HashMap<String, String>,
    /// Files with bytes that are not on the disk.
    dirty: HashSet<String>,
    /// Files with names that are not.
    unnamed: HashSet<String>,
    /// Files that are there for good.
    kept: HashSet<String>,
    /// Calls that wait for the disk, by thread.
    waiting: HashMap<String, String>,
    listed: HashSet<String>,
    whole: usize,
    appended: usize,
}

impl Disk {
    /// One line: what is written counts from its call on, what is synced once the call is answered.
    fn call(&mut self, line: &str) {
        let (thread, call) = line.split_once(' ').unwrap();
        let call = call.trim_start();
        let (kind, rest) = call.split_once('(').unwrap_or((call, ""));
        if call.starts_with("<... f") {
            let path = self.waiting.remove(thread).unwrap();
            self.synced(path);
        } else if kind == "fsync" || kind == "fdatasync" {
            let path = path_of(rest);
            if line.ends_with("<unfinished ...>") {
                self.waiting.insert(thread.to_owned(), path);
            } else {
                self.synced(path)
            }
        } else if kind == "write" {
            let path = path_of(rest);
            if !path.contains("/recordings/") {
                return;
            }
            let text = rest.split_once('"').map_or("", |(_, text)| text).replace("\\n", "\n").replace('\\', "");
            let text = text.as_str();
            if path.ends_with("source/index.m3u8") {
                self.lists(&path, text);
                self.appended += 1;
            }
            self.text.entry(path.clone()).or_default().push_str(text);
            self.dirty.insert(path);
        } else if kind.starts_with("rename") {
            let mut names = rest.split('"').skip(1).step_by(2).map(str::to_owned);
            let (from, to) = (names.next().unwrap(), names.next().unwrap());
            assert!(!self.dirty.contains(&from), "{to} has its name before its bytes are on the disk");
            let text = self.text.remove(&from).unwrap_or_default();
            if to.ends_with("source/index.m3u8") {
                self.lists(&to, &text);
                self.whole += 1;
            }
            self.unnamed.insert(to);
        }
    }

    fn synced(&mut self, path: String) {
        let folder = format!("{path}/");
        let here = |file: &String| file.strip_prefix(&folder).is_some_and(|name| !name.contains('/'));
        let named: Vec<_> = self.unnamed.extract_if(|file| here(file)).collect();
        self.kept.extend(named);
        self.dirty.remove(&path);
    }

    /// A playlist says so: what it names must be there for good.
    fn lists(&mut self, playlist: &str, text: &str) {
        let folder = playlist.strip_suffix("index.m3u8").unwrap();
        let names = text.split(['"', '\n']).filter(|word| word.ends_with(".m4s") || word.ends_with(".mp4"));
        for name in names {
            let path = format!("{folder}{name}");
            assert!(self.kept.contains(&path), "{path} is listed, and a loss of power would take it");
            self.listed.insert(path);
        }
    }
}

/// Of a call whose first argument is an open file: `12</path>, ...`.
fn path_of(arguments: &str) -> String {
    arguments.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(path, _)| path).to_owned()
}
