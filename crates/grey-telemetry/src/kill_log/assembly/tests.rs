//! Reports that are whole, cut, mixed and in groups.
//!
//! What real kernels print is in `tests/captured_kills.rs`.

use grey_model::{Bytes, MemoryLimit};

use super::*;

mod nobody;

fn assemble(lines: &[(Option<&str>, &str)]) -> Assembled {
    let mut assembly = Assembly::default();
    for (caller, text) in lines {
        assembly.kernel_line(
            LogTime::default(),
            None,
            caller.map(str::as_bytes),
            text.as_bytes(),
        );
    }
    assembly.finish()
}

fn assemble_at<'text>(lines: impl IntoIterator<Item = (LogTime, &'text str)>) -> Assembled {
    let mut assembly = Assembly::default();
    for (time, text) in lines {
        assembly.kernel_line(time, None, None, text.as_bytes());
    }
    assembly.finish()
}

/// Noon of a day, as syslog writes it.
fn noon(day: u8) -> LogTime {
    let line = format!("Nov {day:2} 12:00:00 box kernel: x");
    super::super::line::parse_line(line.as_bytes())
        .unwrap()
        .time
}

fn kills(assembled: &Assembled) -> Vec<&KernelKill> {
    assembled
        .records
        .iter()
        .map(|record| match &record.record {
            KillRecord::Kernel(kill) => &**kill,
            other => panic!("{other:?}"),
        })
        .collect()
}

fn report(cgroup: &str, pid: u32, limit: u64) -> Vec<String> {
    vec![
        format!(
            "asker-{pid} invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0"
        ),
        format!("memory: usage {limit}kB, limit {limit}kB, failcnt 3"),
        format!("Memory cgroup stats for {cgroup}:"),
        "Tasks state (memory values in pages):".to_owned(),
        "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name"
            .to_owned(),
        format!(
            "[{pid:7}]     0 {pid:5}     7000      500    90112        0             0 victim-{pid}"
        ),
        format!(
            "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg={cgroup},task_memcg={cgroup}/in,task=victim-{pid},pid={pid},uid=0"
        ),
        format!(
            "Memory cgroup out of memory: Killed process {pid} (victim-{pid}) total-vm:9kB, anon-rss:{limit}kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:9kB oom_score_adj:0"
        ),
    ]
}

fn from<'a>(caller: Option<&'a str>, lines: &'a [String]) -> Vec<(Option<&'a str>, &'a str)> {
    lines.iter().map(|line| (caller, line.as_str())).collect()
}

#[test]
fn the_lines_of_one_report_are_one_kill() {
    let lines = report("/web", 7, 100);
    let assembled = assemble(&from(None, &lines));
    let kills = kills(&assembled);
    assert_eq!(kills.len(), 1);
    let kill = kills[0];
    assert!(kill.whole);
    assert_eq!(kill.pid, Some(7));
    assert_eq!(kill.asked_by, Some(KernelText::from("asker-7")));
    assert_eq!(kill.limit_cgroup, CgroupPath::new(b"/web"));
    assert_eq!(kill.victim_cgroup, CgroupPath::new(b"/web/in"));
    let limit = MemoryLimit::Bytes(Bytes::from_kib(100));
    assert_eq!(kill.memory.map(|memory| memory.limit), Some(limit));
    assert_eq!(kill.tasks.len(), 1);
    assert_eq!(kill.anon, Some(Bytes::from_kib(100)));
}

#[test]
fn two_reports_that_are_printed_at_once_are_not_mixed() {
    let (one, two) = (report("/one", 11, 100), report("/two", 22, 200));
    let mut mixed = Vec::new();
    for (one, two) in one.iter().zip(&two) {
        mixed.push((Some("T1"), one.as_str()));
        mixed.push((Some("T2"), two.as_str()));
    }
    let assembled = assemble(&mixed);
    for (kill, (pid, cgroup, kib)) in kills(&assembled)
        .into_iter()
        .zip([(11, "/one", 100), (22, "/two", 200)])
    {
        assert_eq!(kill.pid, Some(pid));
        assert_eq!(kill.limit_cgroup, CgroupPath::new(cgroup.as_bytes()));
        assert_eq!(
            kill.memory.map(|memory| memory.usage),
            Some(Bytes::from_kib(kib))
        );
        assert_eq!(kill.tasks[0].pid, pid);
    }
    assert_eq!(assembled.records.len(), 2);
}

