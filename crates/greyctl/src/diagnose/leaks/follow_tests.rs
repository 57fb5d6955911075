//! What is followed through ends, restarts, execs and reused pids.

use grey_telemetry::process::ProgramLayout;

use super::*;

fn reading(pid: u32, start: u64, amount: u64) -> AnonymousMemory {
    AnonymousMemory {
        id: ProcessId {
            pid,
            start_time_ticks: start,
        },
        program: program("", start),
        anonymous: Bytes(amount),
        shared: None,
    }
}

/// What a process runs; another `stack_start` is another exec.
fn program(name: &str, stack_start: u64) -> Program {
    let layout = ProgramLayout {
        code_start: 1,
        code_end: 2,
        stack_start,
    };
    Program {
        name: KernelText::from(name),
        layout: Some(layout),
    }
}

fn named(name: &str) -> Facts {
    Facts {
        name: KernelText::from(name),
        cgroup: CgroupPath::new(b"/web"),
        command_line: Some(KernelText::from(name)),
        group: (GroupKind::Program, KernelText::from(name)),
        wanted: true,
    }
}

/// Takes one list of readings a second; each process is named after its pid,
/// those above 100 are `web`.
fn followed(ticks: &[&[AnonymousMemory]]) -> Followed {
    let mut followed = Followed::default();
    for (second, readings) in (0..).zip(ticks) {
        followed.take_processes(Duration::from_secs(second), readings, None, |id| {
            Some(match id.pid {
                pid @ ..=100 => named(&format!("p{pid}")),
                _ => named("web"),
            })
        });
    }
    followed
}

fn amounts(trace: &Trace) -> Vec<u64> {
    trace.points().iter().map(|point| point.amount.0).collect()
}

#[test]
fn a_process_that_ends_keeps_what_was_read_of_it() {
    let seen = followed(&[&[reading(7, 1, 10)], &[reading(7, 1, 11)], &[]]);
    assert_eq!(amounts(&seen.subjects[0].trace), [10, 11]);
    assert!(seen.subjects[0].ended);
    assert_eq!(seen.running(), 0);
}

#[test]
fn a_program_that_starts_again_is_the_same_one_in_another_life() {
    let seen = followed(&[&[reading(101, 1, 50)], &[], &[reading(102, 2, 9)]]);
    assert_eq!(seen.subjects.len(), 1);
    let subject = &seen.subjects[0];
    assert_eq!((subject.id.pid, subject.ended), (102, false));
    let lives: Vec<u64> = subject
        .trace
        .points()
        .iter()
        .map(|point| point.life)
        .collect();
    assert_eq!(lives, [0, 1]);
}

/// One process, read once a second, that runs these.
fn running(programs: &[Program]) -> Followed {
    let mut followed = Followed::default();
    for (second, program) in (0..).zip(programs) {
        let reading = AnonymousMemory {
            program: program.clone(),
            ..reading(7, 1, 10 + second)
        };
        followed.take_processes(Duration::from_secs(second), &[reading], None, |_| {
            Some(named(&program.name.to_string()))
        });
    }
    followed
}

fn lives(trace: &Trace) -> Vec<u64> {
    trace.points().iter().map(|point| point.life).collect()
}

#[test]
fn an_exec_is_a_restart_under_the_name_of_what_runs_now() {
    let seen = running(&[program("sh", 1), program("sh", 1), program("indexer", 2)]);
    assert_eq!(seen.subjects.len(), 1);
    let subject = &seen.subjects[0];
    assert_eq!(subject.facts, named("indexer"));
    assert_eq!(lives(&subject.trace), [0, 0, 1]);
    let groups: Vec<String> = seen
        .groups
        .keys()
        .map(|(_, name)| name.to_string())
        .collect();
    assert_eq!(groups, ["indexer", "sh"]);
}

#[test]
fn an_exec_of_the_same_program_is_a_restart_of_its_group_too() {
    let seen = running(&[program("sh", 1), program("sh", 2)]);
    assert_eq!(lives(&seen.subjects[0].trace), [0, 1]);
    let group = &seen.groups[&(GroupKind::Program, KernelText::from("sh"))];
    assert_eq!(lives(&group.trace), [0, 1]);
}

#[test]
fn a_program_that_renames_itself_goes_on_under_its_new_name() {
    let seen = running(&[program("node", 1), program("worker", 1)]);
    let subject = &seen.subjects[0];
    assert_eq!(subject.facts.name, KernelText::from("worker"));
    assert_eq!(lives(&subject.trace), [0, 0]);
}

