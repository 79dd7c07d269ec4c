//! `excom config`: settings, what they mean and where each value comes from.

use clap::ArgMatches;
use excom::Error;
use excom::config::{self, Settings, Spec, TABLE};
use serde_json::{Value as Json, json};

use crate::context::Context;
use crate::output::{Output, Style};
use crate::stop::Stop;
use crate::text::Table;

pub(crate) fn run(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    match matches.subcommand() {
        Some(("list", matches)) => list(&context.settings()?, &chosen(matches)?, output),
        Some(("get", matches)) => get(context, matches, output),
        Some(("explain", matches)) => explain(&context.settings()?, &chosen(matches)?, output),
        _ => Ok(()),
    }
}

/// Section and key as they were typed: `core home` or `core.home`.
fn names(matches: &ArgMatches) -> (Option<&str>, Option<&str>) {
    let text = |name: &str| matches.try_get_one::<String>(name).ok().flatten().map(String::as_str);
    match (text("section"), text("key")) {
        (Some(both), None) if both.contains('.') => {
            both.split_once('.').map_or((None, None), |(section, key)| (Some(section), Some(key)))
        }
        names => names,
    }
}

/// The settings that the arguments choose: one, a section, or all.
fn chosen(matches: &ArgMatches) -> Result<Vec<&'static Spec>, Error> {
    match names(matches) {
        (Some(section), Some(key)) => config::find(section, key).map(|spec| vec![spec]),
        (Some(section), None) => {
            let specs: Vec<&Spec> = TABLE.iter().filter(|spec| spec.section == section).collect();
            if specs.is_empty() { config::find(section, "").map(|spec| vec![spec]) } else { Ok(specs) }
        }
        _ => Ok(TABLE.iter().collect()),
    }
}

fn list(settings: &Settings, specs: &[&'static Spec], output: &mut Output) -> Result<(), Stop> {
    if output.json() {
        return output.document(&document(settings, specs));
    }
    let mut table = Table::new(vec!["setting", "value", "from"]);
    for spec in specs {
        let value = spec.text(settings).to_owned();
        table.row([spec.to_string(), value, spec.origin(settings).to_string()]);
    }
    for (i, line) in table.lines().enumerate() {
        if i == 0 {
            output.line(&output.styled(Style::Heading, &line))?;
        } else {
            output.line(&line)?;
        }
    }
    Ok(())
}

fn get(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let (section, key) = names(matches);
    let Some(key) = key else {
        return Err(Stop::usage("the key is missing").hint("write `excom config get SECTION KEY`"));
    };
    let spec = config::find(section.unwrap_or_default(), key)?;
    let settings = context.settings()?;
    if output.json() {
        return output.document(&described(&settings, spec));
    }
    output.line(spec.text(&settings))
}

fn explain(settings: &Settings, specs: &[&'static Spec], output: &mut Output) -> Result<(), Stop> {
    if output.json() {
        return output.document(&document(settings, specs));
    }
    for (i, spec) in specs.iter().enumerate() {
        if i > 0 {
            output.line("")?;
        }
        output.line(&output.styled(Style::Heading, &spec.to_string()))?;
        output.line(&format!("  {}", spec.meaning))?;
        output.line(&format!("  value        {}", spec.text(settings)))?;
        output.line(&format!("  from         {}", spec.origin(settings)))?;
        output.line(&format!("  default      {}", spec.default()))?;
        output.line(&format!("  takes        {}", spec.allowed))?;
        output.line(&format!("  environment  {}", variables(spec).join(", ")))?;
    }
    Ok(())
}

fn variables(spec: &Spec) -> Vec<String> {
    std::iter::once(spec.variable())
        .chain(spec.also.iter().map(|alias| alias.variable().to_owned()))
        .collect()
}

fn document(settings: &Settings, specs: &[&'static Spec]) -> Json {
    let file = settings.file.as_ref().map(|path| path.display().to_string());
    let settings: Vec<Json> = specs.iter().map(|spec| described(settings, spec)).collect();
    json!({"file": file, "settings": settings})
}

fn described(settings: &Settings, spec: &Spec) -> Json {
    json!({
        "section": spec.section,
        "key": spec.key,
        "value": spec.text(settings),
        "origin": spec.origin(settings).to_string(),
        "default": spec.default(),
        "meaning": spec.meaning,
        "takes": spec.allowed,
        "environment": variables(spec),
    })
}
