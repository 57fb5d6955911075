//! Runs `memory-watch`: on a terminal the view, elsewhere lines.
//!
//! Decides which; neither reads nor draws itself.

use std::thread;
use std::time::Instant;

use grey_model::GroupBy;
use jiff::tz::TimeZone;

use super::commands::Told;
use super::look::Look;
use super::model::{Actions, Model};
use super::options::WatchOptions;
use super::past::Past;
use super::plain::{self, Extent};
use super::sampler::{Sampler, Wish};
use super::source::{Live, Source, unreadable};
use super::state::{State, View};
use super::terminal;
use crate::cli::{Fold, GlobalOptions};
use crate::environment;
use crate::exit_code::Exit;
use crate::failure::Failure;
use crate::history::folds;
use crate::output::Output;
use crate::roots::open_kernel;

/// So many of each list are printed when nobody says.
const DEFAULT_TOP: usize = 10;

/// Runs `memory-watch`.
///
/// # Errors
/// A [`Failure`] when the machine or history cannot be read, or the terminal
/// cannot be used.
pub(crate) fn run(
    global: &GlobalOptions,
    options: &WatchOptions,
    output: &mut Output,
) -> Result<Exit, Failure> {
    if let (Some(moment), Some(fold)) = (&options.at, options.by) {
        folds::require(global, "memory-watch", &[], moment, GroupBy::from(fold))?;
    }
    require_one_look(options)?;
    let lookup = |name: &str| std::env::var_os(name);
    let has_screen = !options.no_clear && environment::has_screen(lookup);
    match output.terminal().filter(|_| has_screen) {
        Some(terminal) => {
            let look = Look {
                color: terminal.color,
                unicode: !options.ascii && environment::takes_utf8(lookup),
            };
            view(global, options, look, output)
        }
        None => print(global, options, output),
    }
}

/// A moment is looked at once.
fn require_one_look(options: &WatchOptions) -> Result<(), Failure> {
    if options.at.is_none() || options.count.is_none_or(|count| count == 1) {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Usage,
        "a moment of history is looked at once: --count with --at can only be 1",
    ))
}

fn view(
    global: &GlobalOptions,
    options: &WatchOptions,
    look: Look,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let source = match &options.at {
        Some(moment) => Source::Past(Box::new(Past::open(global, moment)?)),
        None => {
            let sampler = Sampler::new(open_kernel(global)?, options.interval.0);
            Source::Live(Live::start(sampler)?)
        }
    };
    let mut state = state(options, first_view(options));
    state.readonly = options.readonly;
    let model = Model {
        shot: None,
        state,
        actions: Actions::default(),
        seen: None,
        told: Told::default(),
        interval: options.interval.0,
        zone: TimeZone::system(),
    };
    terminal::run(global, model, source, look, options.count, output)
}

fn print(
    global: &GlobalOptions,
    options: &WatchOptions,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let zone = TimeZone::system();
    let lists: Vec<State> = lists(options)
        .into_iter()
        .map(|view| state(options, view))
        .collect();
    let wish = Wish {
        by: lists
            .iter()
            .find(|list| list.view == View::Groups)
            .map(|list| list.by),
        cgroups: lists.iter().any(|list| list.view == View::Cgroups),
        ..Wish::default()
    };
    let extent = Extent {
        lists: &lists,
        top: options.top.unwrap_or(DEFAULT_TOP),
        block: options.no_clear,
        width: output.width(),
    };
    if let Some(moment) = &options.at {
        let shot = Past::open(global, moment)?.look(&wish)?;
        output.text(&plain::print(&shot, extent, &zone))?;
        return Ok(Exit::Success);
    }
    let interval = options.interval.0;
    let mut sampler = Sampler::new(open_kernel(global)?, interval);
    let started = Instant::now();
    let mut due = std::time::Duration::ZERO;
    let mut looks = 0_u64;
    loop {
        let shot = sampler.look(&wish).map_err(|error| unreadable(&error))?;
        looks += 1;
        if !output.text_while_read(&plain::print(&shot, extent, &zone))?
            || options.count == Some(looks)
        {
            return Ok(Exit::Success);
        }
        // A look that took longer than an interval leaves some out.
        while due <= started.elapsed() {
            due += interval;
        }
        thread::sleep(due.saturating_sub(started.elapsed()));
    }
}

/// What the view begins with.
const fn first_view(options: &WatchOptions) -> View {
    if options.show_cgroups {
        View::Cgroups
    } else if options.show_processes {
        View::Processes
    } else {
        View::Groups
    }
}

/// What is chosen of a list before anybody has pressed a key.
fn state(options: &WatchOptions, view: View) -> State {
    let by = GroupBy::from(options.by.unwrap_or(Fold::Program));
    let mut state = State::new(view, by);
    state.filter = options.filter.clone().unwrap_or_default();
    state.past = options.at.is_some();
    state
}

/// What is printed below each line: what was asked for, and groups where only
/// their number or a filter was given.
fn lists(options: &WatchOptions) -> Vec<View> {
    let first = first_view(options);
    let asked = options.by.is_some() || options.top.is_some() || options.filter.is_some();
    match first {
        View::Groups if !asked => Vec::new(),
        View::Groups => vec![View::Groups],
        _ if options.by.is_some() => vec![View::Groups, first],
        _ => vec![first],
    }
}
