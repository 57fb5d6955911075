//! Where things are: the repository, its cache folder, what cargo builds.
//!
//! Never makes anything but folders in the cache.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository that this program was built in.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The repository that cargo started us in.
    pub(crate) fn find() -> Self {
        let here = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let root = here
            .as_deref()
            .and_then(Path::parent)
            .unwrap_or_else(|| Path::new("."));
        Self {
            root: root.to_owned(),
        }
    }

    /// Its root folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A folder in the cache, which git ignores; made when it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn cache(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.root.join(".cache").join(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Where cargo puts the programs it builds without `--release`.
    pub(crate) fn built(&self) -> PathBuf {
        self.target().join("debug")
    }

    /// Where cargo puts the programs it builds with `--release`.
    pub(crate) fn built_for_release(&self) -> PathBuf {
        self.target().join("release")
    }

    /// Where the models of the concurrent core are built.
    pub(crate) fn built_for_loom(&self) -> PathBuf {
        self.target().join("loom")
    }

    /// Where the benchmarks of the budget library and their peers are built.
    pub(crate) fn built_for_peers(&self) -> PathBuf {
        self.target().join("bench-budget")
    }

    fn target(&self) -> PathBuf {
        std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| self.root.join("target"), |path| self.root.join(path))
    }

    /// A cargo command in the root folder.
    pub(crate) fn cargo<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(arguments).current_dir(&self.root);
        // They belong to this program; others would be built anew for them.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&name);
            }
        }
        command
    }
}
