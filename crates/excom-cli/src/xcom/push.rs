//! `excom xcom push`: a value from the argument or from standard input.

use clap::ArgMatches;
use excom::contract::{self, Contracts};
use excom::core::backend::collect;
use excom::core::engine::{Receipt, SECRET_LIMIT};
use excom::{Caller, Engine, Payload, Value, XComKey};
use serde::Serialize;

use crate::context::Context;
use crate::output::Output;
use crate::stop::Stop;
use crate::{identity, input, text};

/// What was pushed, and where.
#[derive(Serialize)]
struct Pushed<'a> {
    key: &'a XComKey,
    #[serde(flatten)]
    receipt: &'a Receipt,
}

pub(crate) async fn run(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let key = identity::xcom(matches, context.environment())?;
    let argument = matches.get_one::<String>("value").map_or("", String::as_str);
    let payload = match (argument, matches.get_flag("text")) {
        ("-", false) => Payload::Stream(input::json(std::io::stdin())),
        ("-", true) => Payload::Stream(input::text(std::io::stdin())),
        (argument, true) => Value::of(argument)?.into(),
        (argument, false) => match Value::parse(argument.to_owned()) {
            Ok(value) => value.into(),
            Err(error) => return Err(error.hint("or push the argument as text with --text").into()),
        },
    };
    let payload = match matches.get_flag("secret") {
        // It is whole in memory while it is sealed.
        true => collect(payload, SECRET_LIMIT).await?.into_secret().into(),
        false => payload,
    };
    let door = context.writing()?;
    let payload = match (door.here(), &door.caller) {
        // A server has no contracts to check by.
        (Some(engine), Caller::Attempt(_)) => checked(context, engine, &key, payload, output).await?,
        _ => payload,
    };
    let receipt = door.push(&key, payload).await?;
    door.close(output).await;
    if output.json() {
        return output.document(&Pushed { key: &key, receipt: &receipt });
    }
    for warning in &receipt.warnings {
        output.say(&format!("warning: {warning}"));
    }
    if output.terminal() {
        let place = if receipt.offloaded { ", in a file of its own" } else { "" };
        output.line(&format!(
            "pushed {}: {}{}, {}{place}, version {}",
            text::tame(&key.to_string()),
            if receipt.secret { "secret " } else { "" },
            receipt.shape,
            text::size(receipt.size),
            receipt.version
        ))?;
    }
    Ok(())
}

/// What a task pushes, checked as far as it may be inline; more is streamed, and only its reader sees it whole.
async fn checked(
    context: &Context,
    engine: &Engine,
    key: &XComKey,
    payload: Payload,
    output: &mut Output,
) -> Result<Payload, Stop> {
    let payload = match payload {
        Payload::Stream(stream) => input::look_ahead(stream, engine.backend().inline_limit()).await?,
        payload => payload,
    };
    if let Payload::Value(value) = &payload {
        check(context, engine, key, value, output).await?;
    }
    Ok(payload)
}

/// Whether a task may push the value: its DAG may declare another type for the key.
async fn check(
    context: &Context,
    engine: &Engine,
    key: &XComKey,
    value: &Value,
    output: &mut Output,
) -> Result<(), Stop> {
    let contracts = *context.settings()?.xcom.contracts;
    if contracts == Contracts::Off {
        return Ok(());
    }
    match contract::check_push(engine, key, value).await {
        Err(error) if contracts == Contracts::Warn => output.say(&format!("warning: {error}")),
        checked => checked?,
    }
    Ok(())
}
