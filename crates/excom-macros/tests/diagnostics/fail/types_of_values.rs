extern crate excom_flow as excom;

use excom::prelude::*;

struct Opaque;

type Hidden = std::result::Result<u8, String>;

#[task]
fn takes(value: Opaque) {
    let _ = value;
}

#[task]
fn gives() -> Opaque {
    Opaque
}

#[task]
fn hides() -> Hidden {
    Ok(1)
}

#[task]
fn odd_error() -> std::result::Result<u8, Opaque> {
    Ok(1)
}

fn main() {}
