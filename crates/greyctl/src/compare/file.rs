//! Diagnoses in files: saved whole or not at all, read back with a bound.
//!
//! Never takes what is not one of our diagnoses for one, and never waits for a
//! pipe that nobody writes to longer than its reader does.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use grey_model::Snapshot;
use rustix::fs::OFlags;
use serde::Deserialize;

use crate::diagnose::document::{Diagnosis, SCHEMA};
use crate::exit_code::Exit;
use crate::failure::{Failure, is_denied};

/// The largest file that is read: over 100,000 processes.
const LARGEST: u64 = 256 << 20;

/// The name of the standard output among files.
const STDOUT: &str = "-";

/// What every document of ours begins with, and who took it.
#[derive(Deserialize)]
struct Header {
    schema: String,
    #[serde(default)]
    taken_by_pid: Option<u32>,
}

/// Writes `diagnosis` to `path`, for its owner alone: what root sees of other
/// people's processes is in it. What was there before stays until the new one
/// is on disk. A symbolic link is replaced, and what it leads to left alone:
/// somebody else may have made it.
///
/// # Errors
/// A [`Failure`] when the file cannot be written.
pub(crate) fn save(diagnosis: &Diagnosis, path: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        let exit = exit_of(&error);
        let text = format!(
            "failed to save the diagnosis to `{}`: {error}",
            path.display()
        );
        Failure::new(exit, text).hint("name a file that you may write, where there is room")
    };
    require_file(path)?;
    let beside = beside(path);
    let written = write(diagnosis, &beside)
        .and_then(|()| fs::rename(&beside, path))
        .and_then(|()| sync_directory_of(path));
    written.map_err(|error| {
        // What is left of it is of no use.
        let _ = fs::remove_file(&beside);
        failed(error)
    })
}

/// Refuses what is no file, and what stands for the standard output elsewhere.
///
/// # Errors
/// A [`Failure`] that says what prints the diagnosis.
pub(crate) fn require_file(path: &Path) -> Result<(), Failure> {
    let is_other = fs::metadata(path).is_ok_and(|facts| !facts.is_file());
    let what = if path.as_os_str() == STDOUT {
        "it is the standard output, and no name of a file"
    } else if is_other || names_an_open_file(path) {
        "it is no regular file"
    } else {
        return Ok(());
    };
    let path = path.display();
    let said = format!("failed to save the diagnosis to `{path}`: {what}");
    Err(Failure::new(Exit::Usage, said).hint("to print it, use --json"))
}

/// Whether `path` is a link to what a process has open, as `/dev/stdout` is:
/// replacing it would take it from everybody.
fn names_an_open_file(path: &Path) -> bool {
    let Ok(next) = fs::read_link(path) else {
        return false;
    };
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let leads_to = whole.parent().unwrap_or(Path::new("/")).join(next);
    ["/proc", "/dev/fd"]
        .iter()
        .any(|place| leads_to.starts_with(place))
}

/// Where a file is written before it takes its name.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    path.with_file_name(name)
}

fn write(diagnosis: &Diagnosis, path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let mut writer = BufWriter::new(file);
    serde_json::to_writer_pretty(&mut writer, diagnosis)?;
    writer.write_all(b"\n")?;
    writer
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?
        .sync_all()
}

/// Without this a power cut may take the new name.
fn sync_directory_of(path: &Path) -> io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Reads the diagnosis in `path`.
///
/// # Errors
/// A [`Failure`] that says what the file is instead.
pub(crate) fn load(path: &Path) -> Result<Snapshot, Failure> {
    let shown = path.display();
    let mut bytes = Vec::new();
    open(path)
        .and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes))
        .map_err(|error| {
            Failure::new(
                exit_of(&error),
                format!("failed to read `{shown}`: {error}"),
            )
            .hint("save one: greyctl memory-diagnose --save before.json")
        })?;
    let refused = |what: String| {
        Failure::new(Exit::Failed, format!("`{shown}` {what}"))
            .hint("save one: greyctl memory-diagnose --save before.json")
    };
    if bytes.len() as u64 > LARGEST {
        return Err(refused(format!(
            "is larger than {} MiB: it is no diagnosis",
            LARGEST >> 20
        )));
    }
    let header: Header = serde_json::from_slice(&bytes)
        .map_err(|error| refused(format!("is no document of greyctl: {error}")))?;
    if header.schema != SCHEMA {
        let newer = header.schema.starts_with("grey.diagnosis/");
        let schema = grey_model::KernelText::from(&header.schema);
        return Err(refused(if newer {
            format!("is a diagnosis of another version ({schema}): this greyctl reads {SCHEMA}")
        } else {
            format!("is a `{schema}`, not a diagnosis ({SCHEMA})")
        }));
    }
    let snapshot =
        serde_json::from_slice(&bytes).map_err(|error| refused(format!("is damaged: {error}")))?;
    Ok(without(header.taken_by_pid, snapshot))
}

/// Opens a file to read. A pipe that nobody writes to has an end and is not
/// waited for; one that somebody writes to is read to its end.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let waits_for_nobody = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(waits_for_nobody)
        .open(path)?;
    let flags = rustix::fs::fcntl_getfl(&file)?;
    rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
    Ok(file)
}

/// The greyctl that took a snapshot is no part of what is compared: it appears
/// in each, and is gone from the other.
fn without(pid: Option<u32>, mut snapshot: Snapshot) -> Snapshot {
    snapshot
        .processes
        .retain(|process| Some(process.id.pid) != pid);
    snapshot
}

/// The same of a diagnosis that was just made, by the same way: what is not
/// UTF-8 then looks the same in both.
///
/// # Errors
/// A [`Failure`] when a document of ours cannot be read by us.
pub(crate) fn snapshot(diagnosis: &Diagnosis) -> Result<Snapshot, Failure> {
    serde_json::to_value(diagnosis)
        .and_then(serde_json::from_value)
        .map_err(|error| {
            Failure::new(
                Exit::Failed,
                format!("failed to compare the diagnosis: {error}"),
            )
        })
        .map(|snapshot| without(diagnosis.taken_by_pid, snapshot))
}

fn exit_of(error: &io::Error) -> Exit {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::IsADirectory => Exit::Usage,
        _ if is_denied(error) => Exit::NotPermitted,
        _ => Exit::Failed,
    }
}
