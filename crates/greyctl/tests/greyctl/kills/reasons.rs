//! What the heading of a kill says for which no control group was at its limit:
//! a report that a real kernel wrote, with another reason in it.

use super::*;

const INVOKED: &str = "gfp_mask=0x140dca(GFP_HIGHUSER_MOVABLE|__GFP_COMP|__GFP_ZERO), order=0";

/// The last kill of what Linux 6.12 logged, which is the machine's, with `old`
/// replaced.
fn with(old: &str, new: &str) -> (String, Value) {
    let log = std::fs::read_to_string(captured("6.12/log/dmesg")).unwrap();
    assert!(log.contains(old), "there is no {old}");
    let kernel = host();
    kernel.write("log", log.replace(old, new));
    let path = kernel.path("log").to_str().unwrap().to_owned();
    let document = explained(&path, &[]);
    let shown = run(on(&kernel), &["why", "--killed", "--log", &path]);
    let last = document["kills"].as_array().unwrap().last().unwrap();
    (shown.stdout, last.clone())
}

#[test]
fn the_heading_of_a_kill_says_what_there_was_too_little_of() {
    let dma = "gfp_mask=0xcc4(GFP_KERNEL|GFP_DMA32), order=0";
    let block = "gfp_mask=0xcc0(GFP_KERNEL), order=2";
    let asked = "gfp_mask=0xcc0(GFP_KERNEL), order=-1";
    let fault = "gfp_mask=0x0(), order=0";
    let (none, cpuset) = ("CONSTRAINT_NONE", "CONSTRAINT_CPUSET");
    let policy = "CONSTRAINT_MEMORY_POLICY";
    let machine = "the machine was out of memory (kernel-global)";
    for (old, new, shortage, heading) in [
        (INVOKED, INVOKED, "machine", machine),
        (
            INVOKED,
            dma,
            "device_zone",
            "no free memory that a device can reach",
        ),
        (
            INVOKED,
            block,
            "contiguous",
            "no free memory in one piece of that size",
        ),
        (INVOKED, asked, "nothing", "somebody asked for it, SysRq F"),
        (INVOKED, fault, "page_fault", "no memory for a page fault"),
        (
            none,
            cpuset,
            "cpuset_nodes",
            "the memory nodes of a cpuset were full",
        ),
        (
            none,
            policy,
            "policy_nodes",
            "the memory nodes of a memory policy were full",
        ),
    ] {
        let (shown, kill) = with(old, new);
        assert_eq!(kill["killer"], "kernel-global");
        assert_eq!(kill["shortage"], shortage);
        let told = format!("by the kernel: {heading}");
        assert!(shown.contains(&told), "{shown}");
        assert_eq!(shown.contains(machine), shortage == "machine", "{shown}");
    }
}

#[test]
fn the_heading_of_an_unknown_killer_says_who_it_can_have_been_and_that_once() {
    let kernels = json!(["kernel-cgroup", "kernel-global"]);
    let oomds = json!(["kernel-cgroup", "kernel-global", "systemd-oomd"]);
    for (line, heading, can_be) in [
        (
            "A process of this unit has been killed by the OOM killer.",
            "by the kernel's out-of-memory killer, for whichever reason (unknown)",
            kernels,
        ),
        (
            "Failed with result 'oom-kill'.",
            "by the kernel's out-of-memory killer or systemd-oomd (unknown)",
            oomds,
        ),
        (
            "Main process exited, code=exited, status=137/n/a",
            "by unknown",
            Value::Null,
        ),
    ] {
        let kernel = host();
        let line = format!("Nov 21 18:29:06 box systemd[1]: web.service: {line}\n");
        kernel.write("log", line);
        let path = kernel.path("log").to_str().unwrap().to_owned();
        let kill = explained(&path, &[])["kills"][0].clone();
        assert_eq!(
            (&kill["killer"], &kill["can_be"]),
            (&json!("unknown"), &can_be)
        );
        let shown = run(on(&kernel), &["why", "--killed", "--log", &path]).stdout;
        let by: Vec<&str> = shown
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with("by "))
            .collect();
        assert_eq!(by, [heading]);
    }
}
