//! Airflow itself, installed in a virtual environment under the target folder.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::Value as Json;

/// What the corpus is recorded with.
const AIRFLOW: &str = "apache-airflow==3.3.2";

/// What Airflow made of one case.
#[derive(Debug, Deserialize)]
pub(crate) struct Rendered {
    pub(crate) text: Option<String>,
    #[serde(default, deserialize_with = "super::present")]
    pub(crate) value: Option<Json>,
    pub(crate) error: Option<String>,
}

/// Renders all cases by Airflow.
///
/// # Errors
/// Why Airflow is not to be had here.
pub(crate) fn render_all(folder: &Path) -> Result<Vec<Rendered>, String> {
    let python = installed()?;
    let cases = File::open(folder.join("cases.jsonl")).unwrap();
    let mut command = Command::new(python);
    command.arg(folder.join("render.py")).stdin(cases).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = command.output().map_err(|e| e.to_string())?;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "render.py failed: {errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    Ok(text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// The Python of an environment that has Airflow, made when there is none.
fn installed() -> Result<PathBuf, String> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let environment = target.join(AIRFLOW.replace("==", "-"));
    let python = environment.join("bin/python");
    let done = environment.join("installed");
    if done.exists() {
        return Ok(python);
    }
    let folder = environment.to_string_lossy().into_owned();
    if run("uv", &["--version"]).is_ok() {
        run("uv", &["venv", "--quiet", "--clear", &folder])?;
        run("uv", &["pip", "install", "--quiet", "--python", &python.to_string_lossy(), AIRFLOW])?;
    } else {
        run("python3", &["-m", "venv", "--clear", &folder])?;
        let python = python.to_string_lossy().into_owned();
        // uv resolves Airflow in seconds, pip in minutes.
        run(&python, &["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv"])?;
        run(&python, &["-m", "uv", "pip", "install", "--quiet", "--python", &python, AIRFLOW])?;
    }
    std::fs::write(done, "").map_err(|e| e.to_string())?;
    Ok(python)
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("{program} {}: {}", args.join(" "), error.lines().last().unwrap_or_default()))
}

/// Notes that a test could not run, for whoever counts them.
pub(crate) fn skipped(test: &str, why: &str) {
    if let Some(path) = std::env::var_os("EXCOM_SKIPPED") {
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(format!("corpus::{test}: {why}\n").as_bytes()).unwrap();
    }
}
