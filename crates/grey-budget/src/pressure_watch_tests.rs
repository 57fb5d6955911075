//! Facts about the protocol, with a FIFO, a socket, and the kernel's own file.

use std::io::Write as _;
use std::os::unix::net::UnixListener;

use rustix::fs::{CWD, Mode, mkfifoat};

use super::*;

const LONG: Duration = Duration::from_secs(20);

fn fifo() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pressure");
    mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
    (directory, path)
}

#[test]
fn nothing_or_dev_null_asks_for_nothing() {
    for watch in [None, Some(""), Some("/dev/null")] {
        let watch = PressureWatch::from_values(watch.map(OsStr::new), None);
        assert!(watch.unwrap().is_none());
    }
}

#[test]
fn a_relative_path_is_refused() {
    let error = PressureWatch::from_values(Some(OsStr::new("pressure")), None).unwrap_err();
    assert!(matches!(error, PressureWatchError::NotAbsolute { .. }));
}

#[test]
fn what_is_no_file_no_fifo_and_no_socket_is_refused() {
    let error = PressureWatch::from_values(Some(OsStr::new("/dev/zero")), None).unwrap_err();
    assert!(matches!(error, PressureWatchError::WrongKind { .. }));
    let error = PressureWatch::from_values(Some(OsStr::new("/nonexistent")), None).unwrap_err();
    assert!(matches!(error, PressureWatchError::Open { .. }));
}

#[test]
fn a_write_into_the_fifo_is_pressure_once() {
    let (_directory, path) = fifo();
    let mut watch = PressureWatch::open(&path, b"").unwrap();
    assert_eq!(watch.wait(Duration::ZERO).unwrap(), Waited::TimedOut);
    let mut manager = OpenOptions::new().write(true).open(&path).unwrap();
    manager.write_all(b"x").unwrap();
    assert_eq!(watch.wait(LONG).unwrap(), Waited::Pressure);
    assert_eq!(watch.wait(Duration::ZERO).unwrap(), Waited::TimedOut);
    // A manager that goes away is no event, and another may come.
    drop(manager);
    assert_eq!(watch.wait(Duration::ZERO).unwrap(), Waited::TimedOut);
    let mut manager = OpenOptions::new().write(true).open(&path).unwrap();
    manager.write_all(&[b'x'; 2000]).unwrap();
    assert_eq!(watch.wait(LONG).unwrap(), Waited::Pressure);
    assert_eq!(watch.wait(Duration::ZERO).unwrap(), Waited::TimedOut);
}

#[test]
fn the_trigger_does_not_come_back_to_us_through_a_fifo() {
    let (_directory, path) = fifo();
    let mut watch = PressureWatch::open(&path, b"some 200000 2000000").unwrap();
    assert_eq!(watch.wait(Duration::ZERO).unwrap(), Waited::TimedOut);
}

#[test]
fn a_socket_is_given_the_trigger_and_tells_of_pressure_until_it_closes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    // "some 200000 2000000" in Base64, as the service manager writes it.
    let mut watch = PressureWatch::from_values(
        Some(path.as_os_str()),
        Some(OsStr::new("c29tZSAyMDAwMDAgMjAwMDAwMA==")),
    )
    .unwrap()
    .unwrap();
    let (mut manager, _) = listener.accept().unwrap();
    let mut trigger = [0; 19];
    manager.read_exact(&mut trigger).unwrap();
    assert_eq!(&trigger, b"some 200000 2000000");
    assert_eq!(watch.wait(Duration::ZERO).unwrap(), Waited::TimedOut);
    manager.write_all(b"now").unwrap();
    assert_eq!(watch.wait(LONG).unwrap(), Waited::Pressure);
    drop(manager);
    assert!(matches!(
        watch.wait(LONG),
        Err(PressureWatchError::Gone { .. })
    ));
}

