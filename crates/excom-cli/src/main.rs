//! The `excom` command, with the backends that settings can select.

fn main() -> std::process::ExitCode {
    excom_cli::run(|engine, _| Ok(engine))
}
