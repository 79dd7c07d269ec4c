//! The proofs as a program: `cargo xtask prove NAME`, and the children that they start.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use excom_testkit::place::Place;
use excom_testkit::{
    Result, child, crash, dags, faults, first_start, heartbeat, home, hunt, processes, soak,
};

const PROOFS: &str = include_str!("../proofs.txt");

fn main() -> ExitCode {
    match dags::serve_task() {
        Some(Ok(code)) => return code,
        Some(Err(error)) => {
            drop(writeln!(io::stderr(), "prove: {error}"));
            return ExitCode::FAILURE;
        }
        None => {}
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        [] => child::tell(PROOFS.trim_end()).map_err(Into::into),
        [name, rest @ ..] if name.starts_with("child-") => {
            // A child tells its failure to the proof that started it.
            be_child(name, rest).inspect_err(|error| drop(child::tell(&format!("error {error}"))))
        }
        [name, options @ ..] => prove(name, options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(io::stderr(), "prove: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn be_child(name: &str, arguments: &[&str]) -> Result<()> {
    match (name, arguments) {
        ("child-crash", [folder, round, place @ ..]) => {
            crash::child(&Place::parse(place), Path::new(folder), round.parse()?)
        }
        ("child-dags", [folder, seed, delays]) => {
            dags::child(Path::new(folder), seed.parse()?, delays.parse()?)
        }
        ("child-heartbeat", [folder, bytes, place @ ..]) => {
            heartbeat::child(&Place::parse(place), Path::new(folder), bytes.parse()?)
        }
        ("child-first-start", [folder]) => first_start::child(Path::new(folder)),
        ("child-small-pushes", [folder, durability, pushes]) => {
            small_pushes(Path::new(folder), durability, pushes.parse()?)
        }
        ("child-processes", [folder, index, millis]) => {
            processes::child(Path::new(folder), index.parse()?, millis.parse()?)
        }
        _ => Err(format!("there is no child `{name}`").into()),
    }
}

/// Pushes small values one after another, for whoever watches what the operating system is asked to do.
fn small_pushes(folder: &Path, durability: &str, pushes: u64) -> Result<()> {
    let engine = excom::embedded::open(&home::settings(folder)?.with("database.durability", durability)?)?;
    let key = excom::XComKey::new("small", "run", "pushes", -1, "k")?;
    for counter in 0..pushes {
        let value = home::value(counter, 100)?;
        pollster::block_on(engine.push(&excom::Caller::user("prover"), &key, value.into()))?;
    }
    Ok(pollster::block_on(engine.close())?)
}

fn prove(name: &str, options: &[&str]) -> Result<()> {
    let program = std::env::current_exe()?;
    let seed = || -> Result<u64> {
        match option(options, "--seed")? {
            Some(seed) => Ok(seed),
            None => Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs()),
        }
    };
    let (flags, options): (Vec<&str>, Vec<&str>) =
        options.iter().partition(|option| name == "dags" && **option == "--isolate");
    let (isolate, options) = (!flags.is_empty(), options.as_slice());
    let allowed: &[&str] = match name {
        "crash" | "dags" | "faults" | "first-start" | "hunt" => &["--rounds", "--seed"],
        "processes" => &["--seconds"],
        "heartbeat" => &["--megabytes"],
        "soak" => &["--minutes", "--seed"],
        _ => return Err(format!("there is no proof `{name}`; there are\n{}", PROOFS.trim_end()).into()),
    };
    if let Some(unknown) = options.iter().step_by(2).find(|option| !allowed.contains(option)) {
        return Err(format!("`{name}` has no option `{unknown}`; it has {}", allowed.join(" and ")).into());
    }
    let begin = Instant::now();
    let report = match name {
        "crash" => {
            let (rounds, seed) = (option(options, "--rounds")?.unwrap_or(500), seed()?);
            child::tell(&format!("{rounds} rounds with --seed {seed}"))?;
            crash::prove(&program, rounds, seed)?.to_string()
        }
        "dags" => {
            let standard = if isolate { 60 } else { 300 };
            let (rounds, seed) = (option(options, "--rounds")?.unwrap_or(standard), seed()?);
            child::tell(&format!("{rounds} rounds with --seed {seed}"))?;
            dags::prove(&program, rounds, seed, isolate)?.to_string()
        }
        "faults" => {
            let (rounds, seed) = (option(options, "--rounds")?.unwrap_or(20), seed()?);
            child::tell(&format!("{rounds} rounds with --seed {seed}"))?;
            let length = faults::Length { storms: rounds, kills: rounds * 25, ..faults::Length::LONG };
            faults::prove(&program, length, seed)?.to_string()
        }
        "first-start" => {
            let (rounds, seed) = (option(options, "--rounds")?.unwrap_or(100), seed()?);
            child::tell(&format!("{rounds} rounds with --seed {seed}"))?;
            first_start::prove(&program, rounds, seed)?.to_string()
        }
        "heartbeat" => {
            let megabytes = option(options, "--megabytes")?.unwrap_or(300);
            heartbeat::prove(&program, megabytes * 1_000_000)?.to_string()
        }
        "hunt" => {
            let (rounds, seed) = (option(options, "--rounds")?.unwrap_or(20), seed()?);
            child::tell(&format!("{rounds} rounds with --seed {seed}"))?;
            hunt::prove(&command(&program)?, rounds, seed)?.to_string()
        }
        "soak" => {
            let (minutes, seed) = (option(options, "--minutes")?.unwrap_or(20), seed()?);
            child::tell(&format!("{minutes} minutes with --seed {seed}"))?;
            soak::prove(&command(&program)?, soak::Length::minutes(minutes), seed)?.to_string()
        }
        _ => processes::prove(&program, option(options, "--seconds")?.unwrap_or(10) * 1000)?.to_string(),
    };
    child::tell(&format!("{report}\nproved in {:.1} s", begin.elapsed().as_secs_f64()))?;
    Ok(())
}

/// The `excom` command of the same build, for proofs that use it as a person does.
fn command(program: &Path) -> Result<PathBuf> {
    let excom = program.with_file_name("excom");
    match excom.exists() {
        true => Ok(excom),
        false => Err(format!("{} is not built: cargo build --release -p excom-cli", excom.display()).into()),
    }
}

/// The number behind an option.
fn option(options: &[&str], name: &str) -> Result<Option<u64>> {
    match options.iter().position(|option| *option == name) {
        None => Ok(None),
        Some(at) => {
            let number = options.get(at + 1).ok_or_else(|| format!("{name} needs a number"))?;
            let number = number.parse().map_err(|error| format!("{name} {number}: {error}"))?;
            Ok(Some(number))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_proof_that_is_listed_exists() {
        for line in PROOFS.lines() {
            let name = line.split(' ').next().unwrap();
            let refusal = prove(name, &["--nonsense", "1"]).unwrap_err().to_string();
            assert!(refusal.contains("has no option `--nonsense`"), "{refusal}");
        }
        assert!(prove("nonsense", &[]).is_err());
    }

    #[test]
    fn options_are_numbers() {
        assert_eq!(option(&["--rounds", "7"], "--rounds").unwrap(), Some(7));
        assert_eq!(option(&[], "--rounds").unwrap(), None);
        assert!(option(&["--rounds"], "--rounds").is_err());
        assert!(option(&["--rounds", "x"], "--rounds").is_err());
    }
}
