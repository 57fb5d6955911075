//! What the files of a configuration are now, without reading them: enough to
//! see that one was written, replaced, added or removed.
//!
//! Never says what changed.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::loader::ConfigLoader;

/// Device, inode, size and times of each file, behind links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fingerprint(Vec<(PathBuf, Option<[i64; 7]>)>);

impl Fingerprint {
    pub(super) fn of(loader: &ConfigLoader) -> Self {
        let projects = loader.project_files().unwrap_or_default();
        let global = loader.file().map(ToOwned::to_owned);
        let files = global.into_iter().chain(projects.into_values());
        Self(
            files
                .map(|path| {
                    let facts = facts(&path);
                    (path, facts)
                })
                .collect(),
        )
    }
}

fn facts(path: &Path) -> Option<[i64; 7]> {
    let file = std::fs::metadata(path).ok()?;
    Some([
        file.dev().cast_signed(),
        file.ino().cast_signed(),
        file.size().cast_signed(),
        file.mtime(),
        file.mtime_nsec(),
        file.ctime(),
        file.ctime_nsec(),
    ])
}
