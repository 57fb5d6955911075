//! kernel-tests
fn main() {}
