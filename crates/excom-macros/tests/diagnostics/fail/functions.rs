extern crate excom_flow as excom;

use excom::prelude::*;

#[task]
fn generic<T>(value: T) {}

#[task]
fn borrowed(path: &str, days: &[u8], file: &std::path::Path) {}

#[task]
fn pattern((a, b): (u8, u8)) {}

#[task]
unsafe fn dangerous() {}

#[task]
fn mutable(ti: &mut TaskInstance) {}

#[task]
fn implied(value: impl Into<String>) {}

#[task]
fn named(dag: u8) {}

#[task]
fn reference() -> &'static str {
    "text"
}

#[task]
fn opaque() -> impl Serialize {
    1
}

#[task]
struct NotAFunction;

struct Tasks;

impl Tasks {
    #[task]
    fn method(&self) {}
}

fn main() {}
