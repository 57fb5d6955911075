//! The files of KSM.
//!
//! Never writes 2 to `run` unless forced: unmerging needs memory that may not be
//! there. Stopping keeps the pages that are merged.

use std::os::fd::AsFd;
use std::path::Path;

use grey_model::{Knob, KnobValue, KsmFile};
use grey_telemetry::{Kernel, KernelDirectory, ascii};

use super::held::first_line;
use super::{KnobError, Restored, clipped};
use crate::kernel_file::write_kernel_file;

pub(super) fn read(kernel: &Kernel, file: KsmFile) -> Result<Option<KnobValue>, KnobError> {
    let what = format!("ksm/{}", file.file_name());
    let directory = directory(kernel)?;
    let mut buffer = Vec::new();
    let text = directory
        .read(file.file_name(), &mut buffer)
        .map_err(|source| {
            if source.is_vanished() {
                KnobError::Missing { what: what.clone() }
            } else {
                KnobError::Read {
                    what: what.clone(),
                    source,
                }
            }
        })?;
    if file == KsmFile::AdvisorMode {
        return chosen_word(text)
            .map(Some)
            .ok_or_else(|| KnobError::Malformed {
                what,
                found: clipped(text),
            });
    }
    first_line(&what, text).map(Some)
}

pub(super) fn set(kernel: &Kernel, file: KsmFile, value: &KnobValue) -> Result<(), KnobError> {
    if file == KsmFile::Run && value.0 == "2" {
        return Err(KnobError::BadValue {
            knob: Knob::Ksm { file },
            value: value.0.clone(),
        });
    }
    write(kernel, file, value)
}

/// # Undo
/// The value that was there before. `run` that was 0 becomes 0, which keeps
/// the merged pages. If it was 2, all was unmerged when we came, and unmerging
/// what was merged since needs memory: it becomes 0, as stopped, unless forced.
pub(super) fn restore(
    kernel: &Kernel,
    file: KsmFile,
    before: &KnobValue,
    force: bool,
) -> Result<Restored, KnobError> {
    if file == KsmFile::Run && before.0 == "2" && !force {
        write(kernel, file, &KnobValue("0".to_owned()))?;
        return Ok(Restored {
            note: Some(
                "it was 2, which unmerges and needs memory: it was stopped with 0 instead; to \
                 unmerge, write 2 to /sys/kernel/mm/ksm/run"
                    .to_owned(),
            ),
        });
    }
    write(kernel, file, before).map(|()| Restored::exactly())
}

fn write(kernel: &Kernel, file: KsmFile, value: &KnobValue) -> Result<(), KnobError> {
    let directory = directory(kernel)?;
    write_kernel_file(
        directory.as_fd(),
        Path::new(file.file_name()),
        value.0.as_bytes(),
    )
    .map_err(|source| KnobError::Write {
        path: directory.path().join(file.file_name()),
        value: value.0.clone(),
        source,
    })
}

fn directory(kernel: &Kernel) -> Result<KernelDirectory, KnobError> {
    let missing = || KnobError::Missing {
        what: "ksm".to_owned(),
    };
    let sys = kernel.sys.as_ref().ok_or_else(missing)?;
    sys.open_directory(Path::new("kernel/mm/ksm"))
        .map_err(|_| missing())
}

/// `[none] scan-time`: the word in brackets. A test tree may hold the word alone.
fn chosen_word(text: &[u8]) -> Option<KnobValue> {
    let line = ascii::lines(text).next()?;
    let bracketed = ascii::words(line).find_map(|word| word.strip_prefix(b"[")?.strip_suffix(b"]"));
    let mut words = ascii::words(line);
    let only = words.next().filter(|_| words.next().is_none());
    let word = bracketed.or(only)?;
    std::str::from_utf8(word)
        .ok()
        .map(|word| KnobValue(word.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advisor_is_the_word_in_brackets() {
        let word = |text: &str| chosen_word(text.as_bytes()).map(|value| value.0);
        assert_eq!(word("[none] scan-time\n"), Some("none".to_owned()));
        assert_eq!(word("none [scan-time]\n"), Some("scan-time".to_owned()));
        assert_eq!(word("none\n[scan-time]\n"), Some("none".to_owned()));
        assert_eq!(word("none scan-time\n"), None);
        assert_eq!(word(""), None);
    }
}
