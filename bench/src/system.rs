//! The host's time and randomness.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use excom_core::Clock;
use jiff::Timestamp;

#[derive(Debug)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn random(&self) -> u64 {
        getrandom::u64().expect("the system gives random bytes")
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        std::thread::sleep(duration);
        Box::pin(std::future::ready(()))
    }
}

/// The most memory that this process has used so far, or since [`forget_peak`], in MiB.
pub(crate) fn resident() -> std::io::Result<f64> {
    status("self", "VmHWM:")
}

/// The memory that a process has in use, in MiB.
pub(crate) fn resident_of(process: u32) -> std::io::Result<f64> {
    status(&process.to_string(), "VmRSS:")
}

fn status(process: &str, name: &str) -> std::io::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<f64>().ok());
    Ok(kilobytes.unwrap_or(f64::NAN) / 1024.0)
}

/// Begins to measure the most memory anew.
pub(crate) fn forget_peak() -> std::io::Result<()> {
    // 5 sets the peak to what is in use now.
    std::fs::write("/proc/self/clear_refs", "5")
}
