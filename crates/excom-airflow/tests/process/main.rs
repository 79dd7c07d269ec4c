//! Tasks in real processes: whatever a process does, its outcome is clear, nothing hangs, nothing is left.

mod child;
mod crashes;
mod protocol;
mod support;
mod tasks;
mod terminating;
