//! Facts about what is advised, and for whom no command is given.

use super::*;

#[test]
fn what_others_manage_gets_their_own_command() {
    let docker = "/system.slice/docker-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope";
    let kill = one(&[at(1, kernel(of_cgroup(docker, docker)))], &SYSTEMD);
    assert!(says(&kill.advice, "docker update --memory 157286400"));
    assert!(!says(&kill.advice, "memory-enforce"));
}

#[test]
fn a_limit_below_what_we_set_is_raised_and_not_lowered() {
    let mut report = of_cgroup("/system.slice/web.service", "/system.slice/web.service");
    report.memory = report.memory.map(|memory| CounterUse {
        limit: MemoryLimit::Bytes(Bytes::from_mib(32)),
        ..memory
    });
    let kill = one(&[at(1, kernel(report))], &FACTS);
    // The path tells that it is a unit, wherever the log is read.
    assert!(says(&kill.advice, "--target web.service --limit 64M"));
    assert!(!says(&kill.advice, "--high"));
}

#[test]
fn a_path_is_one_word_of_a_shell() {
    let kill = one(&[at(1, kernel(of_cgroup("/a b's", "/a b's")))], &FACTS);
    assert!(says(&kill.advice, r"--target '/a b'\''s'"));
}

#[test]
fn a_name_is_in_a_command_as_its_bytes_or_no_command_is_given() {
    let hostile = "/a\x1b[2J: sudo reboot";
    let kill = one(&[at(1, kernel(of_cgroup(hostile, hostile)))], &FACTS);
    assert!(says(
        &kill.advice,
        r"--target $'/a\033[2J: sudo reboot' --limit"
    ));
    let mut report = of_cgroup("/", "/");
    report.limit_cgroup = CgroupPath::new(b"/a\xff");
    let kill = one(&[at(1, kernel(report))], &FACTS);
    assert!(says(&kill.advice, "not UTF-8"));
    assert!(!says(&kill.advice, "--target"));
    let killed = |name: &[u8]| {
        let mut report = of_machine();
        report.name = Some(KernelText::from(name));
        report.tasks[0].name = KernelText::from(name);
        report.victim_cgroup = CgroupPath::new(b"/");
        one(&[at(1, kernel(report))], &FACTS).advice
    };
    let named = killed(b"-x'\n: sudo ;");
    assert!(says(
        &named,
        r"--target $'name:-x\'\012: sudo ;' --oom-score-adj"
    ));
    for untyped in [&b"a\xff"[..], b"a "] {
        assert!(says(&killed(untyped), "cannot be typed"));
        assert!(!says(&killed(untyped), "--target"));
    }
}

#[test]
fn no_limit_is_advised_where_none_can_be_set() {
    let unlimited = KillFacts {
        has_limits: false,
        ..SYSTEMD
    };
    let unit = "/system.slice/web.service";
    let mut of_version_1 = of_cgroup("/web", "/web");
    of_version_1.memory_and_swap = of_version_1.memory;
    let nested = "/system.slice/web.service/inner";
    for (report, facts) in [
        (of_cgroup("/web", "/web"), &unlimited),
        (of_cgroup(unit, unit), &unlimited),
        (of_cgroup(nested, nested), &unlimited),
        (of_machine(), &unlimited),
        (of_version_1, &FACTS),
    ] {
        let kill = one(&[at(1, kernel(report))], facts);
        assert!(!says(&kill.advice, "--limit"), "{:?}", kill.advice);
        assert!(!says(&kill.advice, "--high"), "{:?}", kill.advice);
        assert!(says(&kill.advice, "cgroup version 2"), "{:?}", kill.advice);
        // systemd knows how, on either version.
        let is_unit = kill.limit_cgroup == path(unit);
        assert_eq!(says(&kill.advice, "MemoryMax="), is_unit);
    }
}

#[test]
fn of_what_is_gone_no_command_is_given() {
    let unit = |name: &str| Target::Unit(name.to_owned());
    let missing = [
        Target::Cgroup(path("/web").unwrap()),
        Target::Cgroup(path("/build").unwrap()),
        Target::Name("web".to_owned()),
        unit("web.service"),
        unit("web.scope"),
    ];
    let facts = KillFacts {
        missing: &missing,
        ..SYSTEMD
    };
    let advice = |report| one(&[at(1, kernel(report))], &facts).advice;
    for own in ["/web", "/system.slice/web.scope"] {
        let [said] = &advice(of_cgroup(own, own))[..] else {
            panic!("{:?}", advice(of_cgroup(own, own)));
        };
        assert!(said.contains("not there now"), "{said}");
    }
    // A service's file stays.
    let of_unit = advice(of_cgroup(
        "/system.slice/web.service",
        "/system.slice/web.service",
    ));
    assert!(says(
        &of_unit,
        "where the unit has a file: systemctl set-property -- web.service"
    ));
    assert!(!says(&of_unit, "--target"));
    let of_machine = advice(of_machine());
    assert!(!says(&of_machine, "--target"), "{of_machine:?}");
    assert!(says(&of_machine, "it has ended"));
    let killed = one(&[at(1, unit_record(UnitEvent::KernelKilled))], &facts);
    assert!(!says(&killed.advice, "--target"));
    // All that may be named is looked for.
    let named = named_targets(
        &[
            at(1, kernel(of_cgroup("/web", "/build"))),
            at(2, unit_record(UnitEvent::KernelKilled)),
        ],
        true,
    );
    for target in &missing[..4] {
        assert!(named.contains(target), "{target:?} of {named:?}");
    }
}
