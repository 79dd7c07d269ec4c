//! `excom dictionary`: what makes the small values of a DAG shorter, and what it saves.

use clap::{Arg, ArgMatches, Command};
use excom::Engine;
use excom::core::dictionary::{Dictionary, Gain, Training};
use serde_json::{Value as Json, json};

use crate::context::{self, Context};
use crate::output::{Output, Style};
use crate::stop::Stop;
use crate::text::{self, Table};

pub(crate) fn command() -> Command {
    let dag_id = || Arg::new("dag-id").long("dag-id").value_name("ID");
    Command::new("dictionary")
        .about("What the small values of a DAG have in common, so that each is stored shorter")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("list")
                .about("Show the dictionaries, and what each saved when it was trained")
                .arg(dag_id().help("Only those of this DAG")),
        )
        .subcommand(
            Command::new("train")
                .about("Train a dictionary on the newest small values of a DAG that are in the metadata database")
                .arg(dag_id().help("Of this DAG, also when it has one [default: every DAG that could use its first]"))
                .after_help(
                    "It takes 500 values of 128 bytes to 8 KiB. What it saves is measured on values that it was not\n\
                     trained on; one that saves less than 20% is not kept. From then on values of the DAG are stored\n\
                     with it, where that makes them shorter; what is stored already stays as it is. Running programs\n\
                     find it within a minute or so.\n\n\
                     A dictionary holds pieces that at least 20 of the values shared, also after these were deleted.\n\
                     Secrets are never trained on.",
                ),
        )
}

pub(crate) async fn run(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    match matches.subcommand() {
        Some(("train", matches)) => train(context, matches, output).await,
        Some((_, matches)) => list(context, matches, output).await,
        None => Ok(()),
    }
}

async fn list(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let (engine, empty) = context.reader()?;
    let dag_id = matches.get_one::<String>("dag-id").map(String::as_str);
    let dictionaries = engine.db().dictionaries(dag_id).await?;
    if output.json() {
        let items: Vec<Json> = dictionaries.iter().map(document).collect();
        return output.document(&json!({"items": items}));
    }
    if dictionaries.is_empty() {
        output.say("there are no dictionaries");
        output.say(&format!("  {}", empty.as_deref().unwrap_or("`excom dictionary train` makes them")));
        return Ok(());
    }
    let mut table = Table::new(vec!["dictionary", "dag", "size", "trained", "saves"]);
    for dictionary in &dictionaries {
        table.row([
            dictionary.id.to_string(),
            dictionary.dag_id.to_string(),
            text::size(dictionary.bytes),
            text::time(dictionary.trained_at),
            format!("{}%", dictionary.gain.percent()),
        ]);
    }
    for (i, line) in table.lines().enumerate() {
        output.line(&if i == 0 { output.styled(Style::Heading, &line) } else { line })?;
    }
    Ok(())
}

async fn train(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let engine = context.engine()?;
    let trained = train_all(&engine, matches.get_one::<String>("dag-id")).await;
    context::close(&engine, output).await;
    let trained = trained?;
    if output.json() {
        let document = |(dag_id, training): &(String, Training)| match training {
            Training::Kept(dictionary) => {
                json!({"dag_id": dag_id, "kept": true, "dictionary": document(dictionary)})
            }
            Training::NotWorth(gain) => {
                json!({"dag_id": dag_id, "kept": false, "gain": gain, "percent": gain.percent()})
            }
            Training::TooFew { found, needed } => {
                json!({"dag_id": dag_id, "kept": false, "found": found, "needed": needed})
            }
        };
        let items: Vec<Json> = trained.iter().map(document).collect();
        return output.document(&json!({"items": items}));
    }
    if trained.is_empty() {
        return output.line("no DAG without a dictionary has enough small values for one");
    }
    trained.iter().try_for_each(|(dag_id, training)| output.line(&text::tame(&told(dag_id, training))))
}

async fn train_all(engine: &Engine, dag_id: Option<&String>) -> Result<Vec<(String, Training)>, Stop> {
    let dags = match dag_id {
        Some(dag_id) => vec![dag_id.clone()],
        None => engine.db().without_dictionary().await?.iter().map(ToString::to_string).collect(),
    };
    let mut trained = Vec::with_capacity(dags.len());
    for dag_id in dags {
        let training = engine.train_dictionary(&dag_id).await?;
        trained.push((dag_id, training));
    }
    Ok(trained)
}

fn document(dictionary: &Dictionary) -> Json {
    let mut document = json!(dictionary);
    document["gain"]["percent"] = json!(dictionary.gain.percent());
    document
}

fn told(dag_id: &str, training: &Training) -> String {
    match training {
        Training::Kept(Dictionary { id, bytes, gain, .. }) => format!(
            "{dag_id}: dictionary {id} of {}; {} take {} with it, {} without: {}% less",
            text::size(*bytes),
            text::count(gain.samples.into(), "other value"),
            text::size(gain.after),
            text::size(gain.before),
            gain.percent()
        ),
        Training::NotWorth(gain) => {
            format!(
                "{dag_id}: not kept, it would save {}%, and {}% is the least",
                gain.percent(),
                Gain::LEAST
            )
        }
        Training::TooFew { found, needed } => {
            format!(
                "{dag_id}: {} in the metadata database, it takes {needed}",
                text::count(*found, "small value")
            )
        }
    }
}