#[test]
fn a_process_that_becomes_the_program_asked_for_is_its_restart() {
    let mut seen = Followed::default();
    let child = |program| AnonymousMemory {
        program,
        ..reading(8, 2, 5)
    };
    for (second, readings) in [
        (0, vec![reading(101, 1, 50)]),
        (1, vec![child(program("supervisor", 2))]),
        (2, vec![child(program("web", 3))]),
    ] {
        let name = readings[0].program.name.to_string();
        seen.take_processes(Duration::from_secs(second), &readings, None, |id| {
            let is_web = id.pid == 101 || name == "web";
            let wanted = id.pid == 101;
            Some(match is_web {
                true => Facts {
                    wanted,
                    ..named("web")
                },
                false => Facts {
                    wanted,
                    ..named("supervisor")
                },
            })
        });
    }
    assert_eq!(seen.subjects.len(), 1);
    assert_eq!(amounts(&seen.subjects[0].trace), [50, 5]);
    assert_eq!(lives(&seen.subjects[0].trace), [0, 1]);
}

#[test]
fn a_restart_between_two_readings_is_seen() {
    let seen = followed(&[&[reading(101, 1, 50)], &[reading(102, 2, 9)]]);
    assert_eq!(seen.subjects.len(), 1);
    assert_eq!(amounts(&seen.subjects[0].trace), [50, 9]);
}

#[test]
fn a_second_process_of_a_running_program_is_no_restart() {
    let both = [reading(101, 1, 50), reading(102, 2, 9)];
    let seen = followed(&[&both[..1], &both]);
    assert_eq!(seen.subjects.len(), 2);
}

#[test]
fn a_reused_pid_is_another_process() {
    let mut seen = Followed::default();
    for (second, start, name) in [(0, 1, "old"), (1, 2, "new")] {
        let readings = [reading(7, start, 5)];
        seen.take_processes(Duration::from_secs(second), &readings, None, |_| {
            Some(named(name))
        });
    }
    let names: Vec<String> = seen
        .subjects
        .iter()
        .map(|subject| subject.facts.name.to_string())
        .collect();
    assert_eq!(names, ["old", "new"]);
}

#[test]
fn a_group_is_the_sum_and_restarts_when_nobody_is_left() {
    let seen = followed(&[
        &[reading(101, 1, 5), reading(102, 1, 6)],
        &[reading(102, 1, 6), reading(103, 2, 1)],
        &[reading(104, 3, 2)],
    ]);
    let group = &seen.groups[&(GroupKind::Program, KernelText::from("web"))];
    assert_eq!(amounts(&group.trace), [11, 7, 2]);
    assert_eq!(group.processes, 2);
    let lives: Vec<u64> = group
        .trace
        .points()
        .iter()
        .map(|point| point.life)
        .collect();
    assert_eq!(lives, [0, 0, 1]);
}

#[test]
fn who_was_not_asked_for_is_not_followed_and_asked_about_once() {
    let mut seen = Followed::default();
    let mut asked = 0;
    for second in 0..3 {
        seen.take_processes(
            Duration::from_secs(second),
            &[reading(7, 1, 5)],
            None,
            |_| {
                asked += 1;
                Some(Facts {
                    wanted: false,
                    ..named("other")
                })
            },
        );
    }
    assert_eq!((seen.subjects.len(), asked), (0, 1));
}

#[test]
fn a_cgroup_that_was_made_again_is_in_another_life() {
    let mut seen = Followed::default();
    for (second, id) in [(0, 5), (1, 6)] {
        let group = CgroupGrowth {
            path: CgroupPath::root(),
            id: grey_model::CgroupId(id),
            anonymous: Some(Bytes(7)),
            shmem: None,
            slab: Some(Bytes(1)),
            slab_reclaimable: None,
            kernel: None,
            dying: Some(2),
        };
        seen.take_cgroups(Duration::from_secs(second), &[group]);
    }
    let kinds: Vec<GrowthOf> = seen.cgroups.keys().map(|(_, of)| *of).collect();
    let known = [GrowthOf::Anonymous, GrowthOf::Slab, GrowthOf::DyingCgroups];
    assert_eq!(kinds, known);
    for trace in seen.cgroups.values() {
        let lives: Vec<u64> = trace.points().iter().map(|point| point.life).collect();
        assert_eq!(lives, [5, 6]);
    }
}
