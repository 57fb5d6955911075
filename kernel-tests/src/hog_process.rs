//! The inside of a memory hog: takes memory of one kind, fills it, says
//! `ready`, and keeps it until its stdin is closed.
//!
//! Never gives memory back by itself, and never grows after `ready`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, Read, Write};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use memmap2::{Advice, MmapMut, MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::case::Failure;
use crate::hog::{HogContent, HogKind};

/// Bytes that are filled at a time; a page of x86-64.
const PAGE: usize = 4096;

/// Rest between two rounds of a hog that keeps touching.
const REST: Duration = Duration::from_millis(10);

/// The command line of a hog.
#[derive(Debug, Clone, clap::Args)]
pub struct HogArguments {
    /// How much to hold.
    #[arg(long)]
    mebibytes: u64,
    /// Of what.
    #[arg(long, value_enum)]
    kind: HogKind,
    /// With what in it.
    #[arg(long, value_enum)]
    content: HogContent,
    /// The file of a file-cache hog.
    #[arg(long)]
    file: PathBuf,
    /// The cgroup to join first.
    #[arg(long)]
    cgroup: Option<PathBuf>,
    /// Touch all of it again and again.
    #[arg(long)]
    keep_touching: bool,
}

/// What a hog has in its hands.
enum Held {
    Private(MmapMut),
    Shared(
        File,
        #[expect(dead_code, reason = "it keeps the pages mapped")] MmapRaw,
    ),
    Cached(File, PathBuf),
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Self::Cached(_, path) = self {
            // The disk is thrown away with the guest in any case.
            let _ = fs::remove_file(path);
        }
    }
}

/// Holds memory until stdin is closed.
///
/// # Errors
/// When the memory cannot be had, or nobody listens any more.
pub fn hold(arguments: &HogArguments) -> Result<(), Failure> {
    // The harness protects itself from the kernel's OOM killer; a hog must not
    // inherit that.
    fs::write("/proc/self/oom_score_adj", "0")?;
    if let Some(cgroup) = &arguments.cgroup {
        fs::write(cgroup.join("cgroup.procs"), "0")?;
    }
    let mut held = take(arguments)?;
    answer("ready")?;
    if arguments.keep_touching {
        thread::spawn(end_with_stdin);
        loop {
            touch(&mut held)?;
            thread::sleep(REST);
        }
    }
    for order in io::stdin().lock().lines() {
        if order? == "touch" {
            touch(&mut held)?;
            answer("touched")?;
        }
    }
    Ok(())
}

/// Ends the process when whoever started it is gone.
#[expect(clippy::exit, reason = "the thread that touches memory never looks up")]
fn end_with_stdin() {
    let _ = io::stdin().lock().read_to_end(&mut Vec::new());
    std::process::exit(0);
}

