//! Reloads when a file of the configuration changes.
//!
//! Directories are watched and not files: editors write a new file and rename
//! it, and mounted ConfigMaps swap a symbolic link; both leave a watch on the
//! old file behind. What wakes us is compared by what the files are now
//! (device, inode, size, times), so that other files beside them cost a few
//! `stat` and no reload. Never reads a file itself.
//!
//! Changes that the kernel does not tell are not seen: on network file systems
//! by other machines, and below a directory that was itself removed and made
//! again. SIGHUP and the call serve there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::handle::ConfigHandle;
use super::signal_watch::join;

/// A change is acted on when nothing has happened for so long: a file is often
/// written in several pieces.
const SETTLE: Duration = Duration::from_millis(50);

/// But at the latest so long after the first.
const SETTLE_AT_MOST: Duration = Duration::from_secs(2);

/// The files could not be watched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchFileError {
    /// There is nothing to watch.
    #[error("failed to watch the configuration: it comes from no file")]
    NoFile,
    /// The kernel's watches are used up, or the directory is gone.
    #[error("failed to watch the directory `{}`", path.display())]
    Watch {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: notify::Error,
    },
    /// No thread.
    #[error("failed to start the thread that watches the configuration")]
    Thread {
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Reloads at each change of a file until it is dropped.
#[derive(Debug)]
#[must_use = "the files are no longer watched when this is dropped"]
pub struct FileWatch {
    stop: Arc<AtomicBool>,
    wake: SyncSender<()>,
    thread: Option<JoinHandle<()>>,
}

impl ConfigHandle {
    /// Reloads whenever a file of the configuration changes: the global one,
    /// or one of a project, written in place, renamed over, or behind a
    /// symbolic link.
    ///
    /// # Errors
    /// [`WatchFileError`], when the kernel has no watches left.
    pub fn reload_on_change(&self) -> Result<FileWatch, WatchFileError> {
        if self.file().is_none() {
            return Err(WatchFileError::NoFile);
        }
        let (wake, woken) = sync_channel(1);
        let mut watched = Watched::new(wake.clone()).map_err(|source| WatchFileError::Watch {
            path: self.file().unwrap_or_default(),
            source,
        })?;
        watched.follow(self)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let config = self.clone();
        // What changed between the loading and the watching is seen at once.
        wake_up(&wake);
        let thread = std::thread::Builder::new()
            .name("grey-config-file".to_owned())
            .spawn(move || run(&config, &mut watched, &woken, &stopped))
            .map_err(|source| WatchFileError::Thread { source })?;
        Ok(FileWatch {
            stop,
            wake,
            thread: Some(thread),
        })
    }
}

impl Drop for FileWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        wake_up(&self.wake);
        if let Some(thread) = self.thread.take() {
            join(thread);
        }
    }
}

/// A full channel means that it is woken already.
fn wake_up(wake: &SyncSender<()>) {
    match wake.try_send(()) {
        Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
    }
}

fn run(config: &ConfigHandle, watched: &mut Watched, woken: &Receiver<()>, stop: &AtomicBool) {
    while woken.recv().is_ok() && !stop.load(Ordering::Acquire) {
        settle(woken, stop);
        if stop.load(Ordering::Acquire) {
            return;
        }
        if let Err(error) = watched.follow(config) {
            tracing::warn!("{error}");
        }
        if config.files_changed() {
            config.reload();
        }
    }
}

/// Waits until nothing has happened for a while.
fn settle(woken: &Receiver<()>, stop: &AtomicBool) {
    let deadline = Instant::now() + SETTLE_AT_MOST;
    while Instant::now() < deadline && !stop.load(Ordering::Acquire) {
        match woken.recv_timeout(SETTLE) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// The directories that are watched now.
struct Watched {
    watcher: RecommendedWatcher,
    directories: BTreeSet<PathBuf>,
}

impl Watched {
    fn new(wake: SyncSender<()>) -> notify::Result<Self> {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own reading is no change. An error may hide one.
            if event.is_ok_and(|event| is_only_read(event.kind)) {
                return;
            }
            wake_up(&wake);
        })?;
        Ok(Self {
            watcher,
            directories: BTreeSet::new(),
        })
    }

    /// Watches what the files' paths lead through now. Links may lead
    /// elsewhere than before, and the projects' directory may be new. The first
    /// that cannot be watched is told, after all others are.
    fn follow(&mut self, config: &ConfigHandle) -> Result<(), WatchFileError> {
        let wanted = directories(config);
        let mut failed = None;
        for gone in self.directories.difference(&wanted) {
            // A directory that was removed is not watched any more anyway.
            drop(self.watcher.unwatch(gone));
        }
        self.directories
            .retain(|directory| wanted.contains(directory));
        for directory in wanted {
            if self.directories.contains(&directory) {
                continue;
            }
            let watched = self.watcher.watch(&directory, RecursiveMode::NonRecursive);
            match watched {
                Ok(()) => {
                    self.directories.insert(directory);
                }
                Err(source) => {
                    failed.get_or_insert(WatchFileError::Watch {
                        path: directory,
                        source,
                    });
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

fn is_only_read(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => true,
        _ => false,
    }
}

/// The directories in which a change may matter: where the global file is, and
/// the projects', and where links lead.
fn directories(config: &ConfigHandle) -> BTreeSet<PathBuf> {
    let loader = config.loader();
    let mut directories = BTreeSet::new();
    let files = loader.project_files().unwrap_or_default();
    for path in loader
        .file()
        .into_iter()
        .chain(files.values().map(PathBuf::as_path))
    {
        let resolved = std::fs::canonicalize(path).ok();
        let parents = [path.parent(), resolved.as_deref().and_then(Path::parent)];
        directories.extend(parents.into_iter().flatten().map(Path::to_owned));
    }
    directories.extend(
        loader
            .projects()
            .filter(|directory| directory.is_dir())
            .map(Path::to_owned),
    );
    directories
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, ModifyKind};

    use super::*;

    #[test]
    fn our_own_reading_wakes_nobody() {
        for read in [
            AccessKind::Any,
            AccessKind::Open(AccessMode::Any),
            AccessKind::Close(AccessMode::Read),
        ] {
            assert!(is_only_read(EventKind::Access(read)), "{read:?}");
        }
        for change in [
            EventKind::Access(AccessKind::Close(AccessMode::Write)),
            EventKind::Create(CreateKind::File),
            EventKind::Modify(ModifyKind::Any),
            EventKind::Any,
        ] {
            assert!(!is_only_read(change), "{change:?}");
        }
    }
}
