//! Facts about saving and restoring what projects had.

use super::*;

fn state() -> SavedState {
    let project = SavedProject {
        loaded_files: vec!["file1.py".to_owned(), "file2.py".to_owned()],
        cached_queries: vec!["query1".to_owned(), "query2".to_owned()],
        last_accessed: 1_234_567_880.0,
    };
    let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_234_567_890);
    SavedState::new(
        at,
        BTreeMap::from([("/path/to/project".to_owned(), project)]),
    )
}

fn why(restored: Restored) -> (String, Option<PathBuf>) {
    match restored {
        Restored::SetAside { why, aside } => (why, aside),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_saved_comes_back_and_looks_as_documented() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache_state.json");
    assert!(matches!(SavedState::restore(&path), Restored::Nothing));
    state().save(&path).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(json["version"], "1.0");
    assert_eq!(json["timestamp"], 1_234_567_890.0);
    assert_eq!(
        json["projects"]["/path/to/project"]["loaded_files"][1],
        "file2.py"
    );
    let Restored::State(found) = SavedState::restore(&path) else {
        panic!()
    };
    assert_eq!(found.projects, state().projects);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_state_of_any_time_is_not_taken_for_a_damaged_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache_state.json");
    let project = |number: u32| SavedProject {
        last_accessed: 1_795_274_500.0 + f64::from(number) * 0.012_345_678_9,
        ..SavedProject::default()
    };
    let projects: BTreeMap<_, _> = (0..10_000)
        .map(|number| (number.to_string(), project(number)))
        .collect();
    let saved = SavedState::new(SystemTime::now(), projects);
    saved.save(&path).unwrap();
    let Restored::State(found) = SavedState::restore(&path) else {
        panic!("a whole file was set aside");
    };
    assert_eq!(found.projects, saved.projects);
}

#[test]
fn a_flipped_bit_anywhere_is_found_or_harmless() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache_state.json");
    state().save(&path).unwrap();
    let good = fs::read(&path).unwrap();
    for place in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[place / 8] ^= 1 << (place % 8);
        fs::write(&path, &bad).unwrap();
        if let Restored::State(found) = SavedState::restore(&path) {
            assert_eq!(found.projects, state().projects, "bit {place}");
        }
        for entry in fs::read_dir(directory.path()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }
}

#[test]
fn what_cannot_be_read_is_set_aside_and_not_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache_state.json");
    for (number, text) in ["{", r#"{"version":"9.0","timestamp":1,"projects":{}}"#]
        .iter()
        .enumerate()
    {
        fs::write(&path, text).unwrap();
        let (told, aside) = why(SavedState::restore(&path));
        assert_eq!(fs::read_to_string(aside.unwrap()).unwrap(), *text);
        assert_eq!(told.contains("9.0"), number == 1, "{told}");
        assert!(!path.exists());
    }
}

#[test]
fn of_what_was_set_aside_the_last_hundred_are_kept_and_a_save_replaces_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache_state.json");
    let foreign = directory.path().join("cache_state.corrupt-notes");
    fs::write(&foreign, "ours").unwrap();
    let aside = |number: usize| {
        directory
            .path()
            .join(format!("cache_state.corrupt-{number}"))
    };
    for number in 0..MOST_SET_ASIDE + 3 {
        fs::write(&path, format!("{{{number}")).unwrap();
        let (_, found) = why(SavedState::restore(&path));
        assert_eq!(found, Some(aside(number)));
        state().save(&path).unwrap();
        let text = fs::read_to_string(aside(number)).unwrap();
        assert_eq!(text, format!("{{{number}"));
    }
    for number in 0..MOST_SET_ASIDE + 3 {
        assert_eq!(aside(number).exists(), number >= 3, "{number}");
    }
    assert!(foreign.exists());
}

#[test]
fn a_file_that_may_not_be_read_is_set_aside_before_a_save_replaces_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache_state.json");
    fs::write(&path, "of somebody else").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o0)).unwrap();
    if fs::read(&path).is_ok() {
        eprintln!("not shown: root reads every file");
        return;
    }
    let (_, aside) = why(SavedState::restore(&path));
    state().save(&path).unwrap();
    let aside = aside.unwrap();
    fs::set_permissions(&aside, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(fs::read_to_string(&aside).unwrap(), "of somebody else");
}