#[test]
fn without_a_caller_no_numbers_go_to_another_cgroups_kill() {
    let (one, two) = (report("/one", 11, 100), report("/two", 22, 200));
    let mut mixed = Vec::new();
    for (one, two) in one.iter().zip(&two) {
        mixed.push((None, one.as_str()));
        mixed.push((None, two.as_str()));
    }
    let assembled = assemble(&mixed);
    for kill in kills(&assembled) {
        let own = if kill.pid == Some(11) { 100 } else { 200 };
        let memory = kill.memory.map(|memory| memory.usage);
        assert!(
            memory.is_none() || memory == Some(Bytes::from_kib(own)),
            "{kill:?}"
        );
        let path = if kill.pid == Some(11) { "/one" } else { "/two" };
        assert!(
            kill.limit_cgroup.is_none() || kill.limit_cgroup == CgroupPath::new(path.as_bytes()),
            "{kill:?}"
        );
    }
}

#[test]
fn numbers_of_another_cgroup_than_the_victims_are_thrown_away() {
    let (one, two) = (report("/one", 11, 100), report("/two", 22, 200));
    let lines = [&one[..3], &two[1..6], &one[6..]].concat();
    let assembled = assemble(&from(None, &lines));
    let kill = kills(&assembled)[0];
    assert_eq!(kill.pid, Some(11));
    assert_eq!(kill.limit_cgroup, CgroupPath::new(b"/one"));
    assert_eq!((kill.memory, kill.tasks.len()), (None, 0));
    assert!(!kill.whole);
}

#[test]
fn a_report_without_its_beginning_gives_what_it_has() {
    let lines = report("/web", 7, 100);
    for first in 1..lines.len() {
        let assembled = assemble(&from(None, &lines[first..]));
        let kills = kills(&assembled);
        assert_eq!(kills.len(), 1, "from line {first}");
        assert_eq!(kills[0].pid, Some(7));
        assert_eq!(kills[0].constraint, Some(Constraint::Cgroup));
        assert!(!kills[0].whole);
        assert_eq!(kills[0].memory.is_some(), first <= 1);
        assert_eq!(kills[0].limit_cgroup.is_some(), first <= 6);
    }
}

#[test]
fn a_report_without_its_end_is_a_kill_once_its_victim_is_named() {
    let lines = report("/web", 7, 100);
    let assembled = assemble(&from(None, &lines[..7]));
    assert_eq!(kills(&assembled)[0].pid, Some(7));
    assert_eq!(kills(&assembled)[0].anon, None);
    let assembled = assemble(&from(None, &lines[..6]));
    assert_eq!(assembled.records, []);
    assert_eq!(assembled.unfinished, 1);
}

#[test]
fn a_group_is_killed_as_one_and_its_first_victim_counts_once() {
    let mut lines = report("/web", 7, 100);
    let again = lines[7].clone();
    lines.push("Tasks in /web are going to be killed due to memory.oom.group set".to_owned());
    lines.push(again.clone());
    lines.push(again.replace('7', "8"));
    let assembled = assemble(&from(None, &lines));
    let pids: Vec<_> = kills(&assembled).iter().map(|kill| kill.pid).collect();
    assert_eq!(pids, [Some(7), Some(8)]);
    assert_eq!(
        (kills(&assembled)[0].told, kills(&assembled)[1].told),
        (2, 1)
    );
    for kill in kills(&assembled) {
        assert_eq!(kill.killed_group, CgroupPath::new(b"/web"));
        assert_eq!(kill.limit_cgroup, CgroupPath::new(b"/web"));
    }
}

