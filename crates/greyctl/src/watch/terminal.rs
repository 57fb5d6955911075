//! The view on a terminal: draws, waits for keys and looks, and puts the
//! terminal back whatever happens.
//!
//! The one place that talks to a terminal. Never waits longer than
//! [`ATTENTION`] for anything.

use std::io;
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use ratatui::layout::Size;

use super::keyboard::Keyboard;
use super::keys::{Effect, Listed, press};
use super::look::Look;
use super::model::{Actions, Model};
use super::sampler::Wish;
use super::signals::{self, Signals};
use super::source::Source;
use super::state::{Overlay, View};
use super::views::screen::draw;
use super::{commands, rows};
use crate::cli::{GlobalOptions, RollbackOptions};
use crate::exit_code::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::{journal, rollback};

/// Signals and looks are noticed within this time.
const ATTENTION: Duration = Duration::from_millis(100);

/// While a look is being made.
const IMPATIENCE: Duration = Duration::from_millis(10);

/// Runs the view until somebody ends it.
///
/// # Errors
/// A [`Failure`] when the terminal cannot be used, or the machine not be read.
pub(super) fn run(
    global: &GlobalOptions,
    model: Model,
    source: Source,
    look: Look,
    count: Option<u64>,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let signals = Signals::watch().map_err(|error| unusable(&error))?;
    let keyboard = Keyboard::open().map_err(|error| unusable(&error))?;
    let mut session = Session {
        global,
        model,
        source,
        look,
        terminal: ratatui::try_init().map_err(|error| unusable(&error))?,
        keyboard,
        drawn: Size::default(),
        is_wanted: true,
        looks: 0,
        count,
    };
    let ended = session.watch(&signals, output);
    // Where the terminal is gone, the signal below tells.
    let restored = ratatui::try_restore().map_err(|error| unusable(&error));
    if let Some(signal) = signals.ended() {
        signals::end_by(signal).map_err(|error| unusable(&error))?;
    }
    ended.and(restored).map(|()| Exit::Success)
}

fn unusable(error: &io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("failed to use the terminal: {error}"))
        .hint("--no-clear prints lines instead")
}

struct Session<'run> {
    global: &'run GlobalOptions,
    model: Model,
    source: Source,
    look: Look,
    terminal: DefaultTerminal,
    keyboard: Keyboard,
    /// The size that was drawn last.
    drawn: Size,
    /// Whether something is to be read that was not, beside the usual looks.
    is_wanted: bool,
    looks: u64,
    count: Option<u64>,
}

