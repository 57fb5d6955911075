//! When shared memory goes, and what swap can take of it, by `why TARGET`.

use super::*;

/// A process with 32 MiB of shared memory in a mapping of this name, of which
/// nothing else is mapped, and with so much locked.
fn with_shared(name: &str, locked_kib: u64) -> FakeKernel {
    const SHARED_KIB: u64 = 32 << 10;
    let kernel = host()
        .with_cgroup(&FakeCgroup::new("solo", 64 << 20, &[400]))
        .with_process(&FakeProcess::new(400, 1, "holder", "/solo"));
    let edit = |file: &str, old: &str, new: String| {
        let path = kernel.path("proc/400").join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(old), "no {old} in {text}");
        std::fs::write(path, text.replacen(old, &new, 1)).unwrap();
    };
    edit(
        "status",
        "RssShmem:\t       0 kB",
        format!("RssShmem:\t{SHARED_KIB:>8} kB"),
    );
    edit(
        "status",
        "VmLck:\t       0 kB",
        format!("VmLck:\t{locked_kib:>8} kB"),
    );
    let mapping = format!(
        "7e0000000000-7e0002000000 rw-s 00000000 00:01 9 {name}\nRss: {SHARED_KIB} kB\n\
         Pss: {SHARED_KIB} kB\nPrivate_Dirty: {SHARED_KIB} kB\n7f0000000000-"
    );
    edit("smaps", "7f0000000000-", mapping);
    kernel
}

#[test]
fn shared_memory_goes_when_its_kind_does_and_the_uss_says_the_same() {
    for (name, words, is_kept) in [
        ("/dev/zero (deleted)", "goes with the last process", false),
        ("/memfd:queue (deleted)", "goes with the last process", true),
        ("/SYSV00000000 (deleted)", "System V segments: ipcrm", true),
        ("/dev/shm/queue", "stays until it is deleted", true),
    ] {
        let kernel = with_shared(name, 0);
        let document = run(on(&kernel), &["why", "--json", "400"]).json();
        let account = &document["targets"][0];
        let part = finding(account, "part");
        assert!(
            part.starts_with("32.0 MiB of its RSS is shared memory"),
            "{part}"
        );
        assert!(part.contains(words), "{name}: {part}");
        assert!(!part.contains("locked"), "{part}");
        let uss = finding(account, "sharing");
        assert!(uss.contains("would be free if this ended"), "{uss}");
        assert_eq!(uss.contains("shared memory that is kept"), is_kept, "{uss}");
    }
}

#[test]
fn swap_takes_nothing_that_is_locked() {
    let kernel = with_shared("/dev/zero (deleted)", 16 << 10);
    let document = run(on(&kernel), &["why", "--json", "400"]).json();
    let part = finding(&document["targets"][0], "part");
    let told = "only swap can take it, as far as it is not locked (mlock)";
    assert!(part.contains(told), "{part}");
}
