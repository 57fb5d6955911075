//! Swap on compressed memory that a case sets up and that goes with it.
//!
//! Works with `/dev/zram0` alone, and never on a device that is in use.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::case::Failure;
use crate::guest::{read_text, say, wait_until, write_text};
use crate::program::run;

/// Time for `swapoff` to read everything back.
const SWAPOFF_BOUND: Duration = Duration::from_secs(120);

/// Time for others to close the device.
const RESET_BOUND: Duration = Duration::from_secs(20);

const DEVICE: &str = "/dev/zram0";
const SETTINGS: &str = "/sys/block/zram0";

/// Swap on `/dev/zram0`. Dropping it turns the swap off and resets the device.
#[derive(Debug)]
pub struct ZramSwap {
    _private: (),
}

impl ZramSwap {
    pub(crate) fn create(mebibytes: u64) -> Result<Self, Failure> {
        if read_setting("disksize")? != "0" {
            return Err(Failure::new(format!("`{DEVICE}` is in use already")));
        }
        // From here on, dropping it resets the device.
        let swap = Self { _private: () };
        write_setting("comp_algorithm", "lz4")?;
        write_setting("disksize", &format!("{mebibytes}M"))?;
        command("mkswap", &[DEVICE])?;
        command("swapon", &[DEVICE])?;
        Ok(swap)
    }

    /// The device, as `/proc/swaps` names it.
    #[must_use]
    pub fn device(&self) -> &'static Path {
        Path::new(DEVICE)
    }

    /// A number of its `mm_stat`: 0 original bytes, 1 compressed, 2 used in all.
    ///
    /// # Errors
    /// When the file has no such column.
    pub fn mm_stat(&self, column: usize) -> Result<u64, Failure> {
        let text = read_setting("mm_stat")?;
        text.split_ascii_whitespace()
            .nth(column)
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| Failure::new(format!("mm_stat has no column {column}: `{text}`")))
    }
}

impl Drop for ZramSwap {
    fn drop(&mut self) {
        if let Err(failure) = take_away() {
            say(&format!("zram swap is left behind: {failure}"));
        }
    }
}

/// Is there swap on zram, or memory in the device?
#[must_use]
pub fn is_in_use() -> bool {
    read_setting("disksize").is_ok_and(|size| size != "0")
}

/// Turns the swap off and empties the device, whoever set it up.
///
/// # Errors
/// When memory does not suffice to read the swap back.
pub fn take_away() -> Result<(), Failure> {
    if read_text(Path::new("/proc/swaps"))?.contains(DEVICE) {
        command("swapoff", &[DEVICE])?;
    }
    // udev looks at a device whose use has changed, and keeps it open meanwhile.
    let mut last = Ok(());
    let _ = wait_until(RESET_BOUND, || {
        last = write_setting("reset", "1");
        last.is_ok()
    });
    last
}

fn read_setting(name: &str) -> Result<String, Failure> {
    read_text(&Path::new(SETTINGS).join(name))
}

fn write_setting(name: &str, value: &str) -> Result<(), Failure> {
    write_text(&Path::new(SETTINGS).join(name), value)
}

fn command(program: &str, arguments: &[&str]) -> Result<(), Failure> {
    let mut command = Command::new(program);
    command.args(arguments);
    run(command, SWAPOFF_BOUND)?.expect_code(0).map(|_| ())
}
