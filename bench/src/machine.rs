//! On what the numbers were measured.
//!
//! Never identifies the machine: its name is not read.

use serde::Serialize;

/// The machine and the day.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) kernel: String,
    pub(crate) date: String,
}

/// This machine, now.
pub(crate) fn describe() -> Machine {
    let kernel = rustix::system::uname();
    let memory: Option<procfs::Meminfo> = procfs::Current::current().ok();
    Machine {
        cpu: cpu_model().unwrap_or_else(|| "unknown".to_owned()),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory_bytes: memory.map(|memory| memory.mem_total),
        kernel: kernel.release().to_string_lossy().into_owned(),
        date: jiff::Zoned::now().date().to_string(),
    }
}

fn cpu_model() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
