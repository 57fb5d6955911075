//! Logs in which no kill is found: because there is none, because there is
//! nothing, or because they are no logs.

use super::*;

#[test]
fn a_log_without_kills_says_what_was_searched() {
    let kernel = host();
    kernel.write("quiet.log", "[    1.000000] all is well\n");
    let path = kernel.path("quiet.log");
    let arguments = ["why", "--killed", "--log", path.to_str().unwrap()];
    let ran = run(on(&kernel), &arguments);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    assert!(
        ran.stdout.starts_with("No kill is told of in "),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("quiet.log: 1 line"), "{}", ran.stdout);
    kernel.write("empty.log", "");
    let path = kernel.path("empty.log");
    let arguments = ["why", "--killed", "--log", path.to_str().unwrap()];
    let ran = run(on(&kernel), &arguments);
    assert!(ran.stdout.contains("which is empty"), "{}", ran.stdout);
}

#[test]
fn a_log_that_is_no_text_is_no_log_without_kills() {
    let kernel = host();
    let packed = [
        (&b"\x1f\x8b\x08\x00rest"[..], "gzip", "zcat"),
        (b"\xfd7zXZ\0rest", "xz", "xzcat"),
        (b"\x28\xb5\x2f\xfdrest", "zstd", "zstdcat"),
        (b"BZh9rest", "bzip2", "bzcat"),
        (b"LPKSHHRHrest", "journal", "journalctl -o json --file"),
    ];
    for (bytes, what, command) in packed {
        let log = kernel.path("kern.log.2");
        std::fs::write(&log, bytes).unwrap();
        let ran = run(
            on(&kernel),
            &["why", "--killed", "--log", log.to_str().unwrap()],
        );
        assert_eq!((ran.exit, &*ran.stdout), (2, ""), "{what}");
        assert!(ran.stderr.contains(what), "{}", ran.stderr);
        assert!(
            ran.stderr.contains(&format!("`{command}`")),
            "{}",
            ran.stderr
        );
    }
    // A log may be shorter than the longest of these beginnings.
    let log = kernel.path("short.log");
    std::fs::write(&log, "<6>[1] a").unwrap();
    let ran = run(
        on(&kernel),
        &["why", "--killed", "--log", log.to_str().unwrap()],
    );
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
}

#[test]
fn a_log_of_this_machine_is_searched_until_now_and_a_saved_one_to_its_last_line() {
    let until = |document: &Value, place: usize| -> jiff::Timestamp {
        let until = &document["searched"][place]["until"];
        until.as_str().unwrap().parse().unwrap()
    };
    let kernel = host();
    let journal = entry_after(0, "all is well", "\"SYSLOG_IDENTIFIER\":\"cron\"");
    let began = jiff::Timestamp::now();
    let command = with_logs(&kernel, KILLED, Some(&journal));
    let own = why(&kernel, command, &["--json"]).json();
    // JSON has microseconds.
    let began = began.as_microsecond();
    for place in [0, 1] {
        let searched = &own["searched"][place];
        assert!(until(&own, place).as_microsecond() >= began, "{searched:#}");
    }
    kernel.write("journal.json", journal);
    let path = kernel.path("journal.json").to_str().unwrap().to_owned();
    let saved = explained(&path, &[]);
    assert_eq!(until(&saved, 0).as_second(), LOGGED);
}

#[test]
fn a_log_of_which_no_line_is_understood_is_no_log_without_kills() {
    let kernel = host();
    let search = |text: &str| {
        kernel.write("notes.txt", text);
        let path = kernel.path("notes.txt").to_str().unwrap().to_owned();
        run(on(&kernel), &["why", "--killed", "--log", &path])
    };
    let ran = search("milk\n\nbread\n");
    assert_eq!((ran.exit, &*ran.stdout), (2, ""));
    let told = "does not look like a log of the kernel or of systemd: of its 2 lines none";
    assert!(ran.stderr.contains(told), "{}", ran.stderr);
    for form in ["dmesg", "journalctl", "syslog", "/dev/kmsg"] {
        assert!(ran.stderr.contains(form), "{}", ran.stderr);
    }
    // One line that is understood is enough, and blanks are no lines.
    for text in ["milk\n[    1.000000] all is well\n", "\n \n"] {
        let ran = search(text);
        assert_eq!(ran.exit, 0, "{}", ran.stderr);
        assert!(ran.stdout.starts_with("No kill is told of in "));
        assert!(!ran.stdout.contains("understood"), "{}", ran.stdout);
    }
    assert!(search("\n \n").stdout.contains("which is empty"));
}

#[test]
fn a_log_of_which_most_lines_are_not_understood_is_no_clean_bill() {
    let kernel = host();
    let other = "\u{1}q\u{7f}x%\n".repeat(99);
    kernel.write("odd.log", format!("{other}[    1.000000] all is well\n"));
    let path = kernel.path("odd.log").to_str().unwrap().to_owned();
    let ran = run(on(&kernel), &["why", "--killed", "--log", &path]);
    assert_eq!(ran.exit, 0, "{}", ran.stderr);
    for told in [
        "No kill is told of in what was understood of",
        ": 1 of 100 lines.",
        "100 lines (99 in no known form)",
        "99 of its 100 lines are in no known form, so that it may be no log",
    ] {
        assert!(ran.stdout.contains(told), "{told}: {}", ran.stdout);
    }
    assert_eq!(explained(&path, &[])["searched"][0]["unknown_lines"], 99);
    // Where it is the less of it, it is told beside the log's name alone.
    let known = "[    1.000000] all is well\n".repeat(99);
    kernel.write("odd.log", format!("{other}{known}[    1.0] well\n"));
    let ran = run(on(&kernel), &["why", "--killed", "--log", &path]);
    assert!(ran.stdout.contains("199 lines (99 in no known form)"));
    assert!(!ran.stdout.contains("note: /"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("understood"), "{}", ran.stdout);
}

#[test]
fn a_moment_in_the_future_is_refused() {
    let kernel = host();
    kernel.write("quiet.log", "[    1.000000] all is well\n");
    let saved = kernel.path("quiet.log").to_str().unwrap().to_owned();
    for more in [&[][..], &["--log", &saved]] {
        let since = ["--since", "2099-01-01"];
        let command = with_logs(&kernel, KILLED, None);
        let ran = match more {
            [] => why(&kernel, command, &since),
            _ => run(command, &[&["why", "--killed"], more, &since[..]].concat()),
        };
        assert_eq!((ran.exit, &*ran.stdout), (2, ""), "{more:?}");
        let told = "no log can tell of kills since 2099-01-01 00:00:00: that is in the future";
        assert!(ran.stderr.contains(told), "{}", ran.stderr);
    }
    let now = why(
        &kernel,
        with_logs(&kernel, KILLED, None),
        &["--since", "now"],
    );
    assert_eq!(now.exit, 0, "{}", now.stderr);
}
