//! Publishes the memory of this program for Prometheus.
//!
//! ```text
//! cargo run -p grey-budget --example prometheus -- 127.0.0.1:9184
//! curl http://127.0.0.1:9184/metrics
//! ```
//!
//! With no address it takes any free port of the loopback device and prints
//! it. The first answer has no allocation rate: that is what was allocated since
//! the answer before. A second argument is the number of requests after which it ends. Never
//! meant for more than a few requests at once: they are answered in turn.

mod program;

use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use grey_budget::metrics::{PublishedMetrics, Totals, describe, publish};
use grey_budget::{Budget, Bytes, Level, MemoryTracker, ProcessSource, Thresholds};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use program::{Anything, told};

/// A request has to be here by then, so that one client cannot stop the rest.
const REQUEST_TIME: Duration = Duration::from_secs(5);

/// The most that is read of a request.
const LONGEST_REQUEST: u64 = 16 << 10;

fn main() -> ExitCode {
    told(run().map(|()| ExitCode::SUCCESS))
}

fn run() -> Result<(), Anything> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let requests: Option<usize> = arguments.next().map(|text| text.parse()).transpose()?;

    let recorder = PrometheusBuilder::new().install_recorder()?;
    describe();

    let budget = Budget::new(Bytes::from_mib(256))?;
    let tracker = MemoryTracker::builder(Arc::new(ProcessSource::new()?))
        .budget(&budget)
        .build();
    // A cache that holds something, so that there is something to see.
    let cache = budget.component("query_cache").register()?;
    let held = cache.reserve(Bytes::from_mib(16))?;
    let content = vec![1_u8; 16 << 20];
    tracker.record_allocation(Bytes::from_mib(16));

    let listener = TcpListener::bind(address)?;
    writeln!(
        std::io::stdout(),
        "http://{}/metrics",
        listener.local_addr()?
    )?;
    for connection in listener.incoming().take(requests.unwrap_or(usize::MAX)) {
        // A client that misbehaves is no reason to end.
        if let Err(error) = answer(connection?, &tracker, &budget, &recorder) {
            writeln!(std::io::stderr(), "failed to answer: {error}")?;
        }
    }
    drop((held, content));
    Ok(())
}

fn answer(
    connection: TcpStream,
    tracker: &MemoryTracker,
    budget: &Budget,
    recorder: &PrometheusHandle,
) -> Result<(), Anything> {
    connection.set_read_timeout(Some(REQUEST_TIME))?;
    connection.set_write_timeout(Some(REQUEST_TIME))?;
    let mut reader = BufReader::new(&connection).take(LONGEST_REQUEST);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut header = String::from("first");
    while !header.trim().is_empty() {
        header.clear();
        reader.read_line(&mut header)?;
    }
    let (status, body) = if request.starts_with("GET /metrics ") {
        observe(tracker, budget)?;
        ("200 OK", recorder.render())
    } else {
        ("404 Not Found", "ask for /metrics\n".to_owned())
    };
    write!(
        &connection,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    Ok(())
}

/// What a controller does at each tick.
fn observe(tracker: &MemoryTracker, budget: &Budget) -> Result<(), Anything> {
    let snapshot = tracker.take_snapshot()?;
    let breakdown = tracker.get_breakdown()?;
    let full = grey_budget::fraction(snapshot.process_memory, budget.limit());
    publish(&PublishedMetrics {
        breakdown: &breakdown,
        peak: snapshot.peak,
        limit: Some(budget.limit()),
        threads: snapshot.threads,
        level: Thresholds::of::<Level>().level(full),
        system_level: tracker.check_thresholds()?.level,
        counts: snapshot.counts,
        allocation_rate_per_second: tracker.allocation_rate_per_second(),
        totals: Totals {
            allocated: snapshot.allocated,
            ..Totals::default()
        },
    });
    Ok(())
}
