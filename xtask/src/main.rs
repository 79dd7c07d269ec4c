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

/// A proof that is tests, which pass with older releases of Airflow too.
struct Suite {
    name: &'static str,
    what: &'static str,
    /// Which, unless others are named.
    releases: &'static [&'static str],
    tests: &'static [&'static str],
}

const SUITES: [Suite; 2] = [
    Suite {
        name: "attached",
        what: "older releases make their databases, and the suite passes attached to them",
        releases: &["3.0.6", "3.1.8", "3.2.2"],
        tests: &[
            "-p",
            "excom-db",
            "--features",
            "postgres",
            "--test",
            "attached",
            "--test",
            "attached_sqlite",
            "--",
            "conformance::",
            "outside::",
        ],
    },
    Suite {
        name: "workers",
        what: "workers of older releases execute tasks with `excom serve` as their only server",
        // In 3.0 `airflow dags test` fails with one of its own examples.
        releases: &["3.1.8", "3.2.2"],
        tests: &["-p", "excom-cli", "--test", "serve", "--", "workers::airflows", "workers::tasks"],
    },
];

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
            say(&proofs());
            Ok(true)
        }
        ("prove", [name, releases @ ..])
            if let Some(suite) = SUITES.iter().find(|suite| suite.name == name) =>
        {
            passes(suite, releases)
        }
        ("prove", [name, ..]) if !PROOFS.lines().any(|line| line.split(' ').next() == Some(name)) => {
            Err(format!("there is no proof `{name}`; there are\n{}", proofs()))
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

/// All proofs, a line each.
fn proofs() -> String {
    let suites =
        SUITES.iter().map(|Suite { name, what, .. }| format!("{:<36}{what}", format!("{name} [RELEASE…]")));
    PROOFS.lines().map(str::to_owned).chain(suites).collect::<Vec<_>>().join("\n")
}

/// Runs a suite with each of some releases of Airflow, which are installed first.
fn passes(suite: &Suite, releases: &[String]) -> Result<bool, String> {
    let releases = match releases {
        [] => suite.releases.to_vec(),
        named => named.iter().map(String::as_str).collect(),
    };
    for release in releases {
        say(&format!("---- Airflow {release}"));
        let mut command = cargo::cargo(&["test"]);
        if !cargo::succeeds(command.args(suite.tests).env("EXCOM_TEST_AIRFLOW", release))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Prints a line. Whoever closed the pipe wants no more of it, which is no failure of the command.
fn say(line: &str) {
    drop(writeln!(io::stdout(), "{line}"));
}
