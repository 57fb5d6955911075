//! What an earlier recorder left in the tail: its samples become blocks, and a
//! tail that is damaged is set aside.
//!
//! Never deletes a tail that could not be read whole before more than
//! [`MOST_SET_ASIDE`] of them lie there, and never touches one of a newer
//! version.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use grey_model::Sample;

use super::block::{self, Contents};
use super::codec::Encoder;
use super::directory::TAIL;
use super::error::HistoryError;
use super::files::read_tail_file;
use super::reader::History;
use super::writer::HistoryWriter;

/// The most damaged tails that are kept; then the first set aside go. What
/// could be read of them is in blocks.
const MOST_SET_ASIDE: usize = 8;

/// What the names of damaged tails begin with; a number follows.
const SET_ASIDE: &str = "tail-damaged-";

/// Puts what an earlier recorder left in the tail into blocks.
///
/// # Errors
/// [`HistoryError`] when the tail cannot be read, is of a newer version, or
/// what is good in it cannot be kept.
pub(super) fn recover(writer: &mut HistoryWriter, history: &History) -> Result<(), HistoryError> {
    let path = writer.path(TAIL);
    let left = match read_tail_file(&path) {
        Ok(left) => left,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(HistoryError::file("read", &path)(error)),
    };
    if let Some((_, version)) = left.newer {
        return Err(HistoryError::Newer { path, version });
    }
    let end = history.end();
    let new = left.samples.iter().filter(|(number, _)| *number >= end);
    let new: Vec<&(u64, Sample)> = new.collect();
    // A block's samples are of one boot and follow each other.
    let follows = |one: &&(u64, Sample), next: &&(u64, Sample)| {
        next.0 == one.0 + 1 && next.1.boot == one.1.boot
    };
    for run in new.chunk_by(follows) {
        writer.add_recovered(run)?;
    }
    if !left.damage.is_empty() {
        let lost = left.damage.iter().flat_map(|damage| &damage.numbers);
        writer.skip_to(lost.map(|numbers| numbers.end).max().unwrap_or_default());
        writer.set_aside(set_aside(&path)?)?;
    }
    Ok(())
}

/// Some samples that follow each other as one block.
///
/// # Errors
/// The packer's.
pub(super) fn block_of(run: &[&(u64, Sample)]) -> io::Result<Vec<u8>> {
    let Some((first, sample)) = run.first() else {
        return Err(io::Error::other("there is nothing to keep"));
    };
    let (mut encoder, mut plain) = (Encoder::default(), Vec::new());
    for (_, sample) in run {
        encoder.put_on(&mut plain, sample);
    }
    let times = || run.iter().map(|(_, sample)| sample.at_unix_ms);
    block::seal(&Contents {
        plain: &plain,
        count: u32::try_from(run.len()).unwrap_or(u32::MAX),
        first: *first,
        from_unix_ms: times().min().unwrap_or_default(),
        until_unix_ms: times().max().unwrap_or_default(),
        boot: &sample.boot,
    })
}

/// The numbers of the damaged tails in `directory`, the first set aside first.
///
/// # Errors
/// [`HistoryError::File`] when it cannot be listed.
pub(super) fn damaged_tails(directory: &Path) -> Result<Vec<u64>, HistoryError> {
    let failed = || HistoryError::file("list", directory);
    let mut there = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed())? {
        let name = entry.map_err(failed())?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(SET_ASIDE));
        let number = number.and_then(|number| number.parse::<u64>().ok());
        // One way to write it: another file is not ours.
        there.extend(number.filter(|number| name == *tail_name(*number)));
    }
    there.sort_unstable();
    Ok(there)
}

/// The name of the damaged tail `number`.
pub(super) fn tail_name(number: u64) -> String {
    format!("{SET_ASIDE}{number:06}")
}

/// Gives the damaged tail at `path` a name of its own, which is returned.
fn set_aside(path: &Path) -> Result<PathBuf, HistoryError> {
    let directory = path.parent().unwrap_or(path);
    let there = damaged_tails(directory)?;
    let name = |number: u64| directory.join(tail_name(number));
    let number = there.last().map_or(1, |last| last.saturating_add(1));
    let aside = name(number);
    fs::rename(path, &aside).map_err(HistoryError::file("set aside", path))?;
    let too_many = (there.len() + 1).saturating_sub(MOST_SET_ASIDE);
    for &number in &there[..too_many.min(there.len())] {
        let old = name(number);
        match fs::remove_file(&old) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(HistoryError::file("remove", &old)(error)),
        }
    }
    Ok(aside)
}
