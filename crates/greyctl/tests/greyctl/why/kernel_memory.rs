//! What of a cgroup is the kernel's, and cgroups that were removed below it.

use super::{finding, host, on, run};
use serde_json::Value;

const GROUP: &str = "/build/web/empty";

/// The account of a cgroup with these lines of `memory.stat`, in MiB, that so many
/// were removed below.
fn account(stat: &[(&str, u64)], removed: u64) -> Value {
    let directory = format!("cgroup{GROUP}");
    let lines: String = stat
        .iter()
        .map(|(key, mebibytes)| format!("{key} {}\n", mebibytes << 20))
        .collect();
    let count = format!("nr_descendants 0\nnr_dying_descendants {removed}\n");
    let kernel = host()
        .with(
            format!("{directory}/memory.current"),
            format!("{}\n", 900 << 20),
        )
        .with(format!("{directory}/memory.stat"), &lines)
        .with(format!("{directory}/cgroup.stat"), &count);
    let ran = run(on(&kernel), &["why", "--json", GROUP]);
    ran.json()["targets"][0].clone()
}

#[test]
fn other_memory_of_the_kernel_is_named_by_its_largest_parts() {
    let of = |stat: &[(&str, u64)]| finding(&account(stat, 0), "part");
    let one = of(&[("kernel", 900), ("vmalloc", 890), ("percpu", 2)]);
    assert!(one.contains("it: 890.0 MiB vmalloc"), "{one}");
    assert!(!one.contains("per-CPU"), "{one}");
    assert!(!one.contains("page tables"), "{one}");
    let several = of(&[
        ("kernel", 900),
        ("kernel_stack", 50),
        ("pagetables", 200),
        ("sec_pagetables", 300),
        ("percpu", 100),
        ("vmalloc", 49),
    ]);
    let expected = "it: 300.0 MiB page tables of virtual machines and devices, 200.0 MiB page \
                    tables, 100.0 MiB per-CPU memory";
    assert!(several.contains(expected), "{several}");
    assert!(!several.contains("stacks"), "{several}");
    let unknown = of(&[("kernel", 900)]);
    assert!(
        unknown.contains("which does not tell what most of it is"),
        "{unknown}"
    );
}

#[test]
fn removed_cgroups_that_pile_up_are_told_with_what_keeps_them_and_what_helps() {
    let stat = [("file", 9), ("kernel", 40), ("percpu", 40)];
    let many = account(&stat, 100);
    assert_eq!(many["dying_cgroups"], 100);
    let told = finding(&many, "removed");
    assert!(
        told.starts_with("100 cgroups below it were removed"),
        "{told}"
    );
    assert!(
        told.contains("as long as memory is charged to it"),
        "{told}"
    );
    let advice = many["advice"].to_string();
    assert!(advice.contains("--reclaim 9M"), "{advice}");
    let few = account(&stat, 99);
    assert_eq!(few["dying_cgroups"], 99);
    assert!(!few["findings"].to_string().contains("were removed"));
}

#[test]
fn what_may_keep_removed_cgroups_is_taken_back_however_little_it_is() {
    let advice = |removed: u64| {
        let count = format!("nr_dying_descendants {removed}\n");
        let kernel = host().with("cgroup/build/web/cgroup.stat", count);
        let stat = "file 4194304\ninactive_file 4194304\n";
        let kernel = kernel.with("cgroup/build/web/memory.stat", stat);
        let ran = run(on(&kernel), &["why", "--json", "/build/web"]);
        ran.json()["targets"][0]["advice"].to_string()
    };
    let many = advice(200);
    assert!(
        many.contains("may keep the cgroups that were removed"),
        "{many}"
    );
    assert!(many.contains("--reclaim 4M"), "{many}");
    assert!(!advice(2).contains("--reclaim"));
}
