//! Loading: every key, every variable, every way to be wrong.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use grey_model::{Bytes, Level, MemoryLimit, Priority};
use proptest::prelude::*;

use super::*;
use crate::limits::{LimitKind, Machine};

const MACHINE_MB: u64 = 64 * 1024;

struct Files(tempfile::TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let files_of = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            files_of.write(name, text);
        }
        files_of
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn loader(&self) -> ConfigLoader {
        ConfigLoader::from_file(self.path("config.yaml"))
            .environment([("HOME", "/home/user")])
            .machine(Machine::new(Some(Bytes::from_mib(MACHINE_MB))))
    }
}

fn load(text: &str) -> Result<Config, ConfigError> {
    Files::new(&[("config.yaml", text)]).loader().load()
}

fn load_with(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    ConfigLoader::without_file()
        .environment(variables.iter().copied())
        .machine(Machine::new(Some(Bytes::from_mib(MACHINE_MB))))
        .load()
}

/// The message and all that it carries, without the directory.
fn told(error: &ConfigError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    let place = text.find("/config.yaml").and_then(|end| {
        let start = text[..end].rfind([' ', '(', '`'])? + 1;
        Some((start, end + 1))
    });
    match place {
        Some((start, end)) => format!("{}{}", &text[..start], &text[end..]),
        None => text,
    }
}

fn refused(text: &str) -> String {
    told(&load(text).expect_err(text))
}

mod keys;
mod layers;
mod refusals;
mod variables;
