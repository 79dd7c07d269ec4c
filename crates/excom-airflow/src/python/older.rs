//! Arguments as workers before Airflow 3.2 read them: each dict says that it is one, and classes have short names.

use serde_json::value::RawValue;
use serde_json::{Error, json};

use super::envelope::{CLASS, LEGACY_DATA, LEGACY_DICT, LEGACY_TYPE};
use super::parts::{Parts, last};
use super::plain::{Object, object};

/// Arguments that a newer worker wrote, for an older one; what an older one wrote stays as it is. Datetimes, spans of
/// time, tuples and sets keep their type, an object of another class is the dict that it is written as.
///
/// # Errors
/// None that JSON text can have.
pub(crate) fn older(arguments: &RawValue) -> Result<Box<RawValue>, Error> {
    let is_older = match Parts::of(arguments) {
        Some(Parts::Dict(entries)) => entries.iter().any(|(name, _)| name == LEGACY_TYPE),
        _ => true,
    };
    if is_older { Ok(arguments.to_owned()) } else { RawValue::from_string(written(arguments)) }
}

fn written(raw: &RawValue) -> String {
    match Parts::of(raw) {
        Some(Parts::List(elements)) => list(&elements),
        Some(Parts::Dict(entries)) => of_class(&entries).unwrap_or_else(|| {
            let entries =
                entries.iter().map(|(name, element)| format!("{}:{}", json!(name), written(element)));
            typed(LEGACY_DICT, &format!("{{{}}}", entries.collect::<Vec<_>>().join(",")))
        }),
        Some(Parts::Scalar(_)) | None => raw.get().to_owned(),
    }
}

/// An object of a class that has a short name.
fn of_class(entries: &[(String, &RawValue)]) -> Option<String> {
    let Object { class, data } = object(entries).filter(|_| entries.iter().any(|(name, _)| name == CLASS))?;
    let collection = |name| match Parts::of(data?)? {
        Parts::List(elements) => Some(typed(name, &list(&elements))),
        _ => None,
    };
    match class?.as_str() {
        "datetime.datetime" | "pendulum.datetime.DateTime" => {
            let Parts::Dict(fields) = Parts::of(data?)? else { return None };
            Some(typed("datetime", last(&fields, "timestamp")?.get()))
        }
        "datetime.timedelta" => Some(typed("timedelta", data?.get())),
        "builtins.tuple" => collection("tuple"),
        "builtins.set" | "builtins.frozenset" => collection("set"),
        _ => None,
    }
}

fn list(elements: &[&RawValue]) -> String {
    format!("[{}]", elements.iter().map(|element| written(element)).collect::<Vec<_>>().join(","))
}

fn typed(name: &str, data: &str) -> String {
    format!(r#"{{"{LEGACY_TYPE}":"{name}","{LEGACY_DATA}":{data}}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        older(&RawValue::from_string(text.to_owned()).unwrap()).unwrap().get().to_owned()
    }

    #[test]
    fn dicts_say_that_they_are() {
        let read = of(r#"{"event": {"a": [1.50, {"b": null}]}, "é": 12345678901234567890123}"#);
        assert_eq!(
            read,
            r#"{"__type":"dict","__var":{"event":{"__type":"dict","__var":{"a":[1.50,{"__type":"dict","__var":{"b":null}}]}},"é":12345678901234567890123}}"#
        );
        assert_eq!(of(&read), read, "what an older one wrote");
    }

    #[test]
    fn classes_have_short_names() {
        let object = |class: &str, version: u8, data: &str| {
            of(&format!(r#"{{"x":{{"__classname__":"{class}","__version__":{version},"__data__":{data}}}}}"#))
        };
        let short = |data: &str| format!(r#"{{"__type":"dict","__var":{{"x":{data}}}}}"#);
        for class in ["datetime.datetime", "pendulum.datetime.DateTime"] {
            let read = object(class, 2, r#"{"timestamp":1795219200.25,"tz":null}"#);
            assert_eq!(read, short(r#"{"__type":"datetime","__var":1795219200.25}"#));
        }
        assert_eq!(object("datetime.timedelta", 1, "90.0"), short(r#"{"__type":"timedelta","__var":90.0}"#));
        assert_eq!(object("builtins.tuple", 1, "[1,[2]]"), short(r#"{"__type":"tuple","__var":[1,[2]]}"#));
        assert_eq!(object("builtins.frozenset", 1, "[1]"), short(r#"{"__type":"set","__var":[1]}"#));
        let kept = r#"{"__type":"dict","__var":{"__classname__":"a.B","__version__":1,"__data__":1}}"#;
        assert_eq!(object("a.B", 1, "1"), short(kept));
    }
}
