#![doc = include_str!("../README.md")]

pub mod answer;
pub mod asset;
pub mod attempt;
pub mod backend;
pub mod channel;
pub mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod db;
pub mod dictionary;
pub mod engine;
pub mod entry;
mod error;
mod finite;
pub mod json;
pub mod key;
pub mod memory;
mod misfit;
pub mod python;
pub mod run;
pub mod seal;
pub mod slice;
pub mod store;
mod together;
pub mod value;
pub mod variable;

pub use answer::Answer;
pub use attempt::{Attempt, AttemptId, Caller, TaskState};
pub use backend::XComBackend;
pub use channel::{PullOptions, TaskChannel};
pub use clock::Clock;
pub use db::MetadataDb;
pub use engine::Engine;
pub use entry::{Entry, EntryInfo, Stored, Version};
pub use error::{Error, ErrorKind, Result};
pub use json::Shape;
pub use key::{RETURN_VALUE, SequenceKey, TaskInstanceKey, UNMAPPED, XComKey};
pub use run::{DagRun, RunState};
pub use slice::Slice;
pub use store::{ObjectName, ValueStore};
pub use value::{ByteStream, Payload, Value};