#[test]
fn a_kill_long_after_a_group_is_not_of_the_group() {
    let mut lines = report("/web", 7, 100);
    lines.push("Tasks in /web are going to be killed due to memory.oom.group set".to_owned());
    lines.push(lines[7].replace('7', "8"));
    lines.push(lines[7].replace('7', "9"));
    let assembled = assemble_at(lines.iter().enumerate().map(|(number, line)| {
        let seconds = if number + 1 == lines.len() { 900 } else { 1 };
        let time = LogTime {
            since_boot: Some(Duration::from_secs(seconds)),
            ..LogTime::default()
        };
        (time, line.as_str())
    }));
    let groups: Vec<_> = kills(&assembled)
        .iter()
        .map(|kill| kill.killed_group.is_some())
        .collect();
    assert_eq!(groups, [true, true, false]);
}

#[test]
fn kills_of_another_day_or_kind_are_others_and_the_same_line_again_is_not() {
    // What `grep` leaves: the victims' lines alone.
    let killed = |who: &str| format!("{who}: Killed process 7 (x) total-vm:1kB, anon-rss:1kB");
    let of_machine = killed("Out of memory");
    let of_cgroup = killed("Memory cgroup out of memory");
    let count = |lines: &[(u8, &String)]| {
        let lines = lines.iter().map(|(day, line)| (noon(*day), line.as_str()));
        assemble_at(lines).records.len()
    };
    assert_eq!(count(&[(20, &of_machine), (21, &of_machine)]), 2);
    assert_eq!(count(&[(20, &of_machine), (20, &of_cgroup)]), 2);
    assert_eq!(count(&[(20, &of_cgroup), (20, &of_cgroup)]), 1);
    let reaped = "oom_reaper: reaped process 7 (x), now anon-rss:0kB".to_owned();
    assert_eq!(count(&[(20, &of_machine), (20, &reaped)]), 1);
    assert_eq!(count(&[(20, &of_machine), (21, &reaped)]), 2);
}

#[test]
fn a_report_of_another_day_gives_a_kill_nothing() {
    let lines = report("/web", 7, 100);
    // Of the first day the victim's line is gone, of the second all but that.
    for first in 1..lines.len() - 1 {
        let (before, last) = (&lines[..first], &lines[lines.len() - 1]);
        let before = before.iter().map(|line| (noon(20), line.as_str()));
        let assembled = assemble_at(before.chain([(noon(21), last.as_str())]));
        let kills = kills(&assembled);
        let kill = kills.iter().find(|kill| kill.anon.is_some()).unwrap();
        assert_eq!((kill.memory, &kill.limit_cgroup), (None, &None), "{first}");
        assert!(kill.tasks.is_empty() && kill.asked_by.is_none(), "{first}");
        // The other one still has its own victim, once that is named.
        assert_eq!(kills.len(), if first < 7 { 1 } else { 2 });
    }
    // Nor do the first lines of one day and the others of the next.
    let split = lines.iter().enumerate().map(|(number, line)| {
        let day = if number < 3 { 20 } else { 21 };
        (noon(day), line.as_str())
    });
    let assembled = assemble_at(split);
    let kill = kills(&assembled)[0];
    assert_eq!((kill.memory, kill.whole), (None, false));
    assert_eq!(assembled.unfinished, 1);
}

#[test]
fn a_kill_whose_report_was_left_out_has_no_other_ones_numbers() {
    let mut lines = report("/web", 7, 100);
    lines.push(
        "Memory cgroup out of memory: Killed process 9 (x) total-vm:1kB, anon-rss:1kB".to_owned(),
    );
    lines.push("oom_kill_process: 3 callbacks suppressed".to_owned());
    let assembled = assemble(&from(None, &lines));
    let kills = kills(&assembled);
    assert_eq!(kills[1].pid, Some(9));
    assert_eq!(kills[1].constraint, Some(Constraint::Cgroup));
    assert_eq!((kills[1].memory, &kills[1].limit_cgroup), (None, &None));
    assert_eq!(assembled.suppressed, 3);
}

#[test]
fn somebody_who_was_reaped_was_killed() {
    let reaped = "oom_reaper: reaped process 7 (x), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB";
    let assembled = assemble(&[(None, reaped)]);
    assert_eq!(kills(&assembled)[0].pid, Some(7));
    assert_eq!(kills(&assembled)[0].constraint, None);
    let mut lines = report("/web", 7, 100);
    lines.push(reaped.to_owned());
    let mut callers = from(Some("T7"), &lines);
    callers[8].0 = Some("T40");
    assert_eq!(assemble(&callers).records.len(), 1);
    // By then the next report may have begun.
    lines.insert(
        8,
        "x invoked oom-killer: gfp_mask=0, order=0, oom_score_adj=0".to_owned(),
    );
    assert_eq!(assemble(&from(Some("T7"), &lines)).records.len(), 1);
}

