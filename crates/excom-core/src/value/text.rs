//! A value inside other types: it is written and read as its own JSON text, never as a tree.

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::value::RawValue;

use super::{Value, secret};

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.secret {
            secret::mark();
        }
        let text: &RawValue = serde_json::from_slice(self.bytes()).map_err(S::Error::custom)?;
        text.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text: Box<RawValue> = Deserialize::deserialize(deserializer)?;
        let value = Self::parse(String::from(Box::<str>::from(text))).map_err(D::Error::custom)?;
        Ok(Self { secret: secret::is_read(), ..value })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_value_inside_another_keeps_its_text() {
        let text = r#"{"a":[1.0, 12345678901234567890123],"b":{"z":null, "a":"é"}}"#;
        let values: BTreeMap<String, Value> = Value::parse(text).unwrap().get().unwrap();
        assert_eq!(values["b"].as_str(), r#"{"z":null, "a":"é"}"#);
        assert_eq!(Value::of(&values).unwrap().as_str(), text);
        let whole = Value::parse(" [1, 2] ").unwrap();
        assert_eq!(whole.get::<Value>().unwrap().as_str(), "[1, 2]");
        assert_eq!(Value::of(&whole).unwrap().as_str(), "[1, 2]");
    }
}
