//! Cargo and other programs as child processes. One at a time: a machine with two cores has no room for
//! two builds.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Where builds go, also when the environment moves it.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |set| root().join(set))
}

/// The cargo that runs this, with arguments, at the root.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root()).stdin(Stdio::null());
    command
}

/// Runs a command with our own output; whether it succeeded.
pub(crate) fn succeeds(command: &mut Command) -> Result<bool, String> {
    command.status().map(|status| status.success()).map_err(|error| cannot(command, &error))
}

/// Whether a part of the toolchain is installed.
pub(crate) fn has(part: &str) -> bool {
    let silent = cargo(&[part, "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    silent.is_ok_and(|status| status.success())
}

/// Runs a command and gives each line of its standard output away as it comes; whether it succeeded.
pub(crate) fn lines(command: &mut Command, mut each: impl FnMut(&str)) -> Result<bool, String> {
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| cannot(command, &error))?;
    if let Some(output) = child.stdout.take() {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        // Tests may print anything, so lines are bytes first.
        while output.read_until(b'\n', &mut line).map_err(|error| cannot(command, &error))? > 0 {
            each(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']));
            line.clear();
        }
    }
    child.wait().map(|status| status.success()).map_err(|error| cannot(command, &error))
}

/// All that a command prints.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| cannot(command, &error))?;
    if !output.status.success() {
        return Err(format!("{command:?} ended with {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|error| cannot(command, &error))
}

/// Builds a package's binaries in release; whether it succeeded.
pub(crate) fn build_release(package: &str) -> Result<bool, String> {
    succeeds(&mut cargo(&["build", "--release", "--quiet", "--package", package]))
}

/// Runs a package's binary in release with arguments; it keeps our input and output.
pub(crate) fn run_release(package: &str, arguments: &[String]) -> Result<bool, String> {
    succeeds(cargo(&["run", "--release", "--quiet", "--package", package, "--"]).args(arguments))
}

fn cannot(command: &Command, error: &dyn std::fmt::Display) -> String {
    format!("cannot run {}: {error}", command.get_program().display())
}
