//! The `excom` command.

fn main() {}
