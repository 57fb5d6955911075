//! Facts about plans: what is planned, in which order, and what is refused.
//!
//! Every test starts from a machine that has everything and changes one thing.

#[cfg(test)]
mod limits;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod one_shots;
#[cfg(test)]
mod routes;
#[cfg(test)]
mod settings;
#[cfg(test)]
mod targets;
#[cfg(test)]
mod whole_plans;
