//! Facts about kills for which no control group's limit was the reason, and the
//! machine need not have been full.

use grey_model::{DeviceZone, Shortage};

use super::*;

fn asked_for(request: MemoryRequest, constraint: Constraint) -> Kill {
    let report = KernelKill {
        asked_by: Some(KernelText::from("asker")),
        request: Some(request),
        constraint: Some(constraint),
        ..of_machine()
    };
    let kill = one(&[at(1, kernel(report))], &FACTS);
    assert_eq!(kill.killer, Killer::KernelGlobal);
    kill
}

const fn pages(order: u8, zone: Option<DeviceZone>) -> MemoryRequest {
    MemoryRequest::Pages { order, zone }
}

/// What was short, a word of why, and one of the advice.
#[test]
fn the_machine_is_called_full_only_where_it_was() {
    use Constraint::{Cpuset, Machine, MemoryPolicy};
    let dma = Some(DeviceZone::Dma32);
    for (request, constraint, shortage, why, advice) in [
        (
            pages(0, None),
            Machine,
            Shortage::Machine,
            "the whole machine was out",
            "--high 76M",
        ),
        (
            pages(0, None),
            Cpuset,
            Shortage::CpusetNodes,
            "the cpuset of asker allows",
            "cpuset.mems",
        ),
        (
            pages(2, None),
            Cpuset,
            Shortage::CpusetNodes,
            "other nodes",
            "node*/meminfo",
        ),
        (
            pages(0, dma),
            MemoryPolicy,
            Shortage::PolicyNodes,
            "memory policy of asker",
            "--membind",
        ),
        (
            pages(2, None),
            Machine,
            Shortage::Contiguous,
            "asked for 16.0 KiB in one piece",
            "buddyinfo",
        ),
        (
            pages(2, dma),
            Machine,
            Shortage::DeviceZone,
            "a device can reach (GFP_DMA32)",
            "driver",
        ),
        (
            MemoryRequest::PageFault,
            Machine,
            Shortage::PageFault,
            "asker touched a page",
            "killed first",
        ),
    ] {
        let kill = asked_for(request, constraint);
        assert_eq!(kill.shortage, Some(shortage));
        assert!(says(&kill.explanation, why), "{:#?}", kill.explanation);
        assert!(says(&kill.advice, advice), "{:#?}", kill.advice);
        let is_machine = shortage == Shortage::Machine;
        assert_eq!(says(&kill.explanation, "the whole machine"), is_machine);
    }
}

#[test]
fn who_asked_with_sysrq_was_short_of_nothing() {
    for constraint in [Constraint::Machine, Constraint::Cpuset] {
        let kill = asked_for(MemoryRequest::SysRq, constraint);
        assert_eq!(kill.shortage, Some(Shortage::Nothing));
        assert!(says(
            &kill.explanation,
            "somebody asked for it with SysRq F"
        ));
        assert!(!says(&kill.explanation, "swap"));
        assert_eq!(kill.advice, [""; 0]);
    }
}

#[test]
fn the_nodes_that_were_full_are_named_where_the_report_does() {
    let report = KernelKill {
        constraint: Some(Constraint::Cpuset),
        nodes: Some(KernelText::from("0-1")),
        ..of_machine()
    };
    let kill = one(&[at(1, kernel(report))], &FACTS);
    assert!(says(
        &kill.explanation,
        "the memory nodes (0-1) that the cpuset of a program allows"
    ));
    assert!(says(&kill.advice, "(it was about 0-1)"));
}

#[test]
fn without_the_first_line_the_reason_is_left_open() {
    let open = "with what was asked for: the reason may be another one";
    let cut = |request| {
        let report = KernelKill {
            request,
            whole: false,
            ..of_machine()
        };
        one(&[at(1, kernel(report))], &FACTS).explanation
    };
    assert!(says(&cut(None), open));
    assert!(!says(&cut(Some(pages(0, None))), open));
    let cgroup = KernelKill {
        whole: false,
        ..of_cgroup("/web", "/web")
    };
    assert!(!says(
        &one(&[at(1, kernel(cgroup))], &FACTS).explanation,
        open
    ));
}
