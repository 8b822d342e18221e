//! Files that are there whole or not at all, whatever moment the process dies at.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Replaces `path` by a file with this content, readable by its owner alone. Readers see the old file or the new one.
pub fn write_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    with_unfinished(path, content, |unfinished| fs::rename(unfinished, path))
}

/// The same, but an existing file is kept: `AlreadyExists`.
pub(crate) fn create_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    with_unfinished(path, content, |unfinished| fs::hard_link(unfinished, path)) // unlike `rename` it replaces nothing
}

/// Writes a file beside `path`, and lets `name` give it its name once it is on the disk.
fn with_unfinished(path: &Path, content: &[u8], name: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let unfinished = beside(path);
    let _ = fs::remove_file(&unfinished); // left by a crash of a process that had our id
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(content)?;
        file.sync_all()?;
        name(&unfinished)
    };
    let written = write();
    let _ = fs::remove_file(&unfinished); // a rename has taken it away already
    written?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    path.with_file_name(name)
}

/// A data folder's lock: one process at a time works with its key and its database. Gone with the process.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held for what its drop does")] File);

/// Why the folder is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{0} is in use by another process: stop the node that runs in it first")]
    Taken(PathBuf),
    /// The file system.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
}

impl Lock {
    /// Takes the lock of `folder`, or says that another process has it.
    pub fn take(folder: &Path) -> Result<Self, LockError> {
        let path = folder.join("lock");
        let failed = |error| LockError::Io(path.clone(), error);
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(fs::TryLockError::WouldBlock) => Err(LockError::Taken(folder.to_owned())),
            Err(fs::TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_locked_once_and_free_again_when_the_lock_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::take(dir.path()).unwrap();
        assert!(matches!(Lock::take(dir.path()), Err(LockError::Taken(_))));
        drop(lock);
        Lock::take(dir.path()).unwrap();
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ready.json");
        write_atomically(&path, b"first and longer").unwrap();
        write_atomically(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }

    #[test]
    fn of_several_creators_the_first_one_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        create_atomically(&path, b"first").unwrap();
        assert_eq!(create_atomically(&path, b"second").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_is_missing_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let error = write_atomically(&dir.path().join("no/such"), b"").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
