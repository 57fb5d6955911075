//! Dumps: what the ring held when something happened, each in a file of its
//! own beside the shards.
//!
//! A dump is one block (see `block.rs`), so that its checksum is looked at
//! before anything in it is believed. It takes its name when it is on the disk.
//! Never keeps more than a number and a size of them: the first made go first.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use grey_model::Sample;
use jiff::Timestamp;
use rustix::fs::{Mode, OFlags};

use super::block::{self, Contents, HEADER, Header, LARGEST, NoHeader};
use super::codec::Encoder;
use super::directory::open_to_read;
use super::error::HistoryError;
use super::files::read_bounded;

/// What the names of dumps begin and end with.
const PREFIX: &str = "dump-";
const SUFFIX: &str = ".dump";

/// A dump before it takes its name.
const NEW_DUMP: &str = "dump.new";

/// The most dumps.
pub const MOST_DUMPS: usize = 50;

/// The most bytes of all of them together.
const MOST_BYTES: u64 = 16 << 20;

/// Why the ring was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DumpReason {
    /// Memory pressure spiked.
    Pressure,
    /// The kernel killed somebody for want of memory.
    OomKill,
}

impl DumpReason {
    /// Its word in names and in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pressure => "pressure",
            Self::OomKill => "oom-kill",
        }
    }
}

/// A dump's name: its number, when it was made (UTC), and why.
#[derive(Debug, Clone, PartialEq, Eq)]
struct DumpName {
    number: u64,
    reason: DumpReason,
    text: String,
}

impl DumpName {
    fn new(number: u64, reason: DumpReason, at: Timestamp) -> Self {
        let at = at.strftime("%Y%m%dT%H%M%SZ");
        let word = reason.word();
        let text = format!("{PREFIX}{number:06}-{at}-{word}{SUFFIX}");
        Self {
            number,
            reason,
            text,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let inner = text.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        let (number, rest) = inner.split_once('-')?;
        let (_, word) = rest.split_once('-')?;
        let reason = [DumpReason::Pressure, DumpReason::OomKill]
            .into_iter()
            .find(|reason| reason.word() == word)?;
        let is_plain = inner
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        is_plain.then_some(())?;
        Some(Self {
            number: number.parse().ok()?,
            reason,
            text: text.to_owned(),
        })
    }
}

/// A dump that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dump {
    /// Its file's name, which [`read_dump`] takes.
    pub name: String,
    /// Why it was made.
    pub reason: DumpReason,
    /// Its length in bytes.
    pub bytes: u64,
    /// When its first and its last sample were taken, in milliseconds since
    /// 1970, and how many it has; or why it cannot be read.
    pub holds: Result<(u64, u64, u32), DumpFault>,
}

/// Why a dump cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DumpFault {
    /// It is not as it was written.
    Damaged,
    /// A newer version wrote it, in this format; it is neither read nor deleted.
    Newer(u16),
    /// The system does not let us read it: why.
    Unreadable(String),
}

/// The dumps in the history at `path`, the first made first.
///
/// # Errors
/// [`HistoryError::File`] when the directory cannot be listed.
pub fn dumps(path: &Path) -> Result<Vec<Dump>, HistoryError> {
    let mut dumps = Vec::new();
    for name in names(path)? {
        let file = path.join(&name.text);
        let (bytes, holds) = match read_bounded(&file) {
            Ok(bytes) => (bytes.len() as u64, holds(&bytes)),
            // It has gone to make room meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                let length = fs::symlink_metadata(&file).map_or(0, |facts| facts.len());
                (length, Err(DumpFault::Unreadable(error.to_string())))
            }
        };
        dumps.push(Dump {
            name: name.text,
            reason: name.reason,
            bytes,
            holds,
        });
    }
    Ok(dumps)
}

fn holds(bytes: &[u8]) -> Result<(u64, u64, u32), DumpFault> {
    let header = header(bytes).map_err(|fault| match fault {
        NoHeader::Damaged => DumpFault::Damaged,
        NoHeader::Newer(format) => DumpFault::Newer(format),
    })?;
    if !block::is_whole(&header, &bytes[HEADER..]) {
        return Err(DumpFault::Damaged);
    }
    Ok((header.from_unix_ms, header.until_unix_ms, header.count))
}

/// The samples of the dump `name` in the history at `path`.
///
/// # Errors
/// [`HistoryError`] when there is none of that name, it cannot be read, is
/// damaged, or of a newer version.
pub fn read_dump(path: &Path, name: &str) -> Result<Vec<Sample>, HistoryError> {
    let file = path.join(name);
    if DumpName::parse(name).is_none() {
        let source = io::ErrorKind::NotFound.into();
        return Err(HistoryError::file("read", &file)(source));
    }
    let bytes = read_bounded(&file).map_err(HistoryError::file("read", &file))?;
    let damaged = || HistoryError::Damaged { path: file.clone() };
    match header(&bytes) {
        Ok(header) => block::open(&header, &bytes[HEADER..]).ok_or_else(damaged),
        Err(NoHeader::Newer(version)) => Err(HistoryError::Newer {
            path: file,
            version,
        }),
        Err(NoHeader::Damaged) => Err(damaged()),
    }
}

