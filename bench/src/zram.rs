//! A zram device of our own as the machine's swap, while a benchmark runs.
//!
//! Never touches a device that it has not made, and never begins where there
//! is swap already: what is measured would go there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::BenchError;
use crate::say;

const CONTROL: &str = "/sys/class/zram-control";

/// The device; taken away again when it is dropped.
pub(crate) struct ZramSwap {
    number: String,
    in_use: bool,
}

impl ZramSwap {
    /// Makes a device of `mib` MiB and swaps to it.
    pub(crate) fn start(mib: u64) -> Result<Self, BenchError> {
        let swaps = fs::read_to_string("/proc/swaps").map_err(failed("read /proc/swaps"))?;
        if swaps.lines().count() > 1 {
            return Err(BenchError::SwapThere);
        }
        if !Path::new(CONTROL).exists() {
            run("modprobe", &["zram"])?;
        }
        let number = fs::read_to_string(format!("{CONTROL}/hot_add"))
            .map_err(failed("make a zram device"))?
            .trim()
            .to_owned();
        let mut device = Self {
            number,
            in_use: false,
        };
        let size = format!("/sys/block/zram{}/disksize", device.number);
        fs::write(size, format!("{mib}M")).map_err(failed("set the size of a zram device"))?;
        let path = device.path();
        let text = path.to_string_lossy();
        if !path.exists() {
            // No udev here: the node is made by hand.
            let numbers = fs::read_to_string(format!("/sys/block/zram{}/dev", device.number))
                .map_err(failed("read the numbers of a zram device"))?;
            let (major, minor) = numbers.trim().split_once(':').unwrap_or_default();
            run("mknod", &[&text, "b", major, minor])?;
        }
        run("mkswap", &[&text])?;
        run("swapon", &["--priority", "32767", &text])?;
        device.in_use = true;
        Ok(device)
    }

    fn path(&self) -> PathBuf {
        format!("/dev/zram{}", self.number).into()
    }

    /// The compressor, as the kernel names it.
    pub(crate) fn compressor(&self) -> String {
        let text = fs::read_to_string(format!("/sys/block/zram{}/comp_algorithm", self.number));
        let text = text.unwrap_or_default();
        let chosen = text
            .split_once('[')
            .and_then(|(_, rest)| rest.split_once(']'));
        chosen.map_or_else(|| "unknown".to_owned(), |(name, _)| name.to_owned())
    }
}

impl Drop for ZramSwap {
    fn drop(&mut self) {
        let path = self.path();
        let ended = !self.in_use || run("swapoff", &[&path.to_string_lossy()]).is_ok();
        let reset = format!("/sys/block/zram{}/reset", self.number);
        let removed = ended
            && fs::write(reset, "1").is_ok()
            && fs::write(format!("{CONTROL}/hot_remove"), &self.number).is_ok();
        if !removed {
            say(&format!(
                "warning: {} could not be taken away",
                path.display()
            ));
        } else if path.exists() {
            // The node that was made by hand.
            let _ = fs::remove_file(&path);
        }
    }
}

fn failed(doing: &'static str) -> impl Fn(std::io::Error) -> BenchError {
    move |source| BenchError::Prepare { doing, source }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), BenchError> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| BenchError::Start {
            program: program.to_owned(),
            source,
        })?;
    if output.status.success() {
        return Ok(());
    }
    Err(BenchError::Peer {
        peer: program.to_owned(),
        request: arguments.join(" "),
        answer: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}
