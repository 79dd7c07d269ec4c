//! What is told when a store refuses, is away, or is none.
