//! Files in a directory that no loss of power takes back once they are written: their bytes are on the disk before they have their name,
//! and the name is before the call returns. How the disk keeps up is what paces a recorder, which waits for each write.

use bytes::Bytes;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Names of files that are being written. Names of streams and renditions do not start with a full stop.
pub(super) const UNFINISHED: &str = ".unfinished-";

/// Writes a file, which replaces another: readers see the old or the new one, whole.
pub(super) fn put(path: &Path, content: &[Bytes]) -> io::Result<()> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let folder = path.parent().unwrap_or(Path::new("."));
    let unfinished = folder.join(format!("{UNFINISHED}{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    let mut file = match File::create(&unfinished) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_folder(folder)?;
            File::create(&unfinished)
        }
        created => created,
    }?;
    let written = content.iter().try_for_each(|bytes| file.write_all(bytes)).and_then(|()| file.sync_all());
    let named = written.and_then(|()| fs::rename(&unfinished, path));
    if named.is_err() {
        let _ = fs::remove_file(&unfinished); // it may hold what is left of the disk
    }
    named?;
    sync_folder(folder)
}

/// Writes what follows the first `offset` bytes of a file, whatever was there. Where it does not fit, the file ends with them.
pub(super) fn append(path: &Path, offset: u64, tail: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.set_len(offset)?;
    file.seek(SeekFrom::Start(offset))?;
    let written = file.write_all(tail).and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = file.set_len(offset); // players read on, and half a line is none
    }
    written
}

/// Makes a folder, and those above it that are missing, each with its name in the one above.
fn make_folder(folder: &Path) -> io::Result<()> {
    let above = folder.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let made = match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_folder(above)?;
            fs::create_dir(folder)
        }
        made => made,
    };
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()), // by a write beside this one
        made => made.and_then(|()| sync_folder(above)),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
