//! Kills by the programs that watch over memory (systemd-oomd, earlyoom,
//! nohang), done by the real ones, and what `why --killed` makes of them.
//!
//! Each runs for its case alone, and prefers the case's own hog.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::case::{Case, Failure, GuestName, Outcome};
use crate::guest::Guest;
use crate::hog::HogOptions;
use crate::systemd::{BOUND, Unit, systemctl};

const SYSTEMD: &[GuestName] = &[GuestName::Systemd];

/// systemd-oomd looks for half a minute before it acts, in an emulated guest
/// for longer.
const LONG: Duration = Duration::from_secs(300);

/// And is told of before the case's own time is up, so that the journal says what
/// it did where it did not.
const TOLD: Duration = Duration::from_secs(200);

const OOMD_SETTINGS: &str = "/run/systemd/oomd.conf.d";

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a_kill_by_systemd_oomd_is_explained_with_its_pressure",
        guests: SYSTEMD,
        deadline: LONG,
        run: a_kill_by_systemd_oomd_is_explained_with_its_pressure,
    },
    Case {
        name: "a_kill_by_earlyoom_is_explained",
        guests: SYSTEMD,
        deadline: LONG,
        run: a_kill_by_earlyoom_is_explained,
    },
    Case {
        name: "a_kill_by_nohang_is_explained",
        guests: SYSTEMD,
        deadline: LONG,
        run: a_kill_by_nohang_is_explained,
    },
];

/// A service that holds memory and touches all of it again and again. It ends
/// only with its standard input, which never does.
fn hog_service(mebibytes: u64, settings: &str) -> Result<String, Failure> {
    let program = std::env::current_exe()?;
    let hog = HogOptions::anonymous(mebibytes)
        .touching()
        .arguments()
        .join(" ");
    Ok(format!(
        "[Service]\nType=exec\n{settings}ExecStart=sh -c 'sleep infinity | exec {} {hog}'\n",
        program.display()
    ))
}

/// The one kill that `document` tells of which `is_it` knows, once it is told.
fn told(
    guest: &Guest,
    arguments: &[&str],
    is_it: &dyn Fn(&Value) -> bool,
) -> Result<Value, Failure> {
    let arguments = [&["why", "--killed", "--json"][..], arguments].concat();
    let mut last = Value::Null;
    let mut found = None;
    let waited = guest.wait_until("the kill is told", TOLD, || {
        last = guest
            .greyctl(&arguments)
            .and_then(|run| run.json())
            .unwrap_or_default();
        found = last["kills"]
            .as_array()
            .and_then(|kills| kills.iter().find(|kill| is_it(kill)).cloned());
        found.is_some()
    });
    if waited.is_err() {
        guest.say(&format!("{last:#}"));
        guest.say(&guest.run("journalctl", &["--boot", "-n", "60"])?.stdout);
    }
    waited?;
    Ok(found.unwrap_or_default())
}

/// Settings of systemd-oomd that are gone with this.
struct OomdSettings<'guest> {
    guest: &'guest Guest,
    file: PathBuf,
}

impl<'guest> OomdSettings<'guest> {
    fn new(guest: &'guest Guest, text: &str) -> Result<Self, Failure> {
        fs::create_dir_all(OOMD_SETTINGS)?;
        let settings = Self {
            guest,
            file: Path::new(OOMD_SETTINGS).join("grey-case.conf"),
        };
        fs::write(&settings.file, text)?;
        systemctl(guest, &["restart", "systemd-oomd.service"])?;
        Ok(settings)
    }
}

impl Drop for OomdSettings<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
        let _ = systemctl(self.guest, &["restart", "systemd-oomd.service"]);
    }
}

fn a_kill_by_systemd_oomd_is_explained_with_its_pressure(
    guest: &Guest,
) -> Result<Outcome, Failure> {
    let _swap = guest.zram_swap(256)?;
    let _settings = OomdSettings::new(guest, "[OOM]\nDefaultMemoryPressureDurationSec=2s\n")?;
    let text = hog_service(
        96,
        "MemoryHigh=40M\nManagedOOMMemoryPressure=kill\nManagedOOMMemoryPressureLimit=5%\n",
    )?;
    let unit = Unit::start(guest, "grey-case-oomd.service", &text)?;
    let kill = told(guest, &["--name", unit.name()], &|kill| {
        kill["killer"] == "systemd-oomd"
    })?;
    assert_eq!(
        kill["cgroup"], "/system.slice/grey-case-oomd.service",
        "{kill:#}"
    );
    assert_eq!(kill["unit"], unit.name(), "{kill:#}");
    assert_eq!(kill["signal"], 9, "{kill:#}");
    let explanation = kill["explanation"].to_string();
    assert!(
        explanation.contains("more than 5.0 % for over 2s"),
        "{kill:#}"
    );
    Ok(Outcome::Passed)
}

/// What is available for so long is steady: the kernel adds its counters up each
/// second.
const STEADY: Duration = Duration::from_secs(3);

