//! Value stores for Excom, and the format of the bytes that they keep.
//!
//! [`Files`] keeps objects in a folder, `Redis` (feature `redis`) in Redis or Valkey; [`Offload`] is the
//! backend that keeps small values in the metadata database and the others in a store, as
//! [frames](mod@frame): pieces of at most 1 MiB, each compressed, and sealed so that it belongs to its place
//! in its version of its XCom and nowhere else.
//! [`Process`] is the backend that is a program of its own, in any language.

mod aside;
mod files;
pub mod frame;
#[cfg(feature = "object-storage")]
mod object;
mod offload;
mod process;
#[cfg(feature = "redis")]
pub mod redis;

pub use files::Files;
#[cfg(feature = "object-storage")]
pub use object::ObjectStorage;
pub use offload::{Offload, OffloadOptions};
pub use process::{Process, ProcessOptions};
#[cfg(feature = "redis")]
pub use redis::{Redis, RedisOptions};
