//! The project's own commands: `cargo xtask test | prove | layers | bench | ci`.
//!
//! It depends on no crate of the project, so it is there in seconds on a fresh machine and also when
//! nothing else compiles.

mod cargo;
mod layers;
mod summary;
mod test;

use std::io::{self, Write as _};
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask COMMAND

  test [STEP]             what must pass on every change; STEP is fmt, clippy, layers, tests or docs
  layers                  the direction of dependencies, and what may be depended on at all
  prove [NAME [OPTION…]]  a long proof, in release; without a name, which there are
  bench [GROUP or ROW…] [--json] [--quick]
                          measures against bench/goals.toml
  ci                      what .ci/run calls: the same as test
";

/// The proofs that the testkit knows, a line each; the testkit reads the same file.
const PROOFS: &str = include_str!("../../crates/excom-testkit/proofs.txt");

/// Those that use the real `excom` command, which is built for them.
const OF_THE_COMMAND: [&str; 2] = ["hunt", "soak"];

/// The proof that is a suite of tests.
const ATTACHED: &str = "attached [RELEASE…]               older releases of Airflow make their databases, and the suite passes attached to them";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", &[][..]),
    };
    let passed = match (command, rest) {
        ("test", []) | ("ci", []) => test::run(None),
        ("test", [step]) => test::run(Some(step)),
        ("layers", []) => layers::run(),
        ("prove", []) => {
            say(&format!("{}\n{ATTACHED}", PROOFS.trim_end()));
            Ok(true)
        }
        ("prove", [name, releases @ ..]) if name == "attached" => attached(releases),
        ("prove", [name, ..]) if !PROOFS.lines().any(|line| line.split(' ').next() == Some(name)) => {
            Err(format!("there is no proof `{name}`; there are\n{}\n{ATTACHED}", PROOFS.trim_end()))
        }
        ("prove", [name, ..]) if OF_THE_COMMAND.contains(&name.as_str()) => cargo::build_release("excom-cli")
            .and_then(|built| if built { cargo::run_release("excom-testkit", rest) } else { Ok(false) }),
        ("prove", rest) => cargo::run_release("excom-testkit", rest),
        // It measures the real command too.
        ("bench", rest) => cargo::build_release("excom-cli")
            .and_then(|built| if built { cargo::run_release("excom-bench", rest) } else { Ok(false) }),
        ("help" | "--help" | "-h", _) => {
            say(USAGE.trim_end());
            Ok(true)
        }
        _ => Err(format!("`cargo xtask {}` is unknown\n\n{USAGE}", arguments.join(" "))),
    };
    match passed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Nobody is left to tell when standard error is closed.
            drop(writeln!(io::stderr(), "xtask: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs the suite of attached databases on those that older releases of Airflow made, each by its own `db migrate`.
fn attached(releases: &[String]) -> Result<bool, String> {
    let releases: Vec<&str> = match releases {
        [] => vec!["3.0.6", "3.1.8", "3.2.2"],
        named => named.iter().map(String::as_str).collect(),
    };
    let tests = ["--features", "postgres", "--test", "attached", "--test", "attached_sqlite"];
    let arguments = [&["test", "-p", "excom-db"], &tests[..], &["--", "conformance::", "outside::"]].concat();
    for release in releases {
        say(&format!("---- Airflow {release}"));
        if !cargo::succeeds(cargo::cargo(&arguments).env("EXCOM_TEST_AIRFLOW", release))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Prints a line. Whoever closed the pipe wants no more of it, which is no failure of the command.
fn say(line: &str) {
    drop(writeln!(io::stdout(), "{line}"));
}
