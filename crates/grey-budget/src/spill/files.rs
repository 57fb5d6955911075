//! The files of a directory: their names, and which of them are segments of
//! this store.
//!
//! Never looks at a record, and never removes a file that may hold one.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use grey_model::Bytes;

use super::error::SpillError;
use super::format::{BadFileHeader, FileHeader, HEADER};
use super::key_hash::Salt;
use super::reading::Segment;
use super::recovery::Reader;
use super::roster;
use crate::disk::Disk;

/// How many names are tried for a file that is set aside.
const MOST_NAMES: u32 = 1000;

/// The file of a segment.
pub(super) fn segment_path(directory: &Path, id: NonZeroU32) -> PathBuf {
    directory.join(format!("segment-{id:08x}.spill"))
}

/// What a file whose name has a segment's number is.
pub(super) enum FileKind {
    Segment,
    Roster,
    /// One that was set aside.
    Other,
}

/// The number in a segment's name, and what it is by what follows it.
pub(super) fn number_in(path: &Path) -> Option<(NonZeroU32, FileKind)> {
    let name = path.file_name()?.to_str()?;
    let (number, kind) = name.strip_prefix("segment-")?.split_once('.')?;
    if number.len() != 8 {
        return None;
    }
    let id = u32::from_str_radix(number, 16).ok()?;
    let kind = match kind {
        "spill" => FileKind::Segment,
        "keys" => FileKind::Roster,
        _ => FileKind::Other,
    };
    Some((NonZeroU32::new(id)?, kind))
}

/// Gives a segment another name, so that no store reads it again.
pub(super) fn set_aside(disk: &dyn Disk, path: &Path, why: &str) -> Result<PathBuf, SpillError> {
    for turn in 0..MOST_NAMES {
        let name = if turn == 0 {
            path.with_extension(why)
        } else {
            path.with_extension(format!("{why}-{turn}"))
        };
        match disk.rename(path, &name) {
            Ok(()) => return Ok(name),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(SpillError::of_io("set aside", path, error)),
        }
    }
    Err(SpillError::of_io(
        "set aside",
        path,
        std::io::ErrorKind::AlreadyExists.into(),
    ))
}

/// A file whose header is good.
pub(super) struct Candidate {
    pub(super) segment: Arc<Segment>,
    pub(super) header: FileHeader,
    pub(super) length: u64,
    /// Its header is damaged; this is the copy in the list of its keys.
    pub(super) has_bad_head: bool,
}

/// Of no use, and to be set aside.
pub(super) struct Useless {
    pub(super) id: NonZeroU32,
    pub(super) path: PathBuf,
    pub(super) why: &'static str,
    pub(super) reason: String,
}

/// What a file turned out to be.
pub(super) type Found = Result<Candidate, Useless>;

impl Reader<'_> {
    /// Opens all files, and finds those whose header is not ours.
    pub(super) fn candidates(
        &mut self,
        files: Vec<(NonZeroU32, PathBuf)>,
    ) -> Result<Vec<Found>, SpillError> {
        let mut candidates = Vec::with_capacity(files.len());
        let mut salt = None;
        let last = files.len().saturating_sub(1);
        for (place, (id, path)) in files.into_iter().enumerate() {
            let Some(found) = self.candidate(id, path, place == last, salt)? else {
                continue;
            };
            if let Ok(candidate) = &found {
                salt = Some(candidate.header.salt);
            }
            candidates.push(found);
        }
        Ok(candidates)
    }

    /// Opens a file, unless its header was still being written: then no record
    /// is in it, and it is removed.
    fn candidate(
        &mut self,
        id: NonZeroU32,
        path: PathBuf,
        is_last: bool,
        salt: Option<Salt>,
    ) -> Result<Option<Found>, SpillError> {
        let failed = |error| SpillError::of_io("open the spill segment", &path, error);
        let file = self.options.disk.open(&path).map_err(failed)?;
        let length = file.length().map_err(failed)?;
        let segment = Arc::new(Segment {
            id,
            path: path.clone(),
            file,
        });
        let bytes = self.window.get(&segment, 0, HEADER, 0).map_err(failed)?;
        let is_blank = bytes.iter().all(|byte| *byte == 0);
        if is_last && (length < HEADER as u64 || is_blank && length == HEADER as u64) {
            self.options.disk.remove(&path).map_err(failed)?;
            roster::remove(&*self.options.disk, &path);
            self.recovery.torn = self.recovery.torn.saturating_add(Bytes(length));
            return Ok(None);
        }
        let header = bytes
            .first_chunk::<HEADER>()
            .map_or(Err(BadFileHeader::Damaged), FileHeader::decode);
        let copy = matches!(header, Err(BadFileHeader::Damaged))
            .then(|| roster::header_of(&*self.options.disk, &path))
            .flatten();
        let has_bad_head = copy.is_some();
        let header = copy.map_or(header, Ok);
        Ok(Some(match judge(header, id, salt) {
            Ok(header) => Ok(Candidate {
                segment,
                header,
                length,
                has_bad_head,
            }),
            Err((why, reason)) => Err(Useless {
                id,
                path,
                why,
                reason,
            }),
        }))
    }
}

/// The header of a file that is ours; else why it is not, for its name and in
/// words.
fn judge(
    header: Result<FileHeader, BadFileHeader>,
    id: NonZeroU32,
    salt: Option<Salt>,
) -> Result<FileHeader, (&'static str, String)> {
    match header {
        Ok(header) if header.segment != id.get() => Err((
            "misnamed",
            format!("it is segment {} by its header", header.segment),
        )),
        Ok(header) if salt.is_some_and(|salt| salt != header.salt) => {
            Err(("foreign", "it belongs to another store".to_owned()))
        }
        Ok(header) => Ok(header),
        Err(BadFileHeader::Version(version)) => Err((
            "version",
            format!("it is of version {version}, not {}", super::format::VERSION),
        )),
        Err(BadFileHeader::Damaged) => Err(("damaged", "its head is damaged".to_owned())),
    }
}