fn answer(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

fn take(arguments: &HogArguments) -> Result<Held, Failure> {
    let length = usize::try_from(arguments.mebibytes)?.saturating_mul(1 << 20);
    let content = arguments.content;
    match arguments.kind {
        HogKind::Anonymous => Ok(Held::Private(private(length, content)?)),
        HogKind::Locked => {
            let map = private(length, content)?;
            map.lock()?;
            Ok(Held::Private(map))
        }
        HogKind::Mergeable => {
            let map = private(length, content)?;
            map.advise(Advice::Mergeable)?;
            Ok(Held::Private(map))
        }
        HogKind::Shared => {
            let mut file = File::from(memfd_create("grey-hog", MemfdFlags::CLOEXEC)?);
            write_pages(&mut file, length, content)?;
            let map = MmapOptions::new().len(length).populate().map_raw(&file)?;
            Ok(Held::Shared(file, map))
        }
        HogKind::FileCache | HogKind::DirtyFileCache => {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .open(&arguments.file)?;
            write_pages(&mut file, length, content)?;
            let mut held = Held::Cached(file, arguments.file.clone());
            if arguments.kind == HogKind::FileCache {
                if let Held::Cached(file, _) = &held {
                    file.sync_all()?;
                }
                touch(&mut held)?;
            }
            Ok(held)
        }
    }
}

/// Private anonymous memory without huge pages: a page is a page, on every
/// kernel.
fn private(length: usize, content: HogContent) -> Result<MmapMut, Failure> {
    let mut map = MmapMut::map_anon(length)?;
    map.advise(Advice::NoHugePage)?;
    let mut pages = Pages::new(content);
    for page in map.chunks_mut(PAGE) {
        pages.fill(page);
    }
    Ok(map)
}

fn write_pages(file: &mut File, length: usize, content: HogContent) -> io::Result<()> {
    let mut pages = Pages::new(content);
    let mut block = vec![0_u8; 64 * PAGE];
    let mut left = length;
    while left > 0 {
        let now = left.min(block.len());
        for page in block.chunks_mut(PAGE) {
            pages.fill(page);
        }
        file.write_all(&block[..now])?;
        left -= now;
    }
    Ok(())
}

/// Uses every page once: a write for private memory, a read for files.
fn touch(held: &mut Held) -> io::Result<()> {
    match held {
        Held::Private(map) => {
            for page in map.chunks_mut(PAGE) {
                // Volatile enough: the value that is written is the one read.
                page[PAGE / 2] = std::hint::black_box(page[PAGE / 2]);
            }
            Ok(())
        }
        Held::Shared(file, _) | Held::Cached(file, _) => {
            let mut block = vec![0_u8; 64 * PAGE];
            let mut offset = 0;
            loop {
                let read = rustix::io::pread(&*file, &mut block, offset)?;
                if read == 0 {
                    return Ok(());
                }
                offset += u64::try_from(read).unwrap_or(u64::MAX);
            }
        }
    }
}

/// Makes one page after the other. Copies from a block that is made once: in an
/// emulated guest nothing else is fast.
struct Pages {
    block: Vec<u8>,
    /// Written to the head of each page, unless all shall be identical.
    number: Option<u64>,
}

impl Pages {
    fn new(content: HogContent) -> Self {
        // Not one value throughout: zram and KSM treat such pages apart.
        let mut block = [[0xa5_u8; 32], [0x5a; 32]].concat().repeat(PAGE / 64);
        let random_part = match content {
            HogContent::Incompressible => PAGE,
            HogContent::Compressible => PAGE / 4,
            HogContent::Identical => 0,
        };
        let mut random = (u64::from(std::process::id()) << 17) ^ 0x9e37_79b9_7f4a_7c15;
        for word in block[..random_part].chunks_mut(8) {
            // xorshift64, Marsaglia 2003.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            word.copy_from_slice(&random.to_le_bytes());
        }
        Self {
            block,
            number: (content != HogContent::Identical).then_some(random),
        }
    }

    /// Fills a page; zram and KSM look at each page for itself, so it is enough
    /// that its head is like no other's.
    fn fill(&mut self, page: &mut [u8]) {
        page.copy_from_slice(&self.block[..page.len()]);
        if let (Some(number), Some(head)) = (&mut self.number, page.get_mut(..8)) {
            *number = number.wrapping_add(1);
            head.copy_from_slice(&number.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_pages(content: HogContent) -> (Vec<u8>, Vec<u8>) {
        let mut pages = Pages::new(content);
        let (mut first, mut second) = (vec![0; PAGE], vec![0; PAGE]);
        pages.fill(&mut first);
        pages.fill(&mut second);
        (first, second)
    }

    #[test]
    fn only_identical_pages_are_identical() {
        let (first, second) = two_pages(HogContent::Identical);
        assert_eq!(first, second);
        for content in [HogContent::Incompressible, HogContent::Compressible] {
            let (first, second) = two_pages(content);
            assert_ne!(first, second);
        }
    }

    #[test]
    fn no_page_holds_one_value_throughout() {
        for content in [
            HogContent::Incompressible,
            HogContent::Compressible,
            HogContent::Identical,
        ] {
            let (page, _) = two_pages(content);
            assert!(page.chunks(8).any(|word| word != &page[..8]));
        }
    }
}
