//! What statements ask for, in the order in which `row` reads it.

/// What [`row::entry`](super::row::entry) reads of `e`.
macro_rules! entry {
    () => {
        "e.version, e.number, e.writer, e.size, e.hash, e.shape, e.head, e.codec, e.body,
         CASE WHEN e.codec = 4 THEN coalesce(e.value::text, 'null') END"
    };
}
pub(super) use entry;

/// What [`row::info`](super::row::info) reads of `e`: the text only of what something else wrote.
macro_rules! info {
    () => {
        "e.version, e.number, e.writer, e.size, e.hash, e.shape, e.head, e.codec, ''::bytea,
         CASE WHEN e.number IS NULL AND e.codec = 4 THEN coalesce(e.value::text, 'null') END"
    };
}
pub(super) use info;

/// How many columns each of these is.
pub(super) const COLUMNS: usize = 10;

/// A moment in milliseconds, as `excom.millis` says it.
macro_rules! millis {
    ($at:literal) => {
        concat!("floor(extract(epoch FROM ", $at, ") * 1000)::int8")
    };
}
pub(super) use millis;

/// What [`row::attempt`](super::row::attempt) reads of `a`, which is of `excom.attempt()`.
macro_rules! attempt {
    () => {
        concat!("a.number, a.attempt, a.state, ", millis!("a.started"), ", ", millis!("a.ended"))
    };
}
pub(super) use attempt;
