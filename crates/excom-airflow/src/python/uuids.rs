//! UUIDs.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::envelope::{self, Kind};

/// A Python `UUID`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub ::uuid::Uuid);

const UUID: Kind = Kind { name: "a UUID", is: |class| class == "uuid.UUID", newest: 1 };

impl Serialize for Uuid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        envelope::write(serializer, "uuid.UUID", 1, &self.0)
    }
}

impl<'de> Deserialize<'de> for Uuid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        envelope::read(deserializer, &UUID).map(|read| Self(read.into_data()))
    }
}

super::with! {
    /// A field that is a `UUID` in Python: `#[serde(with = "excom::python::uuid")]`.
    uuid: Uuid of ::uuid::Uuid
}
