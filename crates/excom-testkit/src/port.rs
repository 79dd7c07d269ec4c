//! Ports for servers that a test starts, which must know theirs before they listen there.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::Result;

/// Below what an operating system gives to those who connect, so that none of these has a port before its server, and nobody
/// who waits for the server is connected with itself.
const PORTS: std::ops::Range<u32> = 10_240..32_768;

/// A port on 127.0.0.1 where nobody listens, and which nobody in this process was given.
///
/// ```
/// let ports = [excom_testkit::port::free()?, excom_testkit::port::free()?];
/// assert_ne!(ports[0], ports[1]);
/// # Ok::<(), excom_testkit::Error>(())
/// ```
///
/// # Errors
/// When there is none.
pub fn free() -> Result<u16> {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Processes begin far from each other.
    let first = std::process::id().wrapping_mul(0x9E37_79B1) >> 8;
    for _ in PORTS {
        let step = GIVEN.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + first.wrapping_add(step) % (PORTS.end - PORTS.start);
        let port = u16::try_from(port)?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err("no port is free".into())
}
