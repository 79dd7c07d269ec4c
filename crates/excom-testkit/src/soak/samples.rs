//! What the servers use, looked at every few seconds: memory, file descriptors, threads, connections to the database,
//! and objects that are not in use.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::site::{SERVERS, Site};
use crate::Result;

/// How often.
const EVERY: Duration = Duration::from_secs(5);

/// By how much memory may have grown between the second quarter and the end, besides a quarter of it: what an
/// allocator keeps differs from one time to the next.
const SLACK: u64 = 16 << 20;

/// Connections of Excom to the database, and what is loose in it.
const CONNECTIONS: &str = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'excom'";
const LOOSE: &str = "SELECT count(*) FROM excom.loose_object";

/// What a server uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Resident memory, in bytes.
    pub(super) memory: u64,
    pub(super) descriptors: u64,
    pub(super) threads: u64,
}

/// What all of them use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) servers: [Usage; SERVERS],
    pub(super) connections: u64,
    pub(super) loose: u64,
}

impl Sample {
    /// Looks now. What is away at the moment counts as nothing.
    pub(super) fn take(site: &Site) -> Self {
        let usage = |server| site.process(server).and_then(|id| usage(id).ok()).unwrap_or_default();
        Self {
            servers: [usage(0), usage(1)],
            connections: site.number(CONNECTIONS).unwrap_or_default(),
            loose: site.number(LOOSE).unwrap_or_default(),
        }
    }

    /// What the servers have open besides connections to the database.
    pub(super) fn beside_connections(&self) -> u64 {
        let descriptors: u64 = self.servers.iter().map(|server| server.descriptors).sum();
        descriptors.saturating_sub(self.connections)
    }

    /// Looks until nothing changes any more: for who has ended to do anything.
    pub(super) fn settled(site: &Site, patience: Duration, is_idle: impl Fn(&Self) -> bool) -> Self {
        let begin = Instant::now();
        let mut last = Self::take(site);
        let mut same = 0;
        while (same < 3 || !is_idle(&last)) && begin.elapsed() < patience {
            std::thread::sleep(Duration::from_secs(1));
            let now = Self::take(site);
            let alike = now.connections == last.connections
                && (0..SERVERS).all(|at| now.servers[at].descriptors == last.servers[at].descriptors);
            same = if alike { same + 1 } else { 0 };
            last = now;
        }
        last
    }
}

/// Figures of a process, as its system tells them.
fn usage(process: u32) -> Result<Usage> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let figure = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    };
    let told = "the system does not tell";
    Ok(Usage {
        memory: figure("VmRSS:").ok_or(told)? << 10,
        threads: figure("Threads:").ok_or(told)?,
        descriptors: fs::read_dir(format!("/proc/{process}/fd"))?.count() as u64,
    })
}

/// Looks again and again until it is over.
pub(super) fn watch(site: &Site, over: &AtomicBool, each: impl Fn(Sample)) {
    let begin = Instant::now();
    for turn in 1.. {
        while begin.elapsed() < EVERY * turn {
            if over.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        each(Sample::take(site));
    }
}

/// The most of anything that any server used.
pub(super) fn most(samples: &[Sample]) -> Usage {
    let mut most = Usage::default();
    for usage in samples.iter().flat_map(|sample| sample.servers) {
        most.memory = most.memory.max(usage.memory);
        most.descriptors = most.descriptors.max(usage.descriptors);
        most.threads = most.threads.max(usage.threads);
    }
    most
}

/// The memory of a server that lived as long as the load: the medians of the second quarter and of the last tenth.
pub(super) fn growth(samples: &[Sample], server: usize) -> (u64, u64) {
    let median = |part: &[Sample]| {
        let mut sizes: Vec<u64> = part.iter().map(|sample| sample.servers[server].memory).collect();
        sizes.sort_unstable();
        sizes.get(sizes.len() / 2).copied().unwrap_or_default()
    };
    let count = samples.len();
    (median(&samples[count / 4..count / 2]), median(&samples[count - count.div_ceil(10)..]))
}

/// What is wrong with the growth from one figure to the other: more than a quarter and [`SLACK`].
pub(super) fn too_much((second, last): (u64, u64)) -> Option<String> {
    (last > second + second / 4 + SLACK).then(|| {
        format!(
            "memory grew from {} MiB in the second quarter to {} MiB at the end, by more than a quarter and {} MiB",
            second >> 20,
            last >> 20,
            SLACK >> 20
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(memory: impl Iterator<Item = u64>) -> Vec<Sample> {
        let usage = |memory| Usage { memory: memory << 20, descriptors: 20, threads: 4 };
        memory.map(|memory| Sample { servers: [usage(memory), usage(1)], ..Sample::default() }).collect()
    }

    #[test]
    fn memory_that_goes_on_growing_is_found_out() {
        assert_eq!(too_much(growth(&of((0..40).map(|at| 100 + at % 7)), 0)), None);
        let told = too_much(growth(&of((0..40).map(|at| 100 + 3 * at)), 0)).unwrap();
        assert!(told.contains("145 MiB") && told.contains("214 MiB"), "{told}");
        assert_eq!(growth(&[], 0), (0, 0));
        assert_eq!(most(&of([5, 9, 2].into_iter())).memory, 9 << 20);
    }

    #[test]
    fn the_system_tells_what_a_process_uses() {
        let usage = usage(std::process::id()).unwrap();
        assert!(usage.memory > 1 << 20 && usage.descriptors >= 3 && usage.threads >= 1, "{usage:?}");
    }
}
