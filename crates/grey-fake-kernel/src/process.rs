//! Processes with all files that are read of them.
//!
//! Never a whole /proc/PID: only what is read anywhere in the product.

use std::path::PathBuf;

use crate::cgroup::FakeCgroup;
use crate::kernel::FakeKernel;

/// One process. The full host has these, by pid:
///
/// | pid | who |
/// |---|---|
/// | 1 | `systemd` |
/// | 2 | `kthreadd`, a kernel thread |
/// | 100, 101 | `nginx` and its worker, in `nginx.service` |
/// | 110 | `gone`, a zombie child of 100 |
/// | 200 | a name that is not UTF-8 |
/// | 210 | a name with `) R (` inside |
/// | 220 | ended while its directory was open: there are no files in it |
/// | 230 | `secret`, whose page tables may not be read |
/// | 300, 301 | `postgres` and a child, in a container |
/// | 310, 311 | `builder` and a child, in `/build/web` |
/// | 320 | `stuck`, in uninterruptible sleep, in `/build/web` |
/// | 330 | `guard`, which the kernel never kills, in `/build/web` |
#[derive(Debug, Clone)]
pub struct FakeProcess {
    /// Its pid.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// The command name, any bytes.
    pub name: Vec<u8>,
    /// The state letter.
    pub state: char,
    /// Whether it is a kernel thread.
    pub kernel_thread: bool,
    /// When it started, in clock ticks since boot.
    pub start_time_ticks: u64,
    /// Its real user.
    pub user_id: u32,
    /// Its cgroup, version 2, with the leading slash.
    pub cgroup: String,
    /// Its arguments, separated by NUL as the kernel prints them.
    pub command_line: Vec<u8>,
    /// Resident anonymous memory in kB; file pages are half of it, and its
    /// swap a quarter.
    pub anon_kib: u64,
    /// `oom_score_adj`.
    pub oom_score_adj: i32,
}

impl FakeProcess {
    /// A sleeping process of user 1000.
    #[must_use]
    pub fn new(pid: u32, parent: u32, name: &str, cgroup: &str) -> Self {
        Self {
            pid,
            parent,
            name: name.as_bytes().to_vec(),
            state: 'S',
            kernel_thread: false,
            start_time_ticks: u64::from(pid) * 10,
            user_id: 1000,
            cgroup: cgroup.to_owned(),
            command_line: format!("/usr/bin/{name}\0--run\0").into_bytes(),
            anon_kib: 8192,
            oom_score_adj: 0,
        }
    }

    pub(crate) fn write_all(kernel: &FakeKernel) {
        let nginx = "/system.slice/nginx.service";
        let editor = "/user.slice/user-1000.slice/user@1000.service/app.slice/app-editor.scope";
        let container = format!("/{}", FakeCgroup::container_path());
        let web = "/build/web";
        let of = |pid, parent, name: &str, cgroup: &str| Self::new(pid, parent, name, cgroup);
        for process in [
            Self {
                user_id: 0,
                ..of(1, 0, "systemd", "/init.scope")
            },
            Self {
                kernel_thread: true,
                user_id: 0,
                command_line: Vec::new(),
                ..of(2, 0, "kthreadd", "/")
            },
            Self {
                user_id: 0,
                ..of(100, 1, "nginx", nginx)
            },
            Self {
                anon_kib: 65536,
                ..of(101, 100, "nginx", nginx)
            },
            Self {
                state: 'Z',
                command_line: Vec::new(),
                ..of(110, 100, "gone", nginx)
            },
            Self {
                name: b"caf\xe9".to_vec(),
                ..of(200, 1, "cafe", editor)
            },
            Self {
                name: b"evil) R (x".to_vec(),
                ..of(210, 200, "evil", editor)
            },
            of(220, 200, "vanished", editor),
            of(230, 200, "secret", editor),
            of(300, 1, "postgres", &container),
            of(301, 300, "checkpointer", &container),
            of(310, 1, "builder", web),
            of(311, 310, "cc1", web),
            Self {
                state: 'D',
                ..of(320, 1, "stuck", web)
            },
            Self {
                oom_score_adj: -1000,
                ..of(330, 1, "guard", web)
            },
        ] {
            process.write(kernel);
        }
        kernel.remove("proc/220");
        std::fs::create_dir(kernel.path("proc/220")).expect("a temporary directory can be written");
        // Reading a directory fails for root too, other than for want of permission.
        kernel.remove("proc/230/smaps_rollup");
        std::fs::create_dir(kernel.path("proc/230/smaps_rollup"))
            .expect("a temporary directory can be written");
        let status = "Name:\tgreyctl\nUid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n";
        kernel.write("proc/self/status", status);
        kernel.write("proc/self/limits", LIMITS);
        kernel.write("proc/self/cgroup", format!("0::{editor}\n"));
        // Of an ordinary file no pages can be scanned.
        kernel.write("proc/self/pagemap", "");
        kernel.write("proc/1/environ", "HOME=/\0TERM=linux\0");
    }

