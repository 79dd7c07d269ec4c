#![doc = include_str!("../README.md")]

mod body;
mod call;
mod channel;
mod client;
mod ends;
mod looks;
mod place;
mod pull;
mod refusal;
mod runs;
mod values;
mod variables;
mod wire;

pub use channel::Channel;
pub use client::{Client, Options};
pub use ends::{Due, Prune, WouldGo};
pub use runs::{Queued, Standing, Try};
pub use variables::ListedVariable;
