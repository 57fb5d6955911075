//! An orchestrator of agents: producers that are faster than its workers, a
//! stream of events, a pool of connections, a history of operations. With the
//! library every one of them is bounded; with `--unprotected` none is, and the
//! queue and the history grow until the process is killed.
//!
//! ```text
//! cargo run --release -p grey-budget --example orchestrator -- --limit 192M
//! cargo run --release -p grey-budget --example orchestrator -- --limit 192M --unprotected
//! ```

mod program;

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use grey_budget::broadcast::Broadcaster;
use grey_budget::pool::PoolAccount;
use grey_budget::queue::WorkQueue;
use grey_budget::rolling_log::RollingLog;
use grey_budget::{Budget, Bytes, Controller, ControllerSettings, Priority, ProcessSource};
use program::{Anything, Numbers, Options, report, text, told};

const PRODUCERS: u64 = 4;
const WORKERS: usize = 2;

/// One task for an agent: its context, of 8 to 64 KiB.
#[derive(Debug)]
struct Task {
    number: u64,
    context: Vec<u8>,
}

impl Task {
    fn new(number: u64) -> Self {
        let length = 8192 + Numbers(number.wrapping_mul(0x2545_f491_4f6c_dd1d) | 1).below(57_344);
        Self {
            number,
            context: text(number, usize::try_from(length).unwrap_or(8192)),
        }
    }

    /// What a worker does: reads all of it, and waits for somebody.
    fn work(&self) -> u64 {
        std::thread::sleep(Duration::from_micros(100));
        self.context
            .iter()
            .map(|byte| u64::from(*byte))
            .sum::<u64>()
            + self.number
    }
}

/// Makes every fourth task. Waits when the workers are behind, and again when
/// memory is short: a task is never left out.
fn produce(queue: &WorkQueue<Task>, producer: u64, items: u64) -> Result<(), Anything> {
    let mut number = producer;
    while number < items {
        let mut task = Task::new(number);
        while let Err(refused) = queue.push(task) {
            if !refused.may_retry() {
                let why = std::error::Error::source(&refused).map(ToString::to_string);
                return Err(format!("{refused}: {}", why.unwrap_or_default()).into());
            }
            task = refused.into_item();
            std::thread::sleep(Duration::from_millis(1));
        }
        number += PRODUCERS;
    }
    Ok(())
}

/// What all the tasks give together, whoever does them.
fn expected(items: u64) -> u64 {
    (0..items)
        .map(|number| {
            let task = Task::new(number);
            task.context
                .iter()
                .map(|byte| u64::from(*byte))
                .sum::<u64>()
                + number
        })
        .fold(0, u64::wrapping_add)
}

fn main() -> ExitCode {
    told(run().map(|()| ExitCode::SUCCESS))
}

fn run() -> Result<(), Anything> {
    let options = Options::read(8_000)?;
    if options.unprotected {
        unprotected(&options)
    } else {
        protected(&options)
    }
}

fn protected(options: &Options) -> Result<(), Anything> {
    let budget = Budget::new(options.budget)?;
    let source = Arc::new(ProcessSource::new()?);
    let controller = Controller::new(budget.clone(), source, ControllerSettings::default());
    let running = controller.start()?;
    let queue = WorkQueue::builder(budget.component("work_queue").register()?)
        .max_bytes(Bytes::from_mib(16))
        .weigher(|task: &Task| Bytes(u64::try_from(task.context.capacity()).unwrap_or(u64::MAX)))
        .build();
    let events = Broadcaster::new(budget.component("events").register()?);
    let pool = PoolAccount::builder(budget.component("connections").register()?)
        .connections(10..=50)
        .bytes_per_connection(Bytes::from_kib(64))
        .build()?;
    let vital = budget.component("history").priority(Priority::High);
    let history = RollingLog::<u64>::builder(vital.register()?).build();
    let _connections: Vec<_> = (0..20).map(|_| pool.open()).collect::<Result<_, _>>()?;
    let (sum, deepest) = (AtomicU64::new(0), AtomicU64::new(0));
    let mut slow = events.subscribe();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| {
                scope.spawn(|| {
                    // Ends when the queue is closed and empty.
                    while let Ok(task) = queue.pop() {
                        let connection = pool.checkout();
                        deepest.fetch_max(queue.bytes().get(), Ordering::Relaxed);
                        sum.fetch_add(task.work(), Ordering::Relaxed);
                        drop(connection);
                        let _ = events.send(task.number);
                        // Left out while memory is short: work goes before its history.
                        let _ = history.append(task.number);
                    }
                })
            })
            .collect();
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|producer| {
                let (queue, items) = (&queue, options.items);
                scope.spawn(move || produce(queue, producer, items))
            })
            .collect();
        let mut made = Ok(());
        for producer in producers {
            made = made.and(producer.join().unwrap_or(Err("a producer panicked".into())));
        }
        queue.close();
        for worker in workers {
            let _ = worker.join();
        }
        made
    })?;
    let mut missed = 0;
    while let Err(grey_budget::broadcast::RecvError::Lagged(count)) = slow.try_recv() {
        missed += count;
    }
    running.stop();
    if sum.load(Ordering::Relaxed) != expected(options.items) {
        return Err("a task was lost or done twice".into());
    }
    report(
        "orchestrator",
        &[
            ("done", options.items),
            ("most_queued_bytes", deepest.load(Ordering::Relaxed)),
            ("events_missed_by_the_slow", missed),
            ("history_kept", u64::try_from(history.len())?),
            ("most_connections_in_use", pool.statistics().peak_in_use),
        ],
    )
}

/// The same without any bound.
fn unprotected(options: &Options) -> Result<(), Anything> {
    let queue: Mutex<VecDeque<Arc<Task>>> = Mutex::default();
    let history: Mutex<Vec<Arc<Task>>> = Mutex::default();
    let produced = AtomicU64::new(0);
    let ended = AtomicBool::new(false);
    let lock = |queue: &Mutex<VecDeque<Arc<Task>>>, task: Option<Arc<Task>>| {
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        match task {
            Some(task) => {
                queue.push_back(task);
                None
            }
            None => queue.pop_front(),
        }
    };
    std::thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            let (queue, produced) = (&queue, &produced);
            scope.spawn(move || {
                for number in
                    (producer..options.items).step_by(usize::try_from(PRODUCERS).unwrap_or(1))
                {
                    lock(queue, Some(Arc::new(Task::new(number))));
                    produced.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while !ended.load(Ordering::SeqCst) {
                    let Some(task) = lock(&queue, None) else {
                        ended.store(
                            produced.load(Ordering::SeqCst) >= options.items,
                            Ordering::SeqCst,
                        );
                        continue;
                    };
                    task.work();
                    // The full history is kept.
                    history
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(task);
                }
            });
        }
    });
    report("orchestrator", &[("done", options.items)])
}
