//! Spans that have ended, and OTLP's JSON of them.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Value as Json, json};

/// The most bytes of a text in a span: what clients send may be longer.
const TEXT: usize = 512;

/// A span's flags say whether its parent is elsewhere (bit 9), and that they do (bit 8).
const SAYS_WHERE: u32 = 1 << 8;
const ELSEWHERE: u32 = 1 << 9;
const SAMPLED: u32 = 1;

/// What a span is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Attribute {
    Text(Cow<'static, str>),
    Number(i64),
}

impl Attribute {
    /// A text, without its end when it is long.
    pub(super) fn text(text: impl Into<Cow<'static, str>>) -> Self {
        let text = text.into();
        let end = text.floor_char_boundary(TEXT);
        Self::Text(if end < text.len() { Cow::Owned(text[..end].to_owned()) } else { text })
    }
}

pub(super) type Attributes = Vec<(&'static str, Attribute)>;

/// What kind a span is, as OTLP numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Internal = 1,
    Server = 2,
}

/// A span that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) trace: u128,
    pub(super) id: u64,
    pub(super) parent: Option<u64>,
    /// Whether another process has the parent.
    pub(super) elsewhere: bool,
    pub(super) state: String,
    pub(super) name: Cow<'static, str>,
    pub(super) kind: Kind,
    pub(super) begun: Timestamp,
    pub(super) ended: Timestamp,
    pub(super) attributes: Attributes,
    pub(super) failed: bool,
}

/// A request to a collector with these spans.
pub(super) fn document(resource: &[(String, String)], spans: &[Ended]) -> Vec<u8> {
    let resource: Vec<Json> =
        resource.iter().map(|(key, value)| json!({"key": key, "value": {"stringValue": value}})).collect();
    let spans: Vec<Json> = spans.iter().map(span).collect();
    let scope = json!({"name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION")});
    let scoped = json!([{"scope": scope, "spans": spans}]);
    json!({"resourceSpans": [{"resource": {"attributes": resource}, "scopeSpans": scoped}]})
        .to_string()
        .into_bytes()
}

/// Numbers of 64 bits are texts in protobuf's JSON.
fn span(span: &Ended) -> Json {
    let elsewhere = if span.elsewhere { ELSEWHERE } else { 0 };
    let mut told = json!({
        "traceId": format!("{:032x}", span.trace),
        "spanId": format!("{:016x}", span.id),
        "flags": SAMPLED | SAYS_WHERE | elsewhere,
        "name": span.name,
        "kind": span.kind as u8,
        "startTimeUnixNano": span.begun.as_nanosecond().to_string(),
        "endTimeUnixNano": span.ended.as_nanosecond().to_string(),
        "attributes": span.attributes.iter().map(|(key, value)| attribute(key, value)).collect::<Vec<_>>(),
        "status": if span.failed { json!({"code": 2}) } else { json!({}) },
    });
    if let Some(parent) = span.parent {
        told["parentSpanId"] = format!("{parent:016x}").into();
    }
    if !span.state.is_empty() {
        told["traceState"] = span.state.as_str().into();
    }
    told
}

fn attribute(key: &str, value: &Attribute) -> Json {
    let value = match value {
        Attribute::Text(text) => json!({"stringValue": text}),
        Attribute::Number(number) => json!({"intValue": number.to_string()}),
    };
    json!({"key": key, "value": value})
}
