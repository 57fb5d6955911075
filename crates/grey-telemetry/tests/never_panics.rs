//! No parser panics: not on arbitrary bytes, and not on good files that were
//! damaged.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use grey_fake_kernel::FakeKernel;
use grey_telemetry::{ascii, cgroup, data_limit, host, oom_daemons, privileges, proc, sys, user};
use proptest::prelude::*;

/// A parser: a good file of the fake host, and a call of it.
type Parser = (&'static str, fn(&[u8]));

macro_rules! parsers {
    ($($file:expr => $parse:path;)*) => {
        &[$(($file, |text| { let _ = $parse(text); })),*]
    };
}

/// Every parser of this crate outside `process`, which has its own tests.
const PARSERS: &[Parser] = parsers! {
    "proc/meminfo" => proc::meminfo::parse_meminfo;
    "proc/meminfo" => proc::meminfo::parse_mem_available;
    "proc/vmstat" => proc::vmstat::parse_vmstat;
    "proc/swaps" => proc::swaps::parse_swaps;
    "proc/pressure/memory" => proc::pressure::parse_pressure;
    "proc/zoneinfo" => proc::zoneinfo::parse_per_cpu_free_lists;
    "proc/sys/kernel/random/boot_id" => proc::boot_id::parse_boot_id;
    "proc/sys/kernel/osrelease" => proc::osrelease::parse_osrelease;
    "proc/cmdline" => proc::command_line::parse_psi_parameter;
    "proc/310/cmdline" => oom_daemons::script;
    "proc/1/environ" => host::names_a_container;
    "proc/self/status" => privileges::parse_privileges;
    "proc/self/status" => privileges::parse_capabilities;
    "proc/310/limits" => data_limit::parse_data_limit;
    "proc/self/limits" => data_limit::parse_resource_limits;
    "sys/kernel/mm/lru_gen/enabled" => sys::lru_gen::parse_mask;
    "sys/kernel/mm/transparent_hugepage/enabled" => sys::transparent_hugepage::parse_choice;
    "sys/block/zram0/backing_dev" => sys::zram::parse_backing_device;
    "sys/kernel/mm/ksm/advisor_mode" => sys::ksm::parse_advisor_mode;
    "sys/block/zram0/mm_stat" => sys::zram::parse_mm_stat;
    "sys/module/zswap/parameters/enabled" => sys::zswap::parse_flag;
    "sys/bus/virtio/drivers/virtio_balloon/virtio0/features" => sys::balloon::parse_deflate_on_oom;
    "cgroup/cgroup.controllers" => cgroup::mount::lists_memory;
    "cgroup/build/web/cgroup.events" => cgroup::events::parse_populated;
    "cgroup/build/web/cgroup.stat" => cgroup::descendants::parse_dying_descendants;
    "cgroup/build/web/cgroup.procs" => cgroup::processes::parse_pids;
    "cgroup/build/web/memory.events" => cgroup::events::parse_memory_events;
    "cgroup/build/web/memory.max" => cgroup::limit::parse_limit;
    "cgroup/build/web/memory.stat" => cgroup::stat::parse_memory_stat;
    "proc/swaps" => user::UserNames::parse;
    "proc/vmstat" => ascii::parse_u64;
    "proc/vmstat" => ascii::parse_i64;
    "proc/pressure/memory" => ascii::parse_decimal;
    "sys/kernel/mm/ksm/advisor_mode" => ascii::chosen_word;
};

/// One piece of damage; positions are taken modulo the file's length.
#[derive(Debug, Clone)]
enum Damage {
    Overwrite(usize, u8),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Repeat(usize, usize),
    Cut(usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let nasty = prop_oneof![
        Just(b"18446744073709551615".to_vec()),
        Just(b"99999999999999999999999999".to_vec()),
        Just(b"-".to_vec()),
        Just(b"\n\n".to_vec()),
        Just(b"\0".to_vec()),
        Just(b"\xff\xfe".to_vec()),
        Just(b"\\777".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..8),
    ];
    prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Damage::Overwrite(at, byte)),
        (any::<usize>(), nasty).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        (any::<usize>(), 0usize..40).prop_map(|(at, count)| Damage::Remove(at, count)),
        (any::<usize>(), 0usize..40).prop_map(|(at, count)| Damage::Repeat(at, count)),
        any::<usize>().prop_map(Damage::Cut),
    ]
}

fn apply(text: &mut Vec<u8>, damage: &Damage) {
    let place = |at: usize, text: &[u8]| at % (text.len() + 1);
    match damage {
        Damage::Overwrite(at, byte) => {
            let at = place(*at, text);
            if let Some(old) = text.get_mut(at) {
                *old = *byte;
            }
        }
        Damage::Insert(at, bytes) => {
            let at = place(*at, text);
            text.splice(at..at, bytes.iter().copied());
        }
        Damage::Remove(at, count) => {
            let at = place(*at, text);
            text.drain(at..text.len().min(at + count));
        }
        Damage::Repeat(at, count) => {
            let at = place(*at, text);
            text.extend_from_within(at..text.len().min(at + count));
        }
        Damage::Cut(at) => text.truncate(place(*at, text)),
    }
}

fn good_files() -> &'static [Vec<u8>] {
    static FILES: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
    FILES.get_or_init(|| {
        let fake = FakeKernel::full();
        let read = |(file, _): &Parser| std::fs::read(fake.path(file)).unwrap();
        PARSERS.iter().map(read).collect()
    })
}

proptest! {
    #[test]
    fn arbitrary_bytes_panic_no_parser(text in proptest::collection::vec(any::<u8>(), 0..300)) {
        for (_, parse) in PARSERS {
            parse(&text);
        }
    }

    #[test]
    fn lines_of_words_panic_no_parser(text in "([a-zA-Z_()]{0,12}[:= ]{0,3}[0-9.\\-]{0,24}[ ]?(kB|max)?\n){0,6}") {
        for (_, parse) in PARSERS {
            parse(text.as_bytes());
        }
    }

    #[test]
    fn damaged_files_panic_no_parser(damages in proptest::collection::vec(damage(), 1..8)) {
        for ((_, parse), good) in PARSERS.iter().zip(good_files()) {
            let mut text = good.clone();
            for damage in &damages {
                apply(&mut text, damage);
            }
            parse(&text);
        }
    }
}

/// The list above and the fuzz targets leave no parser out.
#[test]
fn every_parser_is_listed_here_and_has_a_fuzz_target() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read_all = |directory: &std::path::Path| -> String {
        let entries = std::fs::read_dir(directory).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let files = paths.filter(|path| path.is_file());
        files
            .map(|path| std::fs::read_to_string(path).unwrap())
            .collect()
    };
    let here = std::fs::read_to_string(root.join("tests/never_panics.rs")).unwrap();
    let targets = read_all(&root.join("../../fuzz/fuzz_targets"));
    let mut count = 0;
    for directory in ["src", "src/proc", "src/sys", "src/cgroup"] {
        let source = read_all(&root.join(directory));
        for declaration in source.split("pub fn ").skip(1) {
            let name = declaration.split(['(', '<']).next().unwrap();
            if name.starts_with("parse") {
                assert!(here.contains(&format!("::{name};")), "{name} is not tested");
                assert!(
                    targets.contains(&format!("::{name}(")),
                    "{name} is not fuzzed"
                );
                count += 1;
            }
        }
    }
    assert!(count > 20, "only {count} parsers were found");
}
