//! History for other programs: one JSON document or CSV, written while it is
//! read.
//!
//! Never holds more than a block of samples: a day of history can be larger
//! than the memory of the machine that it is about.

use std::cell::RefCell;
use std::io::{self, Write};
use std::ops::ControlFlow;

use grey_model::{Sample, SystemField};
use grey_telemetry::history::{Dump, History, HistoryError};
use serde::ser::{Error as _, SerializeSeq as _, SerializeStruct as _};
use serde::{Serialize, Serializer};

use super::document::{Lost, Newer, PublishedDump, PublishedSample, SCHEMA, Span};

/// The samples of a time as [`super::document::HistoryDocument`], which is read
/// while it is serialized, once.
pub(super) struct Streamed<'all> {
    history: RefCell<&'all mut History>,
    dumps: &'all [Dump],
    from_unix_ms: u64,
    until_unix_ms: u64,
    failure: RefCell<Option<HistoryError>>,
}

impl<'all> Streamed<'all> {
    pub(super) fn new(
        history: &'all mut History,
        dumps: &'all [Dump],
        from_unix_ms: u64,
        until_unix_ms: u64,
    ) -> Self {
        Self {
            history: RefCell::new(history),
            dumps,
            from_unix_ms,
            until_unix_ms,
            failure: RefCell::new(None),
        }
    }

    /// Why history could not be read, when that has ended the document.
    pub(super) fn into_failure(self) -> Option<HistoryError> {
        self.failure.into_inner()
    }
}

impl Serialize for Streamed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut document = serializer.serialize_struct("HistoryDocument", 6)?;
        document.serialize_field("schema", SCHEMA)?;
        let span = self.history.borrow().span().map(Span::from);
        document.serialize_field("span", &span)?;
        document.serialize_field("samples", &Samples(self))?;
        let dumps: Vec<PublishedDump> = self.dumps.iter().map(Into::into).collect();
        document.serialize_field("dumps", &dumps)?;
        // What is lost shows as it is read.
        let lost: Vec<Lost> = self
            .history
            .borrow()
            .losses()
            .iter()
            .map(Lost::from)
            .collect();
        document.serialize_field("lost", &lost)?;
        let history = self.history.borrow();
        let newer: Vec<Newer> = history.newer().iter().map(Newer::from).collect();
        document.serialize_field("newer", &newer)?;
        document.end()
    }
}

struct Samples<'one, 'all>(&'one Streamed<'all>);

impl Serialize for Samples<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut samples = serializer.serialize_seq(None)?;
        let mut broken = None;
        let each = |sample: Sample| match samples.serialize_element(&PublishedSample::from(&sample))
        {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                broken = Some(error);
                ControlFlow::Break(())
            }
        };
        let (from, until) = (self.0.from_unix_ms, self.0.until_unix_ms);
        let read = self.0.history.borrow_mut().samples(from, until, each);
        if let Some(error) = broken {
            return Err(error);
        }
        if let Err(error) = read {
            let text = error.to_string();
            *self.0.failure.borrow_mut() = Some(error);
            return Err(S::Error::custom(text));
        }
        samples.end()
    }
}

/// The machine's numbers, a line for each sample. What was not read is empty.
///
/// # Errors
/// `Ok(Err(_))` when history cannot be read, `Err(_)` when `out` cannot be
/// written: it is not read any further then.
pub(super) fn csv(
    history: &mut History,
    from_unix_ms: u64,
    until_unix_ms: u64,
    out: &mut dyn Write,
) -> io::Result<Result<(), HistoryError>> {
    out.write_all(b"at_unix_ms,since_boot_ms,boot_id")?;
    for field in SystemField::ALL {
        write!(out, ",{}", field.key())?;
    }
    out.write_all(b"\n")?;
    let mut written = Ok(());
    let each = |sample: Sample| {
        written = csv_line(&sample, out);
        match written {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    };
    let read = history.samples(from_unix_ms, until_unix_ms, each);
    written.map(|()| read)
}

/// One sample's line.
pub(super) fn csv_line(sample: &Sample, out: &mut dyn Write) -> io::Result<()> {
    // An id is letters, digits and dashes.
    let (at, since, boot) = (sample.at_unix_ms, sample.since_boot_ms, &sample.boot);
    write!(out, "{at},{since},{boot}")?;
    for value in sample.system.iter() {
        match value {
            Some(value) => write!(out, ",{value}")?,
            None => out.write_all(b",")?,
        }
    }
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use grey_model::{BootId, SystemValues};
    use grey_telemetry::history::{HistoryOptions, HistoryWriter};

    use super::*;
    use crate::history::document::HistoryDocument;

    const COUNT: u64 = 50;

    /// Five blocks of history.
    fn write(folder: &Path) {
        let options = HistoryOptions {
            samples_per_block: 10,
            ..HistoryOptions::default()
        };
        let mut writer = HistoryWriter::open(folder, options).unwrap();
        for number in 0..COUNT {
            let sample = Sample {
                at_unix_ms: 1_700_000_000_000 + number * 1000,
                since_boot_ms: number * 1000,
                boot: BootId("one".to_owned()),
                system: SystemValues::default().with(SystemField::Free, Some(number)),
                processes: Vec::new(),
                cgroups: None,
                groups: None,
            };
            writer.append(&sample).unwrap();
        }
        writer.seal().unwrap();
    }

    /// Damages the last block.
    fn damage(folder: &Path) {
        let shard = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.extension().is_some_and(|end| end == "shard"))
            .unwrap();
        let mut bytes = std::fs::read(&shard).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&shard, bytes).unwrap();
        std::fs::remove_file(folder.join("tail")).unwrap();
    }

    /// A reader that goes away after so many bytes.
    struct GoesAway(usize);

    impl Write for GoesAway {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_streamed_document_is_the_whole_one() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path());
        damage(folder.path());
        let mut history = History::open(folder.path()).unwrap();
        let streamed = Streamed::new(&mut history, &[], 0, u64::MAX);
        let mut made = Vec::new();
        serde_json::to_writer(&mut made, &streamed).unwrap();
        assert!(streamed.into_failure().is_none());
        let mut samples = Vec::new();
        let each = |sample: Sample| {
            samples.push(PublishedSample::from(&sample));
            ControlFlow::Continue(())
        };
        history.samples(0, u64::MAX, each).unwrap();
        let whole = HistoryDocument::new(&history, &[], samples);
        assert_eq!(whole.lost.len(), 1);
        assert_eq!(made, serde_json::to_vec(&whole).unwrap());
    }

    #[test]
    fn who_reads_no_further_makes_nobody_read_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path());
        damage(folder.path());
        let mut history = History::open(folder.path()).unwrap();
        let streamed = Streamed::new(&mut history, &[], 0, u64::MAX);
        let error = serde_json::to_writer(GoesAway(5000), &streamed).unwrap_err();
        assert_eq!(error.io_error_kind(), Some(io::ErrorKind::BrokenPipe));
        drop(streamed);
        // The damage in the last block was not seen, so it was not read.
        assert_eq!(history.losses(), []);
        let error = csv(&mut history, 0, u64::MAX, &mut GoesAway(900)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(history.losses(), []);
        csv(&mut history, 0, u64::MAX, &mut Vec::new())
            .unwrap()
            .unwrap();
        assert_eq!(history.losses().len(), 1);
    }
}
