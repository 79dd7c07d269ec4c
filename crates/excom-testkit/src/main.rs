//! The proofs as a program.

fn main() {}
