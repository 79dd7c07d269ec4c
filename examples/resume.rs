//! Going on with a run: the first time, the program dies half-way on purpose, as it would when the power fails. What
//! was done stays done.
//!
//! ```sh
//! cargo run --example resume                    # dies at the third of five parts
//! cargo run --example resume -- run --resume    # does the other three
//! cargo run --example resume -- xcoms           # what both left
//! cargo run --example resume -- rerun part      # does all parts again
//! ```

#![expect(clippy::print_stdout, reason = "what a task prints goes to the program's output")]

use std::process::exit;

use excom::prelude::*;

#[task]
fn parts() -> Vec<u32> {
    vec![10, 20, 30, 40, 50]
}

/// One after the other, so that it is plain what was done when the program died.
#[task(max_active_tis_per_dagrun = 1)]
fn part(size: u32, ti: &TaskInstance) -> Result<u32> {
    let home = ti.home().ok_or("a program has a home")?;
    let died_before = home.join("resume-example-died");
    if ti.map_index() == 2 && !died_before.exists() {
        std::fs::write(&died_before, "")?;
        println!("part {}: the power fails", ti.map_index());
        exit(70);
    }
    println!("part {}: {size} done", ti.map_index());
    Ok(size)
}

#[task]
fn total(parts: Vec<u32>) -> u32 {
    parts.into_iter().sum()
}

/// Adds up parts, and dies on the way the first time.
#[dag]
fn resume(dag: &Dag) {
    total(dag, part(dag, expand(parts(dag))));
}

excom::main!(resume, show = "total");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_make_the_total() {
        assert_eq!(total::call(parts::call()), 150);
    }
}