impl Session<'_> {
    fn watch(&mut self, signals: &Signals, output: &mut Output) -> Result<(), Failure> {
        let mut due = Instant::now();
        self.draw()?;
        loop {
            if signals.ended().is_some() {
                return Ok(());
            }
            if signals.take_stop() {
                self.suspend()?;
            }
            if signals.take_continue() {
                self.enter()?;
            }
            if self.has_other_size()? {
                self.draw()?;
            }
            let now = Instant::now();
            if self.is_due(now >= due) {
                due = now + self.model.interval;
                self.ask()?;
            }
            // A look that was being made when it was frozen came too late.
            if let Some(shot) = self.source.take()?.filter(|_| !self.is_frozen()) {
                self.take(shot)?;
            }
            if self.count.is_some_and(|count| self.looks >= count) {
                return Ok(());
            }
            let patience = match self.source.is_looking() {
                true => IMPATIENCE,
                false => ATTENTION.min(due.saturating_duration_since(now).max(IMPATIENCE)),
            };
            if !self.is_there(patience)? {
                signals.hang_up();
                return Ok(());
            }
            let has_come = event::poll(Duration::ZERO).map_err(|error| unusable(&error))?;
            if has_come && self.answer(output)? {
                return Ok(());
            }
        }
    }

    /// Waits for a key, a signal or the end of `patience`; whether the terminal
    /// is still there.
    fn is_there(&self, patience: Duration) -> Result<bool, Failure> {
        self.keyboard
            .wait(patience)
            .map_err(|error| unusable(&error))
    }

    /// Whether the terminal has another size than what is drawn. It is asked: the
    /// event may be lost beside another one.
    fn has_other_size(&self) -> Result<bool, Failure> {
        let size = self.terminal.size().map_err(|error| unusable(&error))?;
        Ok(size != self.drawn)
    }

    /// Whether what is shown stays as it is, whatever is asked of it.
    const fn is_frozen(&self) -> bool {
        self.model.state.frozen && self.model.shot.is_some()
    }

    /// Whether to look now: the time has come, or something else is wanted.
    fn is_due(&self, time_has_come: bool) -> bool {
        if self.source.is_looking() {
            return false;
        }
        match (self.model.state.past, self.is_frozen()) {
            (true, _) => self.is_wanted,
            (false, frozen) => !frozen && (self.is_wanted || time_has_come),
        }
    }

    fn ask(&mut self) -> Result<(), Failure> {
        self.is_wanted = false;
        let wish = self.wish();
        if let Some(shot) = self.source.ask(&wish)? {
            self.take(shot)?;
        }
        Ok(())
    }

    fn take(&mut self, shot: super::shot::Shot) -> Result<(), Failure> {
        self.model.shot = Some(shot);
        self.model.see();
        // What was told stays, to be copied, unless it is wrong by now.
        let is_telling = matches!(self.model.state.overlay, Overlay::Command(_));
        if is_telling && self.model.told.gone.is_none() && self.model.gone().is_some() {
            self.tell();
        }
        self.looks += 1;
        self.draw()
    }

    fn wish(&self) -> Wish {
        let state = &self.model.state;
        let visible = self.model.rows();
        let visible = visible.iter().skip(state.top).take(state.page);
        let pid = |row: &rows::Row<'_>| match row.subject {
            rows::Subject::Process(process) => Some(process.memory.id.pid),
            _ => None,
        };
        Wish {
            by: (state.view == View::Groups).then_some(state.by),
            cgroups: state.view == View::Cgroups,
            visible: visible.filter_map(pid).collect(),
            detail: self.model.opened().cloned(),
        }
    }

    fn draw(&mut self) -> Result<(), Failure> {
        let (model, look, size) = (&mut self.model, self.look, &mut self.drawn);
        let drawn = self.terminal.draw(|frame| {
            let area = frame.area();
            *size = area.as_size();
            draw(model, look, area, frame.buffer_mut());
        });
        drawn.map(|_| ()).map_err(|error| unusable(&error))
    }

    /// Answers what the terminal has sent; whether to end.
    fn answer(&mut self, output: &mut Output) -> Result<bool, Failure> {
        // All that has come: a held key is drawn once.
        loop {
            let event = event::read().map_err(|error| unusable(&error))?;
            if let Event::Key(key) = event {
                let listed = Listed {
                    keys: self.model.keys(),
                    actions: self.model.actions.listed(),
                };
                let effect = press(&mut self.model.state, key, &listed);
                if self.follow(effect, output)? {
                    return Ok(true);
                }
            }
            let is_there = self.is_there(Duration::ZERO)?;
            let more = is_there && event::poll(Duration::ZERO).map_err(|error| unusable(&error))?;
            if !more {
                break;
            }
        }
        self.draw()?;
        Ok(false)
    }

    /// Does what a key asks for; whether to end.
    fn follow(&mut self, effect: Effect, output: &mut Output) -> Result<bool, Failure> {
        match effect {
            Effect::None => {}
            Effect::Quit => return Ok(true),
            Effect::Suspend => self.suspend()?,
            Effect::Look if self.is_frozen() => {
                self.model.make_do();
                self.model.see();
            }
            Effect::Look => {
                self.model.see();
                self.is_wanted = true;
            }
            Effect::Tell => self.tell(),
            Effect::ReadActions => self.read_actions(),
            Effect::Undo(id) => self.undo(id, output)?,
            Effect::StepBack => self.step(false)?,
            Effect::StepForward => self.step(true)?,
        }
        Ok(false)
    }

    fn step(&mut self, forward: bool) -> Result<(), Failure> {
        let Source::Past(past) = &mut self.source else {
            return Ok(());
        };
        if past.step(forward)? {
            self.is_wanted = true;
        } else {
            let end = if forward { "last" } else { "first" };
            self.model.state.notice = Some(format!("this is the {end} sample"));
        }
        Ok(())
    }

    fn tell(&mut self) {
        // History stands still: nothing goes from it.
        let gone = self.model.gone().filter(|_| !self.model.state.past);
        self.model.told = match gone {
            Some((seen, shot)) => seen.told(self.global, shot),
            None => {
                let shot = self.model.shot.as_ref();
                commands::told(self.global, &self.model.state, shot)
            }
        };
    }

    fn read_actions(&mut self) {
        self.model.actions = match journal::listed(self.global) {
            Ok((mut changes, lost)) => {
                changes.reverse();
                Actions::Read(changes, lost.len())
            }
            Err(failure) => Actions::Failed(failure.message),
        };
    }

    /// Runs `rollback` where its talk can be read, and comes back.
    fn undo(&mut self, id: u64, output: &mut Output) -> Result<(), Failure> {
        ratatui::try_restore().map_err(|error| unusable(&error))?;
        let options = RollbackOptions {
            id: Some(id),
            force: false,
            keep: false,
            json: false,
        };
        let ended = rollback::run(self.global, &options, output);
        if let Err(failure) = &ended {
            output.failure(failure);
        }
        output.talk("press Enter to go back to the view");
        wait_for_line();
        self.enter()?;
        self.read_actions();
        self.is_wanted = true;
        self.model.state.notice = Some(match ended {
            Ok(_) => format!("change {id} was undone"),
            Err(failure) => failure.message,
        });
        Ok(())
    }

    /// Lets the shell have the terminal until it gives it back.
    fn suspend(&mut self) -> Result<(), Failure> {
        ratatui::try_restore().map_err(|error| unusable(&error))?;
        signals::stop().map_err(|error| unusable(&error))?;
        self.enter()
    }

    /// Takes the terminal again, and draws everything anew.
    fn enter(&mut self) -> Result<(), Failure> {
        use ratatui::crossterm::execute;
        use ratatui::crossterm::terminal::{EnterAlternateScreen, enable_raw_mode};
        enable_raw_mode()
            .and_then(|()| execute!(io::stdout(), EnterAlternateScreen))
            .and_then(|()| self.terminal.clear())
            .map_err(|error| unusable(&error))?;
        self.draw()
    }
}

/// Waits until Enter is pressed, or nobody can press it.
fn wait_for_line() {
    let mut line = String::new();
    // Whatever it was: the view goes on.
    let _ = io::stdin().read_line(&mut line);
}
