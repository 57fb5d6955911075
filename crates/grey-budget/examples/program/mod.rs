//! What the examples share: their options, a limit on themselves, what they say
//! at the end.
//!
//! Never anything of the library: that is what the examples show.

#![allow(dead_code, reason = "each example uses its part")]
#![expect(clippy::print_stdout, reason = "an example says what it did")]

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use grey_budget::limits::set_memory_limit;
use grey_budget::{Bytes, MemorySource as _, ProcessSource};

/// Whatever goes wrong in an example ends it.
pub(crate) type Anything = Box<dyn std::error::Error + Send + Sync>;

/// Says what went wrong and why, for people.
pub(crate) fn told(outcome: Result<ExitCode, Anything>) -> ExitCode {
    let error = match outcome {
        Ok(code) => return code,
        Err(error) => error,
    };
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    let text = causes.fold(error.to_string(), |told, cause| format!("{told}: {cause}"));
    // Without standard error nobody can be told.
    let _ = writeln!(std::io::stderr(), "error: {text}");
    ExitCode::FAILURE
}

/// What may be said on the command line.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The budget.
    pub(crate) budget: Bytes,
    /// A limit that the process sets on itself, if any.
    pub(crate) limit: Option<Bytes>,
    /// How much is done.
    pub(crate) items: u64,
    /// Where values are spilled and state is saved.
    pub(crate) directory: PathBuf,
    /// The same program without the library.
    pub(crate) unprotected: bool,
    /// Which of several instances this is.
    pub(crate) instance: Option<String>,
}

impl Options {
    /// Reads the command line; `items` is what is done if nobody says.
    pub(crate) fn read(items: u64) -> Result<Self, Anything> {
        let mut options = Self {
            budget: Bytes::from_mib(96),
            limit: None,
            items,
            directory: std::env::temp_dir().join("grey-budget-example"),
            unprotected: false,
            instance: None,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--budget" => options.budget = value()?.parse()?,
                "--limit" => options.limit = Some(value()?.parse()?),
                "--items" => options.items = value()?.parse()?,
                "--directory" => options.directory = value()?.into(),
                "--instance" => options.instance = Some(value()?),
                "--unprotected" => options.unprotected = true,
                other => {
                    return Err(format!(
                        "unknown option `{other}`; there are --budget SIZE, --limit SIZE, \
                         --items N, --directory PATH, --unprotected"
                    )
                    .into());
                }
            }
        }
        if let Some(limit) = options.limit {
            set_memory_limit(limit, true)?;
        }
        Ok(options)
    }
}

/// Numbers that look random and are the same every time.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    /// The next one.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// One below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

/// `length` bytes of words, always the same for a `seed`: about as dense as
/// source code.
pub(crate) fn text(seed: u64, length: usize) -> Vec<u8> {
    const WORDS: [&str; 16] = [
        "fn ", "let ", "memory", " = ", "reserve", "(", ");\n", "budget.", "match ", "limit",
        " {\n", "}\n", "evict", "self.", "pages", "// why\n",
    ];
    let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut text = Vec::with_capacity(length + 16);
    while text.len() < length {
        let word = WORDS[usize::try_from(numbers.below(16)).unwrap_or(0)];
        text.extend_from_slice(word.as_bytes());
        if numbers.below(4) == 0 {
            text.extend_from_slice(numbers.below(10_000).to_string().as_bytes());
        }
    }
    text.truncate(length);
    text
}

/// Prints one line of JSON: what was done, and the peak of the resident set.
pub(crate) fn report(name: &str, done: &[(&str, u64)]) -> Result<(), Anything> {
    let reading = ProcessSource::new()?.read()?;
    let mut fields = vec![format!("\"example\": \"{name}\"")];
    if let Some(peak) = reading.rss_peak {
        fields.push(format!("\"peak_rss_bytes\": {}", peak.get()));
    }
    fields.extend(
        done.iter()
            .map(|(key, value)| format!("\"{key}\": {value}")),
    );
    println!("{{{}}}", fields.join(", "));
    Ok(())
}