#[test]
fn a_state_is_for_its_owner_alone_and_stays_as_strict_as_it_was() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache_state.json");
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
    state().save(&path).unwrap();
    assert_eq!(mode(), 0o600);
    for (before, after) in [(0o644, 0o600), (0o600, 0o600), (0o400, 0o400)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(before)).unwrap();
        state().save(&path).unwrap();
        assert_eq!(mode(), after, "{before:o}");
    }
}

#[test]
fn a_directory_or_a_link_in_its_place_fails_no_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache_state.json");
    fs::create_dir(&path).unwrap();
    assert_eq!(why(SavedState::restore(&path)).0, "it is not a file");
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    assert_eq!(why(SavedState::restore(&path)).0, "it is not a file");
}

#[test]
fn a_disk_that_is_not_there_leaves_the_old_state() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("gone").join("cache_state.json");
    let error = state().save(&missing).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("failed to write the cache state to")
    );
}

#[test]
fn whoever_saves_at_once_leaves_one_whole_state_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache_state.json");
    let save = |number: u32| {
        for round in 0..15 {
            let mut state = state();
            // Of different lengths: the end of a longer one would be seen.
            let files = (0..number * 50 + round).map(|file| file.to_string());
            state
                .projects
                .get_mut("/path/to/project")
                .unwrap()
                .loaded_files = files.collect();
            state.save(&path).unwrap();
            assert!(matches!(SavedState::restore(&path), Restored::State(_)));
        }
    };
    std::thread::scope(|scope| {
        for number in 0..8 {
            scope.spawn(move || save(number));
        }
    });
    let left: Vec<_> = fs::read_dir(directory.path()).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn what_a_killed_run_left_is_removed_and_what_is_being_written_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let beside = |name: &str| directory.path().join(name);
    let path = beside("cache_state.json");
    let left = beside("cache_state.json.new-0123456789abcdef");
    let written = beside("cache_state.json.new-fedcba9876543210");
    let others = [
        beside("cache_state.json.new-notes"),
        beside("other.json.new-0123456789abcdef"),
        written.clone(),
    ];
    for file in others.iter().chain([&left]) {
        fs::write(file, "{").unwrap();
    }
    let writer = fs::File::open(&written).unwrap();
    writer.try_lock().unwrap();
    state().save(&path).unwrap();
    assert!(!left.exists());
    for other in &others {
        assert!(other.exists(), "{}", other.display());
    }
    drop(writer);
    state().save(&path).unwrap();
    assert!(!written.exists());
}

#[test]
fn a_time_that_is_no_number_is_saved_as_0_and_costs_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache_state.json");
    for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut saved = state();
        saved.timestamp = odd;
        let project = SavedProject {
            last_accessed: odd,
            ..SavedProject::default()
        };
        saved.projects.insert("odd".to_owned(), project);
        saved.save(&path).unwrap();
        let Restored::State(found) = SavedState::restore(&path) else {
            panic!("a state with {odd} was set aside");
        };
        let times = (found.timestamp, found.projects["odd"].last_accessed);
        assert_eq!(times, (0.0, 0.0));
        let whole = "/path/to/project";
        assert_eq!(found.projects[whole], state().projects[whole]);
    }
}

#[test]
fn what_could_not_be_read_again_is_not_saved() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cache_state.json");
    state().save(&path).unwrap();
    let size = fs::metadata(&path).unwrap().len();
    let mut other = state();
    "9.0".clone_into(&mut other.version);
    other.save_up_to(size, &path).unwrap();
    assert!(matches!(SavedState::restore(&path), Restored::State(_)));
    let refused = other.save_up_to(size - 1, &path);
    assert!(matches!(refused, Err(SaveStateError::TooLarge { size: told, .. }) if told == size));
    assert!(matches!(SavedState::restore(&path), Restored::State(_)));
}