/// Within this much, in KiB: less than a hundredth of a guest.
const APART_KIB: u64 = 4096;

/// How much is available once that stays, in KiB: memory of what ran before is
/// given back for a while after its end, and a hog fills up.
fn steady_available_kib(guest: &Guest) -> Result<u64, Failure> {
    let mut known = (guest.meminfo_kib("MemAvailable")?, Instant::now());
    guest.wait_until("what is available stays", BOUND, || {
        let Ok(now) = guest.meminfo_kib("MemAvailable") else {
            return false;
        };
        if now.abs_diff(known.0) > APART_KIB {
            known = (now, Instant::now());
        }
        known.1.elapsed() >= STEADY
    })?;
    Ok(known.0)
}

/// A hog as a service that has `mebibytes`, and what is available then, in KiB.
fn running_hog<'guest>(
    guest: &'guest Guest,
    name: &str,
    mebibytes: u64,
) -> Result<(Unit<'guest>, u64), Failure> {
    let before = steady_available_kib(guest)?;
    let unit = Unit::start(guest, name, &hog_service(mebibytes, "")?)?;
    guest.wait_until("the hog has what it wants", BOUND, || {
        guest
            .meminfo_kib("MemAvailable")
            .is_ok_and(|now| now + (mebibytes << 10) * 9 / 10 < before)
    })?;
    let available = steady_available_kib(guest)?;
    guest.say(&format!(
        "available: {before} KiB, with the hog {available} KiB"
    ));
    Ok((unit, available))
}

fn a_kill_by_earlyoom_is_explained(guest: &Guest) -> Result<Outcome, Failure> {
    let (hog, available) = running_hog(guest, "grey-case-early.service", 256)?;
    // Its percent are of what programs can have, not of the whole machine.
    let most = available + guest.meminfo_kib("AnonPages")?;
    // Between what is available now and what will be without the hog.
    let least = available * 100 / most + 10;
    let killer = Unit::start(
        guest,
        "grey-case-earlyoom.service",
        &format!(
            "[Service]\nType=exec\nExecStart=/usr/bin/earlyoom -m {least},1 -s 100,1 -r 0 \
             --prefer ^kernel-cases$\n"
        ),
    )?;
    let kill = told(guest, &[], &|kill| kill["program"] == "earlyoom")?;
    drop((killer, hog));
    assert_eq!(kill["killer"], "signal", "{kill:#}");
    assert_eq!(kill["signal"], 15, "{kill:#}");
    assert_eq!(kill["name"], "kernel-cases", "{kill:#}");
    assert!(
        kill["rss_bytes"]
            .as_u64()
            .is_some_and(|rss| rss > 200 << 20),
        "{kill:#}"
    );
    // Its process is not called as its unit, and nothing else ties them.
    assert_eq!(kill["unit"], Value::Null, "{kill:#}");
    Ok(Outcome::Passed)
}

/// Settings of nohang as its package brings them, with other thresholds.
fn nohang_settings(guest: &Guest, least: u64) -> Result<PathBuf, Failure> {
    let text: String = guest
        .read("/etc/nohang/nohang.conf")?
        .lines()
        .map(|line| match line.split_once('=') {
            Some((key @ ("soft_threshold_min_mem " | "soft_threshold_min_mem"), _)) => {
                format!("{key}= {least} %\n")
            }
            Some((key @ ("warning_threshold_min_mem " | "warning_threshold_min_mem"), _)) => {
                format!("{key}= {least} %\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    let path = guest.scratch().join("nohang.conf");
    fs::write(&path, text)?;
    Ok(path)
}

fn a_kill_by_nohang_is_explained(guest: &Guest) -> Result<Outcome, Failure> {
    let (hog, available) = running_hog(guest, "grey-case-hog.service", 400)?;
    let available = available * 100 / guest.meminfo_kib("MemTotal")?;
    // It takes no more than half of the memory as its threshold.
    let least = (available + 10).min(50);
    if least <= available {
        return Err(Failure::new(format!(
            "{available} % of the memory is still available: nohang would wait"
        )));
    }
    let settings = nohang_settings(guest, least)?;
    let killer = Unit::start(
        guest,
        "grey-case-nohang.service",
        &format!(
            "[Service]\nType=exec\nSyslogIdentifier=nohang\nExecStart=/usr/sbin/nohang \
             --monitor --config {}\n",
            settings.display()
        ),
    )?;
    let kill = told(guest, &[], &|kill| kill["program"] == "nohang")?;
    // It tells the cgroup of whom it kills.
    assert_eq!(kill["unit"], hog.name(), "{kill:#}");
    drop((killer, hog));
    assert_eq!(kill["killer"], "signal", "{kill:#}");
    assert_eq!(kill["signal"], 15, "{kill:#}");
    assert_eq!(kill["name"], "kernel-cases", "{kill:#}");
    Ok(Outcome::Passed)
}
