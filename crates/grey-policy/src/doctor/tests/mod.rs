//! Each rule on both sides of its line: one file for each file of rules, and
//! [`all`] for what holds for all of them.

mod all;
mod here;
mod killers;
mod machine;
mod merging;
mod observing;
mod state;
mod swap;
mod sysctl;
