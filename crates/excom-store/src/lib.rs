//! Value stores for Excom, and the format of the bytes that they keep.
//!
//! [`Files`] keeps objects in a folder, `Redis` (feature `redis`) in Redis or Valkey; [`Offload`] is the
//! backend that keeps small values in the metadata database and the others in a store, as
//! [frames](mod@frame): pieces of at most 1 MiB, each compressed, and sealed so that it belongs to its place
//! in its version of its XCom and nowhere else.

mod files;
pub mod frame;
mod offload;
#[cfg(any(feature = "object-storage", feature = "redis"))]
mod reactor;
#[cfg(feature = "redis")]
pub mod redis;

pub use files::Files;
pub use offload::{Offload, OffloadOptions};
#[cfg(feature = "redis")]
pub use redis::{Redis, RedisOptions};
