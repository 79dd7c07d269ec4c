//! Data that is too large for an XCom: it stays in a file, and the tasks pass a pointer to it.
//!
//! Run it with `cargo run --example pointers`. A value of some megabytes that looks like a table or a
//! file can be pushed, with a hint to do this instead.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};

use excom::prelude::*;
use excom::{Checked, Pointer};

/// Writes a year, minute by minute, and pushes where they are: some hundred bytes instead of megabytes.
#[task]
fn measure() -> Result<Pointer> {
    let path = std::env::temp_dir().join(format!("excom-pointers-{}.csv", std::process::id()));
    let mut file = BufWriter::new(File::create(&path)?);
    for minute in 0..525_600 {
        let degrees = 10.0 - 12.0 * (f64::from(minute) / 525_600.0 * std::f64::consts::TAU).cos();
        writeln!(file, "{minute},{degrees:.2}")?;
    }
    file.flush()?;
    // Reads the file once, for its size and hash. `Pointer::new("s3://bucket/key")` reads nothing.
    Ok(Pointer::to_file(path)?.media_type("text/csv"))
}

/// Runs only when the file is there and has the hash that was pushed: `Checked` sees to it.
#[task]
fn warmest(data: Checked<Pointer>) -> Result<f64> {
    let mut warmest = f64::MIN;
    for line in BufReader::new(File::open(data.path()?)?).lines() {
        let line = line?;
        let (_, degrees) = line.split_once(',').ok_or("a line has no comma")?;
        warmest = warmest.max(degrees.parse()?);
    }
    Ok(warmest)
}

/// Takes the pointer as it is: only the name is needed here, and nobody reads the file again.
#[task]
fn tidy(data: Pointer, warmest: f64) -> Result<String> {
    std::fs::remove_file(data.path()?)?;
    Ok(format!("{warmest} degrees at most, of {} bytes that were never an XCom", data.size.unwrap_or(0)))
}

#[dag]
fn pointers(dag: &Dag) {
    let data = measure(dag);
    tidy(dag, data, warmest(dag, data));
}

excom::main!(pointers, show = "tidy");