/// The kernel takes a trigger from an unprivileged process too, when the
/// window is a multiple of 2 s (since 6.4); a kernel without pressure files, or
/// an older one for others than root, has nothing to show.
#[test]
fn the_kernels_own_file_takes_a_trigger() {
    let path = Path::new("/proc/pressure/memory");
    if !path.exists() {
        eprintln!("not shown: no `{}` here", path.display());
        return;
    }
    match PressureWatch::open(path, b"some 200000 2000000\0") {
        Ok(mut watch) => {
            assert_eq!(watch.interest(), PollFlags::PRI);
            // Whether there is pressure now is not ours to say.
            watch.wait(Duration::ZERO).unwrap();
            let refused = PressureWatch::open(path, b"nonsense").unwrap_err();
            assert!(matches!(refused, PressureWatchError::Write { .. }));
        }
        Err(error) => {
            let source = std::error::Error::source(&error).unwrap().to_string();
            assert!(
                source.contains("ermission") || source.contains("upported"),
                "{source}"
            );
            eprintln!("not shown: {error}: {source}");
        }
    }
}

#[test]
fn a_pressure_file_that_answers_with_an_error_is_the_end_and_no_pressure() {
    let (ended, priority) = (PollFlags::ERR, PollFlags::PRI);
    let always = PollFlags::IN | PollFlags::OUT | PollFlags::RDNORM | PollFlags::WRNORM;
    for (seen, expected) in [
        (priority, Told::Pressure),
        (always | priority, Told::Pressure),
        (always | priority | ended, Told::End),
        (ended, Told::End),
        (PollFlags::NVAL, Told::End),
        (always, Told::Nothing),
        (PollFlags::empty(), Told::Nothing),
    ] {
        assert_eq!(told(PollFlags::PRI, seen), expected, "{seen:?}");
    }
    for (seen, expected) in [
        (PollFlags::IN, Told::Pressure),
        (PollFlags::IN | PollFlags::HUP, Told::Pressure),
        (PollFlags::HUP, Told::End),
        (ended, Told::End),
        (PollFlags::empty(), Told::Nothing),
    ] {
        assert_eq!(told(PollFlags::IN, seen), expected, "{seen:?}");
    }
}

#[test]
fn a_file_without_a_trigger_is_refused_and_told_what_is_missing() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for write in [None, Some(OsStr::new(""))] {
        let error = PressureWatch::from_values(Some(file.path().as_os_str()), write).unwrap_err();
        assert!(
            matches!(error, PressureWatchError::NoTrigger { .. }),
            "{error}"
        );
        assert!(error.to_string().contains("trigger is missing"));
        assert!(error.hint().unwrap().contains(WRITE_VARIABLE));
    }
}

/// Without a trigger the kernel answers as it does once a group is removed.
#[test]
fn the_kernels_own_file_that_cannot_tell_is_gone_for_whoever_waits() {
    let path = Path::new("/proc/pressure/memory");
    let Ok(file) = File::open(path) else {
        eprintln!("not shown: `{}` cannot be opened here", path.display());
        return;
    };
    let mut watch = PressureWatch {
        channel: Channel::Pressure(file),
        path: path.to_owned(),
    };
    let (other, _kept) = UnixStream::pair().unwrap();
    for outcome in [
        watch.wait(LONG).map(|_| ()),
        watch.wait_unless(&other).map(|_| ()),
        watch.acknowledge(),
    ] {
        assert!(
            matches!(outcome, Err(PressureWatchError::Gone { .. })),
            "{outcome:?}"
        );
    }
}

#[test]
fn base64_is_read_as_it_is_written() {
    for (text, bytes) in [
        ("", &b""[..]),
        ("Zg==", b"f"),
        ("Zm8=", b"fo"),
        ("Zm9v", b"foo"),
        ("Zm9v\nYmFy", b"foobar"),
        ("/+8=", b"\xff\xef"),
    ] {
        assert_eq!(
            decode_base64(text.as_bytes()).as_deref(),
            Some(bytes),
            "{text}"
        );
    }
    for text in ["Z", "Zg", "Zg=", "Zg===", "Z===", "Z!==", "=Zg=", "Zh=="] {
        assert_eq!(decode_base64(text.as_bytes()), None, "{text}");
    }
    let error = PressureWatch::from_values(
        Some(OsStr::new("/proc/pressure/memory")),
        Some(OsStr::new("?")),
    );
    assert!(matches!(error, Err(PressureWatchError::NotBase64)));
}
