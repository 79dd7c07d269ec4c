//! Value stores for Excom, and the format of the bytes that they keep.
//!
//! [`Files`] keeps objects in a folder; [`Offload`] is the backend that keeps small values in the
//! metadata database and the others in a store, as [frames](mod@frame): pieces of at most 1 MiB, each
//! compressed, and sealed so that it belongs to its place in its version of its XCom and nowhere else.
//! [`Process`] is the backend that is a program of its own, in any language.

mod files;
pub mod frame;
mod offload;
mod process;
#[cfg(any(feature = "object-storage", feature = "redis"))]
mod reactor;

pub use files::Files;
pub use offload::{Offload, OffloadOptions};
pub use process::{Process, ProcessOptions};
