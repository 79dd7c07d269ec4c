//! `excom xcom get`: a value with who pushed it, when, its size, its checksum and where it is.

use clap::ArgMatches;
use excom::core::answer::Found;
use excom::core::entry::{Version, Writer};
use excom::core::seal::Reference;
use excom::core::value::ContentHash;
use excom::core::value::secret::REDACTED;
use excom::{Shape, Value, XComKey};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{no_value, raw, reveals};
use crate::context::Context;
use crate::door::About;
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
    size: Option<u64>,
    hash: Option<ContentHash>,
    #[serde(flatten)]
    shape: Shape,
    offloaded: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    secret: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a Reference>,
    value: Box<RawValue>,
}

pub(crate) async fn run(context: &Context, matches: &ArgMatches, output: &mut Output) -> Result<(), Stop> {
    let key = identity::xcom(matches, context.environment())?;
    let (door, empty) = context.looking()?;
    let answer = door.answer(&key).await?;
    let about = door.about(&key).await?;
    door.close(output).await;
    let Some(answer) = answer else { return Ok(()) };
    let Some(Found { value, version, writer }) = answer.found() else {
        return Err(no_value(answer, empty));
    };
    // A push between the two reads makes the second one another version; then where it is stays open.
    let about = about.filter(|about| about.version == *version);
    let reference = about.as_ref().and_then(|about| about.reference.as_ref());
    let secret = value.is_secret();
    // A checksum of a secret would tell it, so what is told is that of what is stored for it.
    let (size, hash) = match (&about, secret) {
        (Some(about), _) => (Some(about.size), Some(about.hash)),
        (None, false) => (Some(value.size()), Some(ContentHash::of(value.bytes()))),
        (None, true) => (None, None),
    };
    let concealed = secret && !reveals(&door.caller, matches);
    if output.json() {
        return output.document(&Document {
            answer: answer.code(),
            key: &key,
            version: *version,
            pushed_at: version.time(),
            writer,
            size,
            hash,
            shape: value.shape(),
            offloaded: about.as_ref().is_some_and(|about| about.offloaded),
            secret,
            reference,
            value: if concealed { raw(&Value::of(REDACTED)?)? } else { raw(value)? },
        });
    }
    let place = match (&about, reference) {
        (None, _) => "replaced while it was read".to_owned(),
        (Some(About { offloaded: true, .. }), None) => "in a value store of the server".to_owned(),
        (Some(_), None) => "in the metadata database".to_owned(),
        (Some(_), Some(reference)) => format!(
            "in the value store `{}` as {}, sealed with key {}",
            reference.store, reference.codec, reference.key_id
        ),
    };
    let size = size.map_or_else(String::new, |size| format!(", {}", text::size(size)));
    let kind = format!("{}{}{size}", if secret { "secret " } else { "" }, value.shape());
    for (name, told) in [
        ("xcom", text::tame(&key.to_string())),
        ("version", version.to_string()),
        ("pushed", format!("{} by {}", text::time(version.time()), text::tame(&writer.to_string()))),
        ("kind", kind),
        ("hash", hash.map_or_else(|| "not known".to_owned(), |hash| hash.to_string())),
        ("where", place),
    ] {
        output.line(&format!("{}{told}", output.styled(Style::Heading, &format!("{name:<9}"))))?;
    }
    output.bytes(output.styled(Style::Heading, "value    ").as_bytes())?;
    if concealed {
        output.say("it is a secret; --reveal shows it");
    }
    output.line(if concealed { REDACTED } else { value.as_str() })
}
