//! Where looks come from: a thread that reads the machine, or history.
//!
//! The thread is asked and answers later, so that keys are answered while a
//! process that holds its own lock keeps it waiting. It is asked for one look
//! at a time, and ends when nobody asks any more.

use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;

use grey_telemetry::ReadError;

use super::past::Past;
use super::sampler::{Sampler, Wish};
use super::shot::Shot;
use crate::exit_code::Exit;
use crate::failure::Failure;

/// A reader of this machine, or of history.
#[derive(Debug)]
pub(super) enum Source {
    /// This machine, now.
    Live(Live),
    /// History.
    Past(Box<Past>),
}

/// The thread that reads this machine.
#[derive(Debug)]
pub(super) struct Live {
    wishes: Sender<Wish>,
    looks: Receiver<Result<Shot, ReadError>>,
    is_looking: bool,
}

impl Live {
    /// Starts the thread.
    ///
    /// # Errors
    /// A [`Failure`] when there can be no more threads.
    pub(super) fn start(mut sampler: Sampler) -> Result<Self, Failure> {
        let (wishes, wished) = channel::<Wish>();
        let (seen, looks) = channel();
        let look = move || {
            for wish in wished {
                if seen.send(sampler.look(&wish)).is_err() {
                    break;
                }
            }
        };
        thread::Builder::new()
            .name("sampler".to_owned())
            .spawn(look)
            .map_err(|error| Failure::from_error(Exit::Failed, &error))?;
        Ok(Self {
            wishes,
            looks,
            is_looking: false,
        })
    }
}

impl Source {
    /// Asks for a look; whether it could, as one at a time is made.
    ///
    /// # Errors
    /// A [`Failure`] when the thread is gone.
    pub(super) fn ask(&mut self, wish: &Wish) -> Result<Option<Shot>, Failure> {
        match self {
            Self::Live(live) => {
                live.wishes.send(wish.clone()).map_err(|_| ended())?;
                live.is_looking = true;
                Ok(None)
            }
            Self::Past(past) => past.look(wish).map(Some),
        }
    }

    /// Whether a look is being made.
    pub(super) const fn is_looking(&self) -> bool {
        match self {
            Self::Live(live) => live.is_looking,
            Self::Past(_) => false,
        }
    }

    /// The look that was asked for, when it is done.
    ///
    /// # Errors
    /// A [`Failure`] when the machine cannot be read.
    pub(super) fn take(&mut self) -> Result<Option<Shot>, Failure> {
        let Self::Live(live) = self else {
            return Ok(None);
        };
        match live.looks.try_recv() {
            Ok(look) => {
                live.is_looking = false;
                look.map(Some).map_err(|error| unreadable(&error))
            }
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(ended()),
        }
    }
}

fn ended() -> Failure {
    Failure::new(Exit::Failed, "the thread that reads the machine has ended")
}

/// The machine could not be read.
pub(super) fn unreadable(error: &ReadError) -> Failure {
    crate::roots::hint_at_procfs(Failure::from_error(Exit::Failed, error), error)
}
