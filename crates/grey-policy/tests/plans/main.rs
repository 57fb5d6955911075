//! Facts about plans: what is planned, in which order, and what is refused.
//!
//! Every test starts from a machine that has everything and changes one thing.

#[cfg(test)]
mod limits;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod one_shots_and_settings;
#[cfg(test)]
mod routes;
