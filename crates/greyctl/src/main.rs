//! The `greyctl` command.
fn main() {}