    pub(crate) fn write(&self, kernel: &FakeKernel) {
        let directory = PathBuf::from(format!("proc/{}", self.pid));
        let has_memory = !self.kernel_thread && self.state != 'Z';
        kernel.write(directory.join("stat"), self.stat());
        kernel.write(directory.join("comm"), [&self.name[..], b"\n"].concat());
        kernel.write(directory.join("status"), self.status(has_memory));
        kernel.write(directory.join("cmdline"), &self.command_line);
        kernel.write(directory.join("cgroup"), format!("0::{}\n", self.cgroup));
        kernel.write(directory.join("oom_score"), "667\n");
        let adjustment = format!("{}\n", self.oom_score_adj);
        kernel.write(directory.join("oom_score_adj"), adjustment);
        kernel.write(directory.join("limits"), LIMITS);
        let pages = |kib: u64| kib / 4;
        let statm = if has_memory {
            let resident = pages(self.anon_kib + self.file_kib());
            let shared = pages(self.file_kib());
            format!("{} {resident} {shared} 10 0 {resident} 0\n", resident * 3)
        } else {
            "0 0 0 0 0 0 0\n".to_owned()
        };
        kernel.write(directory.join("statm"), statm);
        let rollup = if has_memory {
            self.rollup()
        } else {
            String::new()
        };
        kernel.write(directory.join("smaps_rollup"), rollup);
        let smaps = if has_memory {
            self.smaps()
        } else {
            String::new()
        };
        kernel.write(directory.join("smaps"), smaps);
        kernel.write(
            directory.join("ksm_stat"),
            "ksm_rmap_items 10\nksm_zero_pages 1\nksm_merging_pages 5\nksm_process_profit 16384\n",
        );
    }

    /// Of a zombie only the first is left.
    fn threads(&self) -> u32 {
        if self.state == 'Z' { 1 } else { 2 }
    }

    fn file_kib(&self) -> u64 {
        self.anon_kib / 2
    }

    fn stat(&self) -> Vec<u8> {
        let flags = if self.kernel_thread {
            0x0020_8040
        } else {
            0x0040_0000
        };
        let (pid, parent, state) = (self.pid, self.parent, self.state);
        let (start, threads) = (self.start_time_ticks, self.threads());
        [
            format!("{pid} (").into_bytes(),
            self.name.clone(),
            format!(
                ") {state} {parent} {pid} {pid} 0 -1 {flags} 100 0 0 0 5 3 0 0 20 0 {threads} 0 {start} \
                 12582912 3072 18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 \
                 0 0 0 0\n"
            )
            .into_bytes(),
        ]
        .concat()
    }

    /// The kernel escapes the name here, so that it cannot forge a line.
    fn status(&self, has_memory: bool) -> String {
        let (pid, parent, user) = (self.pid, self.parent, self.user_id);
        let name = self.name.escape_ascii();
        let state = self.state;
        let mut text = format!(
            "Name:\t{name}\nUmask:\t0022\nState:\t{state} (state)\nTgid:\t{pid}\nPid:\t{pid}\n\
             PPid:\t{parent}\nUid:\t{user}\t{user}\t{user}\t{user}\n"
        );
        if has_memory {
            let (anon, file) = (self.anon_kib, self.file_kib());
            let (rss, swap, data) = (anon + file, anon / 4, anon * 2);
            text += &format!(
                "VmPeak:\t{rss:>8} kB\nVmLck:\t       0 kB\nVmRSS:\t{rss:>8} kB\n\
                 RssAnon:\t{anon:>8} kB\nRssFile:\t{file:>8} kB\nRssShmem:\t       0 kB\n\
                 VmData:\t{data:>8} kB\nVmSwap:\t{swap:>8} kB\n"
            );
        }
        let threads = self.threads();
        text + &format!("Threads:\t{threads}\nCapEff:\t0000000000000000\n")
    }

    /// A heap and a library, which add up to the rollup.
    fn smaps(&self) -> String {
        let (anon, file) = (self.anon_kib, self.file_kib());
        let (pss_file, swap) = (file / 4, anon / 4);
        format!(
            "00400000-20400000 rw-p 00000000 00:00 0                          [heap]\n\
             Size:             524288 kB\nRss:            {anon:>8} kB\nPss:            {anon:>8} kB\n\
             Shared_Clean:          0 kB\nShared_Dirty:          0 kB\nSwap:           {swap:>8} kB\n\
             7f0000000000-7f0010000000 r-xp 00000000 fe:00 4711               /usr/lib/libfake.so\n\
             Size:             262144 kB\nRss:            {file:>8} kB\nPss:            {pss_file:>8} kB\n\
             Shared_Clean:   {file:>8} kB\nShared_Dirty:          0 kB\nSwap:                  0 kB\n"
        )
    }

    /// Anonymous memory is private, file pages are shared by four.
    fn rollup(&self) -> String {
        let (anon, file) = (self.anon_kib, self.file_kib());
        let (rss, pss, pss_file, swap) = (anon + file, anon + file / 4, file / 4, anon / 4);
        format!(
            "00400000-7ffd5e1fe000 ---p 00000000 00:00 0                          [rollup]\n\
             Rss:            {rss:>8} kB\nPss:            {pss:>8} kB\nPss_Dirty:      {anon:>8} kB\n\
             Pss_Anon:       {anon:>8} kB\nPss_File:       {pss_file:>8} kB\n\
             Pss_Shmem:             0 kB\nShared_Clean:   {file:>8} kB\n\
             Shared_Dirty:          0 kB\nPrivate_Clean:         0 kB\n\
             Private_Dirty:  {anon:>8} kB\nReferenced:     {rss:>8} kB\n\
             Anonymous:      {anon:>8} kB\nKSM:                   0 kB\n\
             LazyFree:              0 kB\nAnonHugePages:         0 kB\n\
             Shared_Hugetlb:        0 kB\nPrivate_Hugetlb:       0 kB\n\
             Swap:           {swap:>8} kB\nSwapPss:        {swap:>8} kB\n\
             Locked:                0 kB\n"
        )
    }
}

const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units     \n\
Max cpu time              unlimited            unlimited            seconds   \n\
Max data size             1073741824           unlimited            bytes     \n\
Max open files            1024                 524288               files     \n\
Max address space         unlimited            unlimited            bytes     \n";
