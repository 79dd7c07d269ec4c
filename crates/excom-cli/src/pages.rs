//! `excom completions` and `excom man`: what is made of the command line itself, for shells and for `man`.

use std::path::{Path, PathBuf};

use clap::ArgMatches;
use clap_complete::Shell;
use clap_mangen::Man;
use excom::{Error, ErrorKind};

use crate::arguments;
use crate::output::Output;
use crate::stop::Stop;

/// The command's name, whatever its file is called.
const NAME: &str = "excom";

/// Prints a completion script.
pub(crate) fn completions(matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let shell = matches.get_one::<Shell>("shell").copied().unwrap_or(Shell::Bash);
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut arguments::command(), NAME, &mut script);
    output.bytes(&script)
}

/// Prints the manual page of the command, or writes those of all commands into a folder.
pub(crate) fn man(matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let Some(folder) = matches.get_one::<PathBuf>("dir") else {
        let mut page = Vec::new();
        Man::new(arguments::command()).render(&mut page).map_err(Stop::output)?;
        return output.bytes(&page);
    };
    let written =
        std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(arguments::command(), folder));
    written.map_err(|cause| refused(folder, cause))?;
    output.say(&format!("the manual pages are in {}", folder.display()));
    Ok(())
}

fn refused(folder: &Path, cause: std::io::Error) -> Error {
    let what = format!("the manual pages cannot be written into {}", folder.display());
    Error::new(ErrorKind::ReadOnly, what).because(cause).hint("name a folder that you can write with --dir")
}
