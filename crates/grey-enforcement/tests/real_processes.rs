//! The crate against the running kernel: real children, real KSM files, a real
//! cgroup of version 2 where one is mounted, real disposable processes and
//! keepers.
//!
//! Touches only processes that it started and puts every file back. What this
//! machine cannot show is skipped with its reason.
//!
//! This program is its own helper: started with one of the words of
//! [`play_a_part`], it plays that part instead of testing.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test: it may panic, and it talks to its own helpers and to people"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use grey_enforcement::{
    Actor, Applied, ApplyContext, Deadlines, DisposableProgram, Enforcer, EnforcerOptions, Outcome,
    Progress, RollbackOutcome, RollbackReport, RollbackSelection,
};
use grey_fake_kernel::Ended;
use grey_model::{
    CgroupPath, Change, Knob, KnobValue, KsmFile, OneShot, Plan, PlanStep, ProcessId, Risk, Verdict,
};
use grey_telemetry::Roots;
use libtest_mimic::{Arguments, Failed, Trial};

/// The longest that a state is waited for.
const BOUND: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if let Some(code) = play_a_part(&words[1..]) {
        return code;
    }
    let arguments = Arguments::from_args();
    let tests: Vec<Trial> = TESTS
        .iter()
        .map(|(name, test)| {
            Trial::test(*name, move || match test() {
                Ok(()) => Ok(()),
                Err(Stop::Skip(reason)) => {
                    Ended::Skipped { reason }.tell(name);
                    Ok(())
                }
                Err(Stop::Fail(failed)) => Err(failed),
            })
        })
        .collect();
    libtest_mimic::run(&arguments, tests).exit_code()
}

enum Stop {
    Skip(&'static str),
    Fail(Failed),
}

impl<T: std::fmt::Display> From<T> for Stop {
    fn from(error: T) -> Self {
        Self::Fail(Failed::from(error))
    }
}

type Done = Result<(), Stop>;

/// A test's name, which is a fact, and the test.
type Test = (&'static str, fn() -> Done);

const TESTS: &[Test] = &[
    (
        "settings_of_a_process_are_set_and_restored",
        settings_of_a_process,
    ),
    ("ksm_is_switched_on_and_off_again", ksm_on_and_off),
    (
        "kill_9_at_every_step_leaves_a_plan_that_can_be_undone",
        kill_at_every_step,
    ),
    (
        "a_blocking_write_is_done_by_a_disposable_process",
        disposable_write,
    ),
    (
        "a_disposable_process_that_never_answers_is_given_up",
        never_answers,
    ),
    (
        "a_disposable_process_that_reads_no_orders_is_given_up",
        reads_no_orders,
    ),
    ("a_disposable_process_that_dies_is_a_failure", dies_at_once),
    (
        "a_disposable_process_dies_with_its_parent",
        dies_with_parent,
    ),
    (
        "a_disposable_process_obeys_its_parent_only",
        obeys_parent_only,
    ),
    ("paging_out_reports_what_was_freed", page_out),
    ("a_lease_ends_in_restoration", lease_expires),
    (
        "a_lease_holds_when_its_giver_was_killed_in_the_middle",
        lease_of_a_killed_giver,
    ),
    ("two_rollbacks_at_once_restore_once", two_rollbacks),
    (
        "the_journal_stays_locked_while_a_write_is_under_way",
        locked_while_writing,
    ),
    (
        "a_cgroup_is_made_filled_emptied_and_removed",
        cgroup_made_and_removed,
    ),
    (
        "a_cgroup_with_others_below_is_left_until_it_is_free",
        cgroup_with_children,
    ),
    (
        "a_process_returns_to_the_nearest_cgroup_that_exists",
        nearest_cgroup,
    ),
];

/// The parts that this program plays for its tests.
fn play_a_part(words: &[String]) -> Option<ExitCode> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["kernel-write"] => Some(grey_enforcement::disposable::child_main()),
        ["lease-keeper", orders] => Some(grey_enforcement::keeper_main(orders)),
        ["sleeper"] => {
            // Until the tests end, and at the latest when they close the pipe.
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            Some(ExitCode::SUCCESS)
        }
        ["hog"] => {
            let mut memory = vec![0u8; 64 << 20];
            for (index, byte) in memory.iter_mut().enumerate().step_by(4096) {
                *byte = u8::try_from(index % 251).unwrap();
            }
            println!("ready");
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            Some(ExitCode::from(memory[4096]))
        }
        ["never-answers"] => loop {
            std::thread::park();
        },
        ["dies-at-once"] => Some(ExitCode::FAILURE),
        ["parent-of-a-child"] => {
            // Its input is ours, and the test keeps that open: only our death
            // can end it.
            let mut child = Command::new(ourselves())
                .arg("kernel-write")
                .spawn()
                .unwrap();
            println!("{}", child.id());
            let _ = child.wait();
            Some(ExitCode::SUCCESS)
        }
        ["apply-and-block", state] => {
            let mut options = options(Path::new(state));
            options.disposable.argument = "never-answers".into();
            let steps = plan(vec![blocking_step()]);
            let mut enforcer = Enforcer::open(options).unwrap();
            let _ = enforcer.apply(&steps, &quiet(), &mut |_| {});
            Some(ExitCode::SUCCESS)
        }
        ["apply-and-die", state, pid, start, place, lease] => {
            let process = ProcessId {
                pid: pid.parse().unwrap(),
                start_time_ticks: start.parse().unwrap(),
            };
            let lease = lease.parse().ok().map(Duration::from_secs);
            apply_and_die(Path::new(state), process, place.parse().unwrap(), lease);
            Some(ExitCode::SUCCESS)
        }
        _ => None,
    }
}

