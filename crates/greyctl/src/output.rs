//! Where a run writes: data to stdout, talk to stderr, colours where a person
//! reads them.
//!
//! A reader that went away (a closed pipe) is no error: the run ends quietly.

use std::io::{self, BufWriter, IsTerminal as _, Write};

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use clap::ColorChoice;
use grey_model::KernelText;
use serde::Serialize;

use crate::environment;
use crate::exit_code::Exit;
use crate::failure::Failure;

/// Bold red: what is wrong.
pub(crate) const ERROR: Style = AnsiColor::Red.on_default().bold();
/// Bold yellow: what to know.
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default().bold();
/// Bold cyan: what to do next.
pub(crate) const HINT: Style = AnsiColor::Cyan.on_default().bold();

/// A terminal on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terminal {
    /// Whether it is to show colours.
    pub(crate) color: bool,
}

/// Both streams of a run.
pub(crate) struct Output {
    color: anstream::ColorChoice,
    width: Option<usize>,
    printed_json: bool,
}

impl Output {
    /// Writes to this process's stdout and stderr.
    pub(crate) fn new(color: ColorChoice) -> Self {
        let color = match color {
            ColorChoice::Auto => anstream::ColorChoice::Auto,
            ColorChoice::Always => anstream::ColorChoice::Always,
            ColorChoice::Never => anstream::ColorChoice::Never,
        };
        Self {
            color,
            width: environment::columns(|name| std::env::var_os(name))
                .or_else(terminal_width)
                .map(usable),
            printed_json: false,
        }
    }

    /// The width to lay tables out for; `None` when nobody limits it.
    pub(crate) const fn width(&self) -> Option<usize> {
        self.width
    }

    /// Whether somebody sees a progress bar on stderr.
    pub(crate) fn shows_progress(&self) -> bool {
        io::stderr().is_terminal()
    }

    /// Writes bytes to stdout as they are.
    ///
    /// # Errors
    /// A [`Failure`] when stdout cannot be written.
    pub(crate) fn data(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(bytes)
            .and_then(|()| stdout.flush())
            .or_else(|error| closed_pipe_is_fine(&error))
    }

    /// Lets `write` write to stdout as it goes.
    ///
    /// # Errors
    /// A [`Failure`] when stdout cannot be written.
    pub(crate) fn stream(
        &mut self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let mut stdout = BufWriter::new(io::stdout().lock());
        write(&mut stdout)
            .and_then(|()| stdout.flush())
            .or_else(|error| closed_pipe_is_fine(&error))
    }

    /// Writes styled text to stdout; the styles go where no terminal is.
    ///
    /// # Errors
    /// A [`Failure`] when stdout cannot be written.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Failure> {
        let mut stdout = AutoStream::new(io::stdout().lock(), self.color);
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
            .or_else(|error| closed_pipe_is_fine(&error))
    }

    /// The same; whether anybody still reads.
    ///
    /// # Errors
    /// A [`Failure`] when stdout cannot be written for another reason than that
    /// its reader went away.
    pub(crate) fn text_while_read(&mut self, text: &str) -> Result<bool, Failure> {
        let mut stdout = AutoStream::new(io::stdout().lock(), self.color);
        let written = stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush());
        match written {
            Ok(()) => Ok(true),
            Err(error) => closed_pipe_is_fine(&error).map(|()| false),
        }
    }

    /// Whether a person sees stdout, and in colours.
    pub(crate) fn terminal(&self) -> Option<Terminal> {
        let stdout = io::stdout();
        let color = match self.color {
            anstream::ColorChoice::Auto => AutoStream::choice(&stdout),
            given => given,
        };
        stdout.is_terminal().then_some(Terminal {
            color: color != anstream::ColorChoice::Never,
        })
    }

    /// Writes one JSON document to stdout, indented, ending in a newline.
    ///
    /// # Errors
    /// A [`Failure`] when stdout cannot be written.
    pub(crate) fn json(&mut self, document: &impl Serialize) -> Result<(), Failure> {
        self.printed_json = true;
        let mut stdout = BufWriter::new(io::stdout().lock());
        serde_json::to_writer_pretty(&mut stdout, document)
            .map_err(io::Error::from)
            .and_then(|()| stdout.write_all(b"\n"))
            .and_then(|()| stdout.flush())
            .or_else(|error| closed_pipe_is_fine(&error))
    }

    /// Whether a document was printed, or printing one was tried.
    pub(crate) const fn has_printed_json(&self) -> bool {
        self.printed_json
    }

    /// Writes a line of talk to stderr, made safe for a terminal: names and
    /// paths of others may be in it.
    pub(crate) fn talk(&mut self, line: &str) {
        self.labelled("", line);
    }

    /// A failure to talk is not reported: there is nowhere left to report it.
    fn labelled(&mut self, label: &str, line: &str) {
        let mut stderr = AutoStream::new(io::stderr().lock(), self.color);
        let _ = writeln!(stderr, "{label}{}", KernelText::from(line));
    }

    /// Writes `warning: …` to stderr.
    pub(crate) fn warn(&mut self, text: &str) {
        self.labelled(&format!("{WARNING}warning:{WARNING:#} "), text);
    }

    /// Writes `hint: …` to stderr.
    pub(crate) fn hint(&mut self, text: &str) {
        self.labelled(&format!("{HINT}hint:{HINT:#} "), text);
    }

    /// Writes the error and its hints to stderr.
    pub(crate) fn failure(&mut self, failure: &Failure) {
        self.labelled(&format!("{ERROR}error:{ERROR:#} "), &failure.message);
        for line in &failure.details {
            self.talk(line);
        }
        for hint in &failure.hints {
            self.hint(hint);
        }
        for other in &failure.others {
            self.failure(other);
        }
    }
}

fn closed_pipe_is_fine(error: &io::Error) -> Result<(), Failure> {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Ok(());
    }
    let failure = Failure::new(
        Exit::Failed,
        format!("failed to write to the standard output: {error}"),
    );
    Err(failure)
}

/// Nothing can be laid out in less than this many columns: who says so is taken
/// for one who does not know.
const NARROWEST: usize = 20;

const fn usable(width: usize) -> usize {
    if width < NARROWEST { 80 } else { width }
}

fn terminal_width() -> Option<usize> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&stdout).ok()?;
    // A terminal that does not know its size says 0.
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}
