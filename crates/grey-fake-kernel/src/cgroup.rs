//! Cgroups of version 2 with their memory files.
//!
//! Never keeps sums consistent: each cgroup's files say what a test gave them.

use std::path::PathBuf;

use crate::kernel::FakeKernel;
use crate::machine::PRESSURE;

/// A container's id, 64 hexadecimal digits.
const CONTAINER: &str = "3f4e5d6c7b8a90123f4e5d6c7b8a90123f4e5d6c7b8a90123f4e5d6c7b8a9012";

/// One cgroup of version 2. Limits are written as the kernel prints them.
#[derive(Debug, Clone)]
pub struct FakeCgroup {
    /// Its path without the leading slash.
    pub path: String,
    /// `memory.current`, in bytes.
    pub current: u64,
    /// `memory.min`.
    pub min: String,
    /// `memory.low`.
    pub low: String,
    /// `memory.high`.
    pub high: String,
    /// `memory.max`.
    pub max: String,
    /// `cgroup.procs`.
    pub pids: Vec<u32>,
}

impl FakeCgroup {
    /// A cgroup that uses `current` bytes, unlimited and unprotected.
    #[must_use]
    pub fn new(path: &str, current: u64, pids: &[u32]) -> Self {
        Self {
            path: path.to_owned(),
            current,
            min: "0".to_owned(),
            low: "0".to_owned(),
            high: "max".to_owned(),
            max: "max".to_owned(),
            pids: pids.to_vec(),
        }
    }

    /// The same with another `memory.high`.
    #[must_use]
    pub fn high(mut self, high: &str) -> Self {
        high.clone_into(&mut self.high);
        self
    }

    /// The same with another `memory.max`.
    #[must_use]
    pub fn max(mut self, max: &str) -> Self {
        max.clone_into(&mut self.max);
        self
    }

    /// The same with another `memory.low`.
    #[must_use]
    pub fn low(mut self, low: &str) -> Self {
        low.clone_into(&mut self.low);
        self
    }

    /// The container's path in the full host, without the leading slash.
    #[must_use]
    pub fn container_path() -> String {
        format!("system.slice/docker-{CONTAINER}.scope")
    }

    pub(crate) fn write_all(kernel: &FakeKernel) {
        const MIB: u64 = 1 << 20;
        let root = PathBuf::from("cgroup");
        let controllers = "cpuset cpu io memory hugetlb pids\n";
        kernel.write(root.join("cgroup.controllers"), controllers);
        kernel.write(root.join("cgroup.subtree_control"), "cpu io memory pids\n");
        kernel.write(root.join("cgroup.procs"), "2\n");
        kernel.write(root.join("cgroup.threads"), "2\n");
        kernel.write(root.join("memory.reclaim"), "");
        kernel.write(root.join("memory.pressure"), PRESSURE);
        kernel.write(root.join("memory.stat"), stat(400 * MIB));
        let user = "user.slice/user-1000.slice/user@1000.service";
        for cgroup in [
            Self::new("init.scope", 8 * MIB, &[1]),
            Self::new("system.slice", 300 * MIB, &[]),
            Self::new("system.slice/nginx.service", 120 * MIB, &[100, 101, 110])
                .high("209715200")
                .low("16777216"),
            Self::new(&Self::container_path(), 90 * MIB, &[300, 301]),
            Self::new("user.slice", 60 * MIB, &[]),
            Self::new("user.slice/user-1000.slice", 60 * MIB, &[]),
            Self::new(user, 60 * MIB, &[]),
            Self::new(&format!("{user}/app.slice"), 50 * MIB, &[]),
            Self::new(
                &format!("{user}/app.slice/app-editor.scope"),
                50 * MIB,
                &[200, 210, 220, 230],
            ),
            Self::new("build", 140 * MIB, &[]).high("157286400"),
            Self::new("build/web", 100 * MIB, &[310, 311, 320, 330])
                .max("314572800")
                .low("max"),
            Self::new("build/web/empty", 0, &[]),
        ] {
            cgroup.write(kernel);
        }
    }

    pub(crate) fn write(&self, kernel: &FakeKernel) {
        let directory = PathBuf::from("cgroup").join(&self.path);
        let pids: String = self.pids.iter().map(|pid| format!("{pid}\n")).collect();
        let populated = u8::from(!self.pids.is_empty());
        for (name, content) in [
            ("cgroup.controllers", "cpu io memory pids\n".to_owned()),
            (
                "cgroup.events",
                format!("populated {populated}\nfrozen 0\n"),
            ),
            ("cgroup.procs", pids.clone()),
            (
                "cgroup.stat",
                "nr_descendants 1\nnr_dying_descendants 3\n".to_owned(),
            ),
            ("cgroup.subtree_control", "memory pids\n".to_owned()),
            ("cgroup.threads", pids),
            ("cgroup.type", "domain\n".to_owned()),
            ("memory.current", format!("{}\n", self.current)),
            (
                "memory.events",
                "low 0\nhigh 12\nmax 3\noom 1\noom_kill 1\noom_group_kill 0\n".to_owned(),
            ),
            ("memory.high", format!("{}\n", self.high)),
            ("memory.low", format!("{}\n", self.low)),
            ("memory.max", format!("{}\n", self.max)),
            ("memory.min", format!("{}\n", self.min)),
            ("memory.oom.group", "0\n".to_owned()),
            ("memory.peak", format!("{}\n", self.current * 2)),
            ("memory.pressure", PRESSURE.to_owned()),
            ("memory.reclaim", String::new()),
            ("memory.stat", stat(self.current)),
            ("memory.swap.current", "4194304\n".to_owned()),
            ("memory.swap.max", "max\n".to_owned()),
            ("memory.zswap.current", "1048576\n".to_owned()),
        ] {
            kernel.write(directory.join(name), content);
        }
    }
}

/// Half anonymous, the rest mostly file.
fn stat(current: u64) -> String {
    let anon = current / 2;
    let file = current / 4;
    format!(
        "anon {anon}\nfile {file}\nkernel {kernel}\nkernel_stack 65536\npagetables 262144\n\
         percpu 4096\nsock 8192\nvmalloc 16384\nshmem 1048576\nzswap 1048576\nzswapped 4194304\n\
         file_mapped 2097152\nfile_dirty 0\nfile_writeback 0\nswapcached 524288\nanon_thp 2097152\n\
         inactive_anon {anon}\nactive_anon 0\ninactive_file {file}\nactive_file 0\nunevictable 0\n\
         slab_reclaimable 1048576\nslab_unreclaimable 524288\nworkingset_refault_anon 30\n\
         workingset_refault_file 400\npgscan 9000\npgsteal 8500\npgfault 100000\npgmajfault 40\n",
        kernel = current / 8
    )
}
