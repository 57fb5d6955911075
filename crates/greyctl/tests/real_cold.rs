//! A real program that uses one half of its memory and never the other.
//!
//! Touches only the process that it started. This program is its own helper:
//! started with the word `half`, it plays that part instead of testing.
#![expect(
    clippy::unwrap_used,
    reason = "what fails here fails the test, which is what it is for"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

const MIB: usize = 1 << 20;

/// Of this the helper uses the first half, each second.
const HELD: usize = 256 * MIB;

/// So often it does: several times in the window that is looked for.
const STEP: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if matches!(words.as_slice(), [_, part] if part == "half") {
        use_one_half();
        return ExitCode::SUCCESS;
    }
    let name = "a_program_that_never_uses_one_half_is_about_half_cold";
    let test = Trial::test(name, || half_is_cold().map_err(Failed::from));
    libtest_mimic::run(&Arguments::from_args(), vec![test]).exit_code()
}

/// Until stdin is closed.
fn use_one_half() {
    // A huge page is used as a whole, and a CPU may keep its address for long.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let mut held = vec![1_u8; HELD];
    let mut out = std::io::stdout();
    out.write_all(b"ready\n")
        .and_then(|()| out.flush())
        .unwrap();
    let ended = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let ends = std::sync::Arc::clone(&ended);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        ends.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    while !ended.load(std::sync::atomic::Ordering::Relaxed) {
        for page in held[..HELD / 2].chunks_mut(4096) {
            page[0] = std::hint::black_box(page[0]).wrapping_add(1);
        }
        std::thread::sleep(STEP);
    }
    std::hint::black_box(held);
}

fn half_is_cold() -> Result<(), String> {
    let mut helper = Command::new(std::env::current_exe().unwrap())
        .arg("half")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let stdout = helper.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let pid = helper.id().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_greyctl"))
        .args([
            "memory-diagnose",
            "--cold",
            "--for",
            "4s",
            "--json",
            "--target",
            &pid,
        ])
        .output()
        .unwrap();
    drop(helper.stdin.take());
    let _ = helper.wait();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let document: Value =
        serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {told}"))?;
    let cold = &document["cold"][0];
    if cold["method"] != "cleared-references" {
        return Err(format!("another method: {cold:#}"));
    }
    let bytes = cold["windows"][0]["cold_bytes"]
        .as_u64()
        .unwrap_or_default();
    let half = (HELD / 2) as u64;
    let near = half / 10;
    if bytes.abs_diff(half) > near {
        return Err(format!(
            "{bytes} of {HELD} bytes are told as cold: {cold:#}"
        ));
    }
    Ok(())
}