fn ourselves() -> PathBuf {
    std::env::current_exe().unwrap()
}

/// A child of ours, ended with the test.
struct Sleeper {
    child: Child,
    id: ProcessId,
}

impl Sleeper {
    fn start(part: &str) -> Self {
        let mut child = Command::new(ourselves())
            .arg(part)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        if part == "hog" {
            let stdout = child.stdout.take().unwrap();
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).unwrap();
        }
        let id = identify(child.id());
        Self { child, id }
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.id.pid)).unwrap()
    }

    fn oom(&self) -> String {
        self.file("oom_score_adj").trim().to_owned()
    }

    fn data_limit(&self) -> String {
        let limits = self.file("limits");
        let row = limits
            .lines()
            .find(|line| line.starts_with("Max data size"))
            .unwrap();
        row.to_owned()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn identify(pid: u32) -> ProcessId {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit_once(") ").unwrap().1;
    ProcessId {
        pid,
        start_time_ticks: fields.split(' ').nth(19).unwrap().parse().unwrap(),
    }
}

fn options(state: &Path) -> EnforcerOptions {
    EnforcerOptions {
        roots: Roots {
            // As on a machine without systemd: leases are kept by a process.
            systemd: "/nonexistent".into(),
            ..Roots::default()
        },
        state_dir: state.to_owned(),
        actor: Actor {
            user: "tester".to_owned(),
            program: "real_processes".to_owned(),
            pid: std::process::id(),
        },
        disposable: DisposableProgram {
            executable: ourselves(),
            argument: "kernel-write".into(),
        },
        keeper_argument: "lease-keeper".into(),
        deadlines: Deadlines::default(),
    }
}

fn quiet() -> ApplyContext {
    ApplyContext {
        reason: "a test".to_owned(),
        observe: Duration::ZERO,
        ..ApplyContext::default()
    }
}

fn state_dir() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn step(knob: Knob, before: Option<&str>, after: &str) -> PlanStep {
    let value = |text: &str| KnobValue(text.to_owned());
    PlanStep {
        action: "test".to_owned(),
        change: Change::Set {
            knob,
            before: before.map(value),
            after: Some(value(after)),
        },
        predicted: None,
        risk: Risk::Low,
        reason: "a test".to_owned(),
        undo: "put back".to_owned(),
        guards: Vec::new(),
        may_block: false,
    }
}

fn plan(steps: Vec<PlanStep>) -> Plan {
    Plan {
        steps,
        warnings: Vec::new(),
    }
}

fn process_plan(process: ProcessId, oom: &str) -> Plan {
    plan(vec![
        step(Knob::OomScoreAdj { process }, Some(oom), "701"),
        step(
            Knob::RlimitData { process },
            Some("unlimited:unlimited"),
            "4294967296:unlimited",
        ),
        step(Knob::OomScoreAdj { process }, Some("701"), "702"),
    ])
}

fn apply(state: &Path, plan: &Plan) -> Result<Applied, Stop> {
    let mut enforcer = Enforcer::open(options(state))?;
    Ok(enforcer.apply(plan, &quiet(), &mut |_| {})?)
}

fn roll_back(state: &Path) -> Result<RollbackReport, Stop> {
    let mut enforcer = Enforcer::open(options(state))?;
    Ok(enforcer.rollback(&RollbackSelection::All, false)?)
}

fn ensure(holds: bool, what: impl std::fmt::Debug) -> Done {
    if holds {
        return Ok(());
    }
    Err(Stop::Fail(Failed::from(format!("{what:#?}"))))
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) -> Done {
    let start = Instant::now();
    while !holds() {
        ensure(start.elapsed() < BOUND, what)?;
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Settings that only root may change are tested as root.
fn need_root() -> Done {
    if rustix::process::geteuid().is_root() {
        Ok(())
    } else {
        Err(Stop::Skip("needs root"))
    }
}

/// A process whose limit is not the default cannot show the tests' plan.
fn fresh_sleeper() -> Result<(Sleeper, String, String), Stop> {
    let sleeper = Sleeper::start("sleeper");
    let limit = sleeper.data_limit();
    if limit.matches("unlimited").count() != 2 {
        return Err(Stop::Skip("RLIMIT_DATA is limited here"));
    }
    let oom = sleeper.oom();
    if oom.parse::<i32>()? > 700 {
        return Err(Stop::Skip("oom_score_adj is high here already"));
    }
    Ok((sleeper, oom, limit))
}

fn settings_of_a_process() -> Done {
    need_root()?;
    let (sleeper, oom, limit) = fresh_sleeper()?;
    let state = state_dir();
    let applied = apply(state.path(), &process_plan(sleeper.id, &oom))?;
    ensure(applied.outcome == Outcome::Complete, &applied)?;
    ensure(sleeper.oom() == "702", sleeper.oom())?;
    ensure(sleeper.data_limit().contains("4294967296"), "no limit")?;
    let report = roll_back(state.path())?;
    ensure(report.items.len() == 3, &report)?;
    ensure(sleeper.oom() == oom, sleeper.oom())?;
    ensure(sleeper.data_limit() == limit, sleeper.data_limit())?;
    ensure(roll_back(state.path())?.items.is_empty(), "twice")
}

/// KSM's files, put back whatever happens.
struct Ksm {
    before: Vec<(&'static str, String)>,
}

impl Ksm {
    const DIRECTORY: &'static str = "/sys/kernel/mm/ksm";
    const FILES: [&'static str; 3] = ["run", "pages_to_scan", "sleep_millisecs"];

    fn take() -> Result<Self, Stop> {
        need_root()?;
        let mut before = Vec::new();
        for file in Self::FILES {
            let Ok(text) = fs::read_to_string(Path::new(Self::DIRECTORY).join(file)) else {
                return Err(Stop::Skip("this kernel has no KSM"));
            };
            before.push((file, text));
        }
        let advisor = fs::read_to_string(Path::new(Self::DIRECTORY).join("advisor_mode"));
        if advisor.is_ok_and(|text| !text.contains("[none]")) {
            return Err(Stop::Skip("KSM's advisor runs"));
        }
        if Self::all()[0].1 != "0\n" {
            return Err(Stop::Skip("KSM runs already"));
        }
        Ok(Self { before })
    }

    fn all() -> Vec<(&'static str, String)> {
        Self::FILES
            .iter()
            .map(|&file| {
                let path = Path::new(Self::DIRECTORY).join(file);
                (file, fs::read_to_string(path).unwrap())
            })
            .collect()
    }

    fn value(&self, file: &str) -> &str {
        let found = self.before.iter().find(|(name, _)| *name == file);
        found.unwrap().1.trim()
    }
}

impl Drop for Ksm {
    fn drop(&mut self) {
        for (file, text) in &self.before {
            let _ = fs::write(Path::new(Self::DIRECTORY).join(file), text);
        }
    }
}

/// The tests of KSM share its files.
static KSM: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn ksm_on_and_off() -> Done {
    let _alone = KSM.lock();
    let ksm = Ksm::take()?;
    let state = state_dir();
    let set = |file, name: &str, after| {
        let before = ksm.value(name).to_owned();
        step(Knob::Ksm { file }, Some(&before), after)
    };
    let steps = vec![
        set(KsmFile::PagesToScan, "pages_to_scan", "1234"),
        set(KsmFile::SleepMillisecs, "sleep_millisecs", "4321"),
        set(KsmFile::Run, "run", "1"),
    ];
    let applied = apply(state.path(), &plan(steps))?;
    ensure(applied.outcome == Outcome::Complete, &applied)?;
    let now: Vec<String> = Ksm::all().into_iter().map(|(_, text)| text).collect();
    ensure(now == ["1\n", "1234\n", "4321\n"], &now)?;
    let report = roll_back(state.path())?;
    ensure(
        report
            .items
            .iter()
            .all(|item| item.outcome == RollbackOutcome::Restored),
        &report,
    )?;
    ensure(Ksm::all() == ksm.before, Ksm::all())
}

fn disposable_write() -> Done {
    let _alone = KSM.lock();
    let ksm = Ksm::take()?;
    let state = state_dir();
    let knob = Knob::Ksm {
        file: KsmFile::SleepMillisecs,
    };
    let mut blocking = step(knob, Some(ksm.value("sleep_millisecs")), "4321");
    blocking.may_block = true;
    let applied = apply(state.path(), &plan(vec![blocking.clone()]))?;
    ensure(applied.outcome == Outcome::Complete, &applied)?;
    ensure(Ksm::all()[2].1 == "4321\n", Ksm::all())?;
    roll_back(state.path())?;
    // What the kernel says of a bad value reaches the parent.
    if let Change::Set { after, .. } = &mut blocking.change {
        *after = Some(KnobValue("not a number".to_owned()));
    }
    let applied = apply(state.path(), &plan(vec![blocking]))?;
    ensure(applied.outcome == Outcome::Failed, &applied)?;
    let detail = &applied.effects[0].detail;
    ensure(detail.contains("Invalid argument"), detail)?;
    ensure(Ksm::all() == ksm.before, Ksm::all())
}

/// Applies the tests' plan and is killed at a place in it: steps begin at even
/// places and end at odd ones.
fn apply_and_die(state: &Path, process: ProcessId, place: usize, lease: Option<Duration>) {
    let oom = fs::read_to_string(format!("/proc/{}/oom_score_adj", process.pid)).unwrap();
    let context = ApplyContext { lease, ..quiet() };
    let mut enforcer = Enforcer::open(options(state)).unwrap();
    let mut die = |progress: Progress<'_>| {
        let now = match progress {
            Progress::StepStarted { index, .. } => 2 * index,
            Progress::StepDone { index, .. } => 2 * index + 1,
            _ => return,
        };
        if now == place {
            let us = rustix::process::getpid();
            rustix::process::kill_process(us, rustix::process::Signal::KILL).unwrap();
        }
    };
    enforcer
        .apply(&process_plan(process, oom.trim()), &context, &mut die)
        .unwrap();
}

fn start_and_let_die(
    state: &Path,
    process: ProcessId,
    place: usize,
    lease: &str,
) -> Result<(), Stop> {
    let status = Command::new(ourselves())
        .arg("apply-and-die")
        .arg(state)
        .args([
            process.pid.to_string(),
            process.start_time_ticks.to_string(),
            place.to_string(),
            lease.to_owned(),
        ])
        .status()?;
    ensure(!status.success(), "it was not killed")
}

fn kill_at_every_step() -> Done {
    need_root()?;
    for place in 0..6 {
        let (sleeper, oom, limit) = fresh_sleeper()?;
        let state = state_dir();
        start_and_let_die(state.path(), sleeper.id, place, "-")?;
        let changed = sleeper.oom() != oom;
        ensure(changed == (place >= 1), format!("place {place}"))?;
        roll_back(state.path())?;
        ensure(sleeper.oom() == oom, format!("place {place}"))?;
        ensure(sleeper.data_limit() == limit, format!("place {place}"))?;
    }
    Ok(())
}

/// Applies a setting through a disposable process that plays another part.
/// The value stays what it was, whatever the part does.
fn with_part(part: &str, deadline: Duration) -> Result<Applied, Stop> {
    let _alone = KSM.lock();
    let ksm = Ksm::take()?;
    let state = state_dir();
    let mut options = options(state.path());
    options.disposable.argument = part.into();
    options.deadlines.write = deadline;
    let knob = Knob::Ksm {
        file: KsmFile::SleepMillisecs,
    };
    let mut blocking = step(knob, Some(ksm.value("sleep_millisecs")), "4321");
    blocking.may_block = true;
    let applied = Enforcer::open(options)?.apply(&plan(vec![blocking]), &quiet(), &mut |_| {})?;
    ensure(Ksm::all() == ksm.before, Ksm::all())?;
    Ok(applied)
}

/// A step that runs in a disposable process.
fn blocking_step() -> PlanStep {
    let before = fs::read_to_string("/sys/kernel/mm/ksm/sleep_millisecs").unwrap();
    let knob = Knob::Ksm {
        file: KsmFile::SleepMillisecs,
    };
    PlanStep {
        may_block: true,
        ..step(knob, Some(before.trim()), "4321")
    }
}

fn locked_while_writing() -> Done {
    let _alone = KSM.lock();
    let ksm = Ksm::take()?;
    let state = state_dir();
    let mut applier = Command::new(ourselves())
        .arg("apply-and-block")
        .arg(state.path())
        .spawn()?;
    let pid = applier.id();
    let children = format!("/proc/{pid}/task/{pid}/children");
    let mut writer = None;
    wait_until("no disposable process was started", || {
        let text = fs::read_to_string(&children).unwrap_or_default();
        let found = text.split_whitespace().find_map(|word| word.parse().ok());
        // It is one of ours once it has begun to be another program.
        writer = found.filter(|child: &i32| {
            fs::read(format!("/proc/{child}/cmdline"))
                .is_ok_and(|words| words.ends_with(b"never-answers\0"))
        });
        writer.is_some()
    })?;
    applier.kill()?;
    applier.wait()?;
    let mut hasty = options(state.path());
    hasty.deadlines.lock = Duration::ZERO;
    let refused = Enforcer::open(hasty)?.rollback(&RollbackSelection::All, false);
    ensure(refused.is_err(), &refused)?;
    let writer = writer.and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(writer.unwrap(), rustix::process::Signal::KILL)?;
    let report = roll_back(state.path())?;
    let outcome = &report.items[0].outcome;
    ensure(*outcome == RollbackOutcome::AlreadyRestored, &report)?;
    ensure(Ksm::all() == ksm.before, Ksm::all())
}

fn never_answers() -> Done {
    let applied = with_part("never-answers", Duration::from_millis(50))?;
    ensure(applied.outcome == Outcome::TimedOut, &applied)?;
    let effect = &applied.effects[0];
    ensure(effect.verdict == Verdict::TimedOut, effect)?;
    ensure(effect.detail.contains("interrupted"), effect)
}

fn dies_at_once() -> Done {
    let applied = with_part("dies-at-once", Duration::from_secs(30))?;
    ensure(applied.outcome == Outcome::Failed, &applied)?;
    let detail = &applied.effects[0].detail;
    ensure(detail.contains("without an answer"), detail)
}

fn reads_no_orders() -> Done {
    let sleeper = Sleeper::start("sleeper");
    let state = state_dir();
    let mut options = options(state.path());
    options.disposable.argument = "never-answers".into();
    options.deadlines.page_out = Duration::from_millis(50);
    // More than a pipe holds.
    let processes = vec![sleeper.id; 4096];
    let shot = Change::Once {
        shot: OneShot::PageOut { processes },
    };
    let steps = vec![PlanStep {
        change: shot,
        ..step(
            Knob::OomScoreAdj {
                process: sleeper.id,
            },
            None,
            "0",
        )
    }];
    let applied = Enforcer::open(options)?.apply(&plan(steps), &quiet(), &mut |_| {})?;
    ensure(applied.outcome == Outcome::TimedOut, &applied)
}

fn dies_with_parent() -> Done {
    let mut parent = Command::new(ourselves())
        .arg("parent-of-a-child")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(parent.stdout.take().unwrap()).read_line(&mut line)?;
    let child = identify(line.trim().parse()?);
    let status = format!("/proc/{}/status", child.pid);
    // It has tied itself to its parent when it waits for its orders.
    wait_until("the child never waited for orders", || {
        let wchan = fs::read_to_string(format!("/proc/{}/stat", child.pid)).unwrap_or_default();
        wchan.contains(") S ")
    })?;
    let _orders = parent.stdin.take();
    parent.kill()?;
    parent.wait()?;
    wait_until("the child outlived its parent", || {
        fs::read_to_string(&status).map_or(true, |text| text.contains("State:\tZ"))
    })
}

fn obeys_parent_only() -> Done {
    need_root()?;
    let (sleeper, oom, _) = fresh_sleeper()?;
    let roots = r#"{"procfs":"/proc","sysfs":"/sys","cgroupfs":"/sys/fs/cgroup","systemd":"/x"}"#;
    let orders = |parent: u32| {
        let knob = serde_json::to_string(&Knob::OomScoreAdj {
            process: sleeper.id,
        });
        format!(
            "{{\"roots\":{roots},\"parent\":{parent},\"deadline_milliseconds\":1000,\
             \"job\":{{\"job\":\"set_knob\",\"knob\":{},\"value\":\"650\"}}}}\n",
            knob.unwrap()
        )
    };
    let run = |orders: &str| -> Result<String, Stop> {
        let mut child = Command::new(ourselves())
            .arg("kernel-write")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        child.stdin.take().unwrap().write_all(orders.as_bytes())?;
        Ok(String::from_utf8(child.wait_with_output()?.stdout)?)
    };
    ensure(run(&orders(1))?.is_empty(), "it answered a stranger")?;
    ensure(sleeper.oom() == oom, "it obeyed a stranger")?;
    let nonsense = run("{\"nonsense\":1}\n")?;
    ensure(nonsense.contains("failed to understand"), nonsense)?;
    let answer = run(&orders(std::process::id()))?;
    ensure(answer.contains("\"done\""), &answer)?;
    ensure(sleeper.oom() == "650", "it did not obey")
}

fn page_out() -> Done {
    need_root()?;
    let hog = Sleeper::start("hog");
    let state = state_dir();
    let gone = ProcessId {
        start_time_ticks: hog.id.start_time_ticks + 1,
        ..hog.id
    };
    let shot = Change::Once {
        shot: OneShot::PageOut {
            processes: vec![hog.id, gone],
        },
    };
    let steps = vec![PlanStep {
        change: shot,
        ..step(Knob::OomScoreAdj { process: hog.id }, None, "0")
    }];
    let applied = apply(state.path(), &plan(steps))?;
    let effect = &applied.effects[0];
    if effect.detail.contains("not permitted") {
        return Err(Stop::Skip("process_madvise is not permitted here"));
    }
    ensure(effect.detail.contains("1 gone"), effect)?;
    let swap = fs::read_to_string("/proc/swaps")?.lines().count() > 1;
    let pss = effect.pss_delta_bytes.unwrap();
    if swap {
        ensure(pss < -(32 << 20), effect)?;
    } else {
        ensure(pss > -(32 << 20), effect)?;
        let explained = effect.verdict != Verdict::NoEffect || effect.detail.contains("no swap");
        ensure(explained, effect)?;
    }
    // The memory is as it was: the program ends with a byte of it.
    let mut hog = hog;
    drop(hog.child.stdin.take());
    ensure(hog.child.wait()?.code() == Some(4096 % 251), "lost memory")
}

fn lease_expires() -> Done {
    need_root()?;
    let (sleeper, oom, limit) = fresh_sleeper()?;
    let state = state_dir();
    let context = ApplyContext {
        lease: Some(Duration::from_secs(1)),
        ..quiet()
    };
    let mut enforcer = Enforcer::open(options(state.path()))?;
    let applied = enforcer.apply(&process_plan(sleeper.id, &oom), &context, &mut |_| {})?;
    ensure(applied.outcome == Outcome::Complete, &applied)?;
    wait_until("the lease was not kept", || {
        sleeper.oom() == oom && sleeper.data_limit() == limit
    })
}

fn lease_of_a_killed_giver() -> Done {
    need_root()?;
    let (sleeper, oom, limit) = fresh_sleeper()?;
    let state = state_dir();
    start_and_let_die(state.path(), sleeper.id, 3, "1")?;
    wait_until("the lease was not kept", || {
        sleeper.oom() == oom && sleeper.data_limit() == limit
    })
}

fn two_rollbacks() -> Done {
    need_root()?;
    let (sleeper, oom, _) = fresh_sleeper()?;
    let state = state_dir();
    apply(state.path(), &process_plan(sleeper.id, &oom))?;
    let path = state.path().to_owned();
    let other = std::thread::spawn(move || {
        roll_back(&path)
            .map(|report| report.items.len())
            .unwrap_or(usize::MAX)
    });
    let ours = roll_back(state.path())?.items.len();
    let theirs = other.join().unwrap();
    ensure(ours + theirs == 3, (ours, theirs))?;
    ensure(sleeper.oom() == oom, sleeper.oom())
}

/// A tree of version 2 in which cgroups can be made, and one of ours in it.
struct Tree {
    mount: PathBuf,
    name: String,
}

impl Tree {
    fn find(name: &str) -> Result<Self, Stop> {
        need_root()?;
        let name = format!("grey-optimizer-test-{name}-{}", std::process::id());
        for mount in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
            let mount = PathBuf::from(mount);
            let is_v2 = mount.join("cgroup.controllers").exists();
            if is_v2 && fs::create_dir(mount.join(&name)).is_ok() {
                fs::remove_dir(mount.join(&name))?;
                return Ok(Self { mount, name });
            }
        }
        Err(Stop::Skip("no cgroup of version 2 can be made here"))
    }

    fn options(&self, state: &Path) -> EnforcerOptions {
        let mut options = options(state);
        options.roots.cgroupfs.clone_from(&self.mount);
        options
    }

    fn path(&self) -> CgroupPath {
        CgroupPath::new(self.name.as_bytes()).unwrap()
    }

    fn directory(&self) -> PathBuf {
        self.mount.join(&self.name)
    }

    fn make_step(&self) -> PlanStep {
        let knob = Knob::CgroupDirectory {
            cgroup: self.path(),
            refuge: CgroupPath::root(),
        };
        step(knob, None, "present")
    }

    fn apply(&self, state: &Path, steps: Vec<PlanStep>) -> Result<Applied, Stop> {
        let mut enforcer = Enforcer::open(self.options(state))?;
        Ok(enforcer.apply(&plan(steps), &quiet(), &mut |_| {})?)
    }

    fn roll_back(&self, state: &Path) -> Result<RollbackReport, Stop> {
        let mut enforcer = Enforcer::open(self.options(state))?;
        Ok(enforcer.rollback(&RollbackSelection::All, false)?)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir(self.directory().join("below"));
        let _ = fs::remove_dir(self.directory());
    }
}

fn home_of(sleeper: &Sleeper) -> String {
    let text = sleeper.file("cgroup");
    let line = text.lines().find_map(|line| line.strip_prefix("0::"));
    line.unwrap().to_owned()
}

fn cgroup_made_and_removed() -> Done {
    let tree = Tree::find("made")?;
    let state = state_dir();
    let first = Sleeper::start("sleeper");
    let second = Sleeper::start("sleeper");
    let home = home_of(&first);
    let moved = step(
        Knob::ProcessCgroup { process: first.id },
        Some(&home),
        &format!("/{}", tree.name),
    );
    let applied = tree.apply(state.path(), vec![tree.make_step(), moved])?;
    ensure(applied.outcome == Outcome::Complete, &applied)?;
    ensure(
        home_of(&first) == format!("/{}", tree.name),
        home_of(&first),
    )?;
    // Somebody joins who is not in the journal.
    fs::write(
        tree.directory().join("cgroup.procs"),
        second.id.pid.to_string(),
    )?;
    let report = tree.roll_back(state.path())?;
    ensure(
        report
            .items
            .iter()
            .all(|item| item.outcome == RollbackOutcome::Restored),
        &report,
    )?;
    let note = report.items[1].note.clone().unwrap_or_default();
    ensure(note.contains("1 processes were moved"), &note)?;
    ensure(home_of(&first) == home, home_of(&first))?;
    ensure(home_of(&second) == "/", home_of(&second))?;
    ensure(!tree.directory().exists(), "it is still there")
}

fn cgroup_with_children() -> Done {
    let tree = Tree::find("children")?;
    let state = state_dir();
    tree.apply(state.path(), vec![tree.make_step()])?;
    fs::create_dir(tree.directory().join("below"))?;
    let report = tree.roll_back(state.path())?;
    let failed = matches!(report.items[0].outcome, RollbackOutcome::Failed(_));
    ensure(failed && tree.directory().exists(), &report)?;
    fs::remove_dir(tree.directory().join("below"))?;
    let report = tree.roll_back(state.path())?;
    ensure(
        report.items[0].outcome == RollbackOutcome::Restored,
        &report,
    )?;
    ensure(!tree.directory().exists(), "it is still there")
}

fn nearest_cgroup() -> Done {
    let tree = Tree::find("nearest")?;
    let state = state_dir();
    let sleeper = Sleeper::start("sleeper");
    let below = tree.directory().join("below");
    fs::create_dir_all(&below)?;
    fs::write(below.join("cgroup.procs"), sleeper.id.pid.to_string())?;
    let home = format!("/{}/below", tree.name);
    let moved = step(
        Knob::ProcessCgroup {
            process: sleeper.id,
        },
        Some(&home),
        "/",
    );
    tree.apply(state.path(), vec![moved])?;
    fs::remove_dir(&below)?;
    let report = tree.roll_back(state.path())?;
    let item = &report.items[0];
    ensure(item.outcome == RollbackOutcome::Restored, item)?;
    let note = item.note.clone().unwrap_or_default();
    ensure(note.contains("is gone"), &note)?;
    ensure(
        home_of(&sleeper) == format!("/{}", tree.name),
        home_of(&sleeper),
    )?;
    // So that the cgroup can be removed.
    drop(sleeper);
    Ok(())
}