#[test]
fn a_victim_that_was_exiting_is_no_kill() {
    let mut lines = report("/web", 7, 100);
    lines[7] = "OOM victim 7 (victim-7) is already exiting. Skip killing the task".to_owned();
    assert_eq!(assemble(&from(None, &lines)).records, []);
}

#[test]
fn nothing_grows_without_a_bound() {
    let mut assembly = Assembly::default();
    let mut line = |caller: usize, text: &str| {
        let caller = format!("T{caller}");
        assembly.kernel_line(
            LogTime::default(),
            None,
            Some(caller.as_bytes()),
            text.as_bytes(),
        );
    };
    for caller in 0..MOST_OPEN * 4 {
        line(
            caller,
            "x invoked oom-killer: gfp_mask=0, order=0, oom_score_adj=0",
        );
    }
    line(
        1000,
        "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name",
    );
    for pid in 0..MOST_TASKS * 4 {
        line(
            1000,
            &format!("[{pid:7}] 0 {pid} 7000 {pid} 90112 0 0 task"),
        );
    }
    for pid in 0..MOST_RECORDS + 10 {
        line(
            1000,
            &format!("Out of memory: Killed process {pid} (x) total-vm:1kB"),
        );
    }
    assert!(assembly.open.len() <= MOST_OPEN);
    let assembled = assembly.finish();
    assert_eq!(assembled.records.len(), MOST_RECORDS);
    assert_eq!(assembled.dropped, 10);
    let KillRecord::Kernel(first) = &assembled.records[0].record else {
        panic!("no kill");
    };
    assert_eq!(first.pid, Some(10));
}

#[test]
fn the_largest_of_the_table_are_kept() {
    let mut lines = report("/web", 7, 100);
    for pid in 100..100 + MOST_TASKS {
        lines.insert(5, format!("[{pid:7}] 0 {pid} 7000 {pid} 90112 0 0 task"));
    }
    let assembled = assemble(&from(None, &lines));
    let kill = kills(&assembled)[0];
    assert_eq!(kill.tasks.len(), MOST_TASKS);
    assert_eq!(kill.tasks_left_out, 1);
    assert_eq!(kill.tasks[0].pid, 7);
    assert!(kill.tasks.iter().all(|task| task.pid != 100));
}

fn machine_kill(pid: u32) -> String {
    format!("Out of memory: Killed process {pid} (x) total-vm:8kB, anon-rss:4kB, file-rss:0kB")
}

#[test]
fn who_asks_by_hand_gets_the_next_kill_of_the_machine_and_no_other() {
    const ASKED: &str = "sysrq: Manual OOM execution";
    let asked = |lines: &[&str]| -> Vec<Option<MemoryRequest>> {
        let lines: Vec<_> = lines.iter().map(|line| (None, *line)).collect();
        let assembled = assemble(&lines);
        kills(&assembled).iter().map(|kill| kill.request).collect()
    };
    let (first, second) = (machine_kill(7), machine_kill(8));
    let by_hand = Some(MemoryRequest::SysRq);
    // The kernel leaves the first lines of many reports out.
    assert_eq!(asked(&[ASKED, &first, &second]), [by_hand, None]);
    let ignored = "sysrq: OOM request ignored. No task eligible";
    assert_eq!(asked(&[ASKED, ignored, &first]), [None]);
    let group = "Memory cgroup out of memory: Killed process 9 (x) total-vm:8kB";
    assert_eq!(asked(&[ASKED, group, &first]), [None, by_hand]);
    // What says itself what it was for is not the answer.
    let other = "y invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=2, oom_score_adj=0";
    let pages = Some(MemoryRequest::Pages {
        order: 2,
        zone: None,
    });
    assert_eq!(asked(&[ASKED, other, &first, &second]), [pages, by_hand]);
    let late = assemble_at([(noon(20), ASKED), (noon(21), first.as_str())]);
    assert_eq!(kills(&late)[0].request, None);
}
