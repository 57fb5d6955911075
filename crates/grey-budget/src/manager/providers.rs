//! Asks all parts of the program at once what their projects have.
//!
//! Never lets one that panics or hangs cost more than its own part.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use crate::saved_state::SavedProject;

type Projects = BTreeMap<String, SavedProject>;

/// Tells what projects have, when the state is saved.
#[derive(Clone)]
pub(super) struct Provider {
    provide: Arc<dyn Fn() -> Projects + Send + Sync>,
    /// Where it was registered.
    place: &'static Location<'static>,
}

/// What all told.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) projects: Projects,
    /// Who did not, and why.
    pub(super) failures: Vec<String>,
}

impl Provider {
    #[track_caller]
    pub(super) fn new(provide: impl Fn() -> Projects + Send + Sync + 'static) -> Self {
        Self {
            provide: Arc::new(provide),
            place: Location::caller(),
        }
    }

    /// Begins to ask, on another thread.
    fn begin(&self) -> std::io::Result<Receiver<thread::Result<Projects>>> {
        let (answer, answered) = mpsc::sync_channel(1);
        let provide = Arc::clone(&self.provide);
        thread::Builder::new()
            .name("grey-state".to_owned())
            .spawn(move || {
                let told = catch_unwind(AssertUnwindSafe(|| provide()));
                // Nobody listens any more when it was late.
                let _ = answer.send(told);
            })?;
        Ok(answered)
    }
}

/// Asks all. A quarter of the time until then is left for writing.
pub(super) fn ask(providers: &[Provider], until: Instant) -> Told {
    let time = until.saturating_duration_since(Instant::now());
    let last = until.checked_sub(time / 4).unwrap_or(until);
    // All have begun before the first is waited for.
    let begun: Vec<_> = providers.iter().map(Provider::begin).collect();
    let mut told = Told::default();
    for (provider, begun) in providers.iter().zip(begun) {
        let why = match begun {
            Err(error) => format!("could not be asked: {error}"),
            Ok(answered) => {
                let left = last.saturating_duration_since(Instant::now());
                match answered.recv_timeout(left) {
                    Ok(Ok(projects)) => {
                        add(&mut told.projects, projects);
                        continue;
                    }
                    Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => "panicked".to_owned(),
                    Err(RecvTimeoutError::Timeout) => "has not answered".to_owned(),
                }
            }
        };
        let place = provider.place;
        told.failures
            .push(format!("the state provider of {place} {why}"));
    }
    told
}

fn add(all: &mut Projects, projects: Projects) {
    for (name, project) in projects {
        match all.get_mut(&name) {
            Some(known) => known.merge(project),
            None => {
                all.insert(name, project);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn project(files: &[&str], last_accessed: f64) -> SavedProject {
        SavedProject {
            loaded_files: files.iter().map(|&file| file.to_owned()).collect(),
            cached_queries: vec!["query".to_owned()],
            last_accessed,
        }
    }

    fn of(name: &'static str, project: SavedProject) -> Provider {
        Provider::new(move || BTreeMap::from([(name.to_owned(), project.clone())]))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn what_two_say_of_one_project_is_put_together() {
        let providers = [
            of("a", project(&["1", "2"], 5.0)),
            of("a", project(&["2", "3"], f64::NAN)),
            of("b", project(&[], 1.0)),
        ];
        let told = ask(&providers, soon());
        assert_eq!(told.projects["a"], project(&["1", "2", "3"], 5.0));
        assert_eq!(told.projects.len(), 2);
        assert_eq!(told.failures, Vec::<String>::new());
    }

    #[test]
    fn one_that_panics_costs_its_own_part_and_is_named() {
        let line = line!() + 1;
        let panics = Provider::new(|| panic!("it cannot tell"));
        let told = ask(&[panics, of("b", project(&["1"], 1.0))], soon());
        assert_eq!(told.projects["b"], project(&["1"], 1.0));
        let place = format!("{}:{line}:", file!());
        assert_eq!(told.failures.len(), 1);
        assert!(told.failures[0].contains(&place), "{:?}", told.failures);
        assert!(told.failures[0].ends_with("panicked"));
    }

    #[test]
    fn one_that_hangs_costs_its_own_part_and_is_told() {
        let (open, gate) = mpsc::channel::<()>();
        let gate = std::sync::Mutex::new(gate);
        let hangs = Provider::new(move || {
            let _ended = gate.lock().unwrap().recv();
            BTreeMap::new()
        });
        let (asked, was_asked) = mpsc::sync_channel(1);
        let other = Provider::new(move || {
            asked.send(()).unwrap();
            BTreeMap::from([("b".to_owned(), project(&["1"], 1.0))])
        });
        // All are asked before the first is waited for.
        let until = Instant::now() + Duration::from_secs(4);
        let told = ask(&[hangs, other], until);
        assert!(was_asked.try_recv().is_ok());
        assert_eq!(told.projects.len(), 1);
        assert!(told.failures[0].ends_with("has not answered"));
        drop(open);
    }
}