fn header(bytes: &[u8]) -> Result<Header, NoHeader> {
    let head = bytes.first_chunk::<HEADER>().ok_or(NoHeader::Damaged)?;
    Header::parse(head)
}

/// The names of the dumps in `path`, by number.
fn names(path: &Path) -> Result<Vec<DumpName>, HistoryError> {
    let failed = || HistoryError::file("list", path);
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(failed())? {
        let name = entry.map_err(failed())?.file_name();
        names.extend(name.to_str().and_then(DumpName::parse));
    }
    names.sort_unstable_by_key(|name| name.number);
    Ok(names)
}

/// Where a recorder puts its dumps. Only who holds the lock of the history
/// makes any.
#[derive(Debug)]
pub struct DumpFolder {
    path: PathBuf,
}

impl DumpFolder {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Writes `samples`, of one boot, as a dump; its name, once it is on the
    /// disk. Then the first made go, when there are too many.
    ///
    /// # Errors
    /// [`HistoryError::File`] when it could not be written: then there is none
    /// of it. Others stay.
    pub fn write(&self, reason: DumpReason, samples: &[Sample]) -> Result<String, HistoryError> {
        let there = names(&self.path)?;
        let number = there.last().map_or(1, |last| last.number.saturating_add(1));
        let name = DumpName::new(number, reason, Timestamp::now()).text;
        let (new, path) = (self.path.join(NEW_DUMP), self.path.join(&name));
        let written = sealed(samples).and_then(|bytes| {
            let flags = OFlags::WRONLY
                | OFlags::CREATE
                | OFlags::TRUNC
                | OFlags::CLOEXEC
                | OFlags::NOFOLLOW;
            let mut file = File::from(rustix::fs::open(&new, flags, Mode::from_raw_mode(0o600))?);
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.path)?.sync_all()
        });
        if let Err(error) = written {
            // Half of one would only take room.
            let _ = fs::remove_file(&new);
            return Err(HistoryError::file("write", &path)(error));
        }
        self.prune()?;
        Ok(name)
    }

    fn prune(&self) -> Result<(), HistoryError> {
        let mut there = Vec::new();
        for name in names(&self.path)? {
            let path = self.path.join(&name.text);
            // A newer version's are not ours to delete.
            if is_newer(&path) {
                continue;
            }
            let length = fs::metadata(&path).map_or(0, |facts| facts.len());
            there.push((path, length));
        }
        let mut total: u64 = there.iter().map(|(_, length)| length).sum();
        let mut left = there.len();
        for (path, length) in there {
            // The newest stays in any case.
            if left <= 1 || (left <= MOST_DUMPS && total <= MOST_BYTES) {
                break;
            }
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(HistoryError::file("remove", &path)(error)),
            }
            left -= 1;
            total -= length;
        }
        Ok(())
    }
}

/// Whether a newer version has written the file at `path`.
fn is_newer(path: &Path) -> bool {
    matches!(head(path), Some(Err(NoHeader::Newer(_))))
}

/// What the beginning of the file at `path` says; `None` when it cannot be read.
fn head(path: &Path) -> Option<Result<Header, NoHeader>> {
    let mut bytes = [0; HEADER];
    let file = open_to_read(path).ok()?;
    file.read_exact_at(&mut bytes, 0).ok()?;
    Some(Header::parse(&bytes))
}

/// The dumps in `path` that are ours to delete, the first made first, each with
/// when its last sample was taken, where it says so, in milliseconds since 1970.
///
/// # Errors
/// [`HistoryError::File`] when the directory cannot be listed.
pub(super) fn deletable(path: &Path) -> Result<Vec<(PathBuf, Option<u64>)>, HistoryError> {
    let files = names(path)?.into_iter().map(|name| path.join(name.text));
    let ours = files.filter_map(|file| match head(&file) {
        Some(Err(NoHeader::Newer(_))) => None,
        Some(Ok(header)) => Some((file, Some(header.until_unix_ms))),
        _ => Some((file, None)),
    });
    Ok(ours.collect())
}

/// The samples as one block.
fn sealed(samples: &[Sample]) -> io::Result<Vec<u8>> {
    let Some(first) = samples.first() else {
        return Err(io::Error::other("there is nothing to keep"));
    };
    let (mut encoder, mut plain) = (Encoder::default(), Vec::new());
    for sample in samples {
        encoder.put(&mut plain, sample);
    }
    if plain.len() > LARGEST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let times = || samples.iter().map(|sample| sample.at_unix_ms);
    block::seal(&Contents {
        plain: &plain,
        count: u32::try_from(samples.len()).unwrap_or(u32::MAX),
        first: 0,
        from_unix_ms: times().min().unwrap_or_default(),
        until_unix_ms: times().max().unwrap_or_default(),
        boot: &first.boot,
    })
}

#[cfg(test)]
#[path = "dump_tests.rs"]
mod tests;
