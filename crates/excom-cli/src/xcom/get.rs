//! `excom xcom get`: a value with who pushed it, when, its size, its checksum and where it is.

use clap::ArgMatches;
use excom::core::answer::Found;
use excom::core::entry::{Version, Writer};
use excom::core::seal::Reference;
use excom::core::value::ContentHash;
use excom::{PullOptions, Shape, Stored, XComKey};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{no_value, raw};
use crate::context::{self, Context};
use crate::output::{Output, Style};
use crate::stop::Stop;
use crate::{identity, text};

/// All that is known, as a document.
#[derive(Serialize)]
struct Document<'a> {
    answer: &'static str,
    key: &'a XComKey,
    version: Version,
    pushed_at: Timestamp,
    writer: &'a Writer,
    size: u64,
    hash: ContentHash,
    #[serde(flatten)]
    shape: Shape,
    offloaded: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a Reference>,
    value: Box<RawValue>,
}

pub(crate) async fn run(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let key = identity::xcom(matches, context.environment())?;
    let caller = identity::caller(context.environment())?;
    let (engine, empty) = context.reader()?;
    let answer = engine.pull(&caller, std::slice::from_ref(&key), PullOptions::default()).await?.pop();
    let entry = engine.db().entries(std::slice::from_ref(&key)).await?.pop().flatten();
    context::close(&engine, output).await;
    let Some(answer) = answer else { return Ok(()) };
    let Some(Found { value, version, writer }) = answer.found() else {
        return Err(no_value(answer, empty));
    };
    // A push between the two reads makes the second one another version; then where it is stays open.
    let stored = entry.filter(|entry| entry.version == *version).map(|entry| entry.stored);
    let reference = match &stored {
        Some(Stored::Offloaded(reference)) => Some(reference),
        _ => None,
    };
    let hash = ContentHash::of(value.bytes());
    if output.json() {
        return output.document(&Document {
            answer: answer.code(),
            key: &key,
            version: *version,
            pushed_at: version.time(),
            writer,
            size: value.size(),
            hash,
            shape: value.shape(),
            offloaded: reference.is_some(),
            reference,
            value: raw(value)?,
        });
    }
    let place = match (&stored, reference) {
        (None, _) => "replaced while it was read".to_owned(),
        (Some(_), None) => "in the metadata database".to_owned(),
        (Some(_), Some(reference)) => format!(
            "in the value store `{}` as {}, sealed with key {}",
            reference.store, reference.codec, reference.key_id
        ),
    };
    for (name, told) in [
        ("xcom", text::tame(&key.to_string())),
        ("version", version.to_string()),
        ("pushed", format!("{} by {}", text::time(version.time()), text::tame(&writer.to_string()))),
        ("kind", format!("{}, {}", value.shape(), text::size(value.size()))),
        ("hash", hash.to_string()),
        ("where", place),
    ] {
        output.line(&format!("{}{told}", output.styled(Style::Heading, &format!("{name:<9}"))))?;
    }
    output.bytes(output.styled(Style::Heading, "value    ").as_bytes())?;
    output.line(value.as_str())
}
