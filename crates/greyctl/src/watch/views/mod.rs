//! The screens: each part becomes lines of a width, and [`screen`] puts them
//! where there is room.
//!
//! Pure: a model becomes cells. Nothing is drawn outside of the area, however
//! small it is.

mod actions;
mod bar;
mod command;
mod detail;
mod help;
mod pressure;
pub(super) mod screen;
pub(super) mod table;
mod trend;
