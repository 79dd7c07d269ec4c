//! Airflow's own classes that tasks pass to each other.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::envelope::{self, Kind};

/// An Airflow `Asset`.
///
/// ```
/// use excom_airflow::python::Asset;
///
/// let asset = Asset::new("days", "s3://weather/days");
/// assert_eq!(asset.group, "asset");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Asset {
    /// Its name.
    pub name: String,
    /// Where the data is.
    pub uri: String,
    /// The group that it belongs to; `asset` by default.
    #[serde(default = "default_group")]
    pub group: String,
    /// What else is noted about it.
    #[serde(default)]
    pub extra: Map<String, Value>,
    /// The watchers, as Airflow writes them.
    #[serde(default)]
    pub watchers: Vec<Value>,
    /// Who may write and read it, as Airflow writes it; none lets Airflow take its default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_control: Option<Value>,
}

impl Asset {
    /// An asset with a name and a place.
    pub fn new(name: impl Into<String>, uri: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            uri: uri.into(),
            group: default_group(),
            extra: Map::new(),
            watchers: Vec::new(),
            access_control: None,
        }
    }
}

/// An Airflow `AssetAlias`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct AssetAlias {
    /// Its name.
    pub name: String,
    /// The group that it belongs to; `asset` by default.
    #[serde(default = "default_group")]
    pub group: String,
}

impl AssetAlias {
    /// An alias with a name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), group: default_group() }
    }
}

fn default_group() -> String {
    "asset".to_owned()
}

/// An Airflow `ObjectStoragePath`: a URI, and the connection that leads there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct ObjectStoragePath {
    /// The URI, such as `s3://bucket/key`.
    pub path: String,
    /// The id of the connection; none for what needs none.
    #[serde(default)]
    pub conn_id: Option<String>,
    /// Further options of the store.
    #[serde(default)]
    pub kwargs: Map<String, Value>,
}

impl ObjectStoragePath {
    /// A path that needs no connection.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), conn_id: None, kwargs: Map::new() }
    }
}

/// The derived implementations above are for the data; these put it into its envelope.
macro_rules! class {
    ($class:ident, $path:literal, $version:literal, $name:literal) => {
        impl Serialize for $class {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                struct Data<'a>(&'a $class);
                impl Serialize for Data<'_> {
                    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                        $class::serialize(self.0, serializer)
                    }
                }
                envelope::write(serializer, $path, $version, &Data(self))
            }
        }

        impl<'de> Deserialize<'de> for $class {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                const KIND: Kind = Kind { name: $name, is: |class| class == $path, newest: $version };
                struct Data($class);
                impl<'de> Deserialize<'de> for Data {
                    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                        $class::deserialize(deserializer).map(Self)
                    }
                }
                envelope::read::<Data, _>(deserializer, &KIND).map(|read| read.into_data().0)
            }
        }
    };
}

class!(Asset, "airflow.sdk.definitions.asset.Asset", 1, "an asset");
class!(AssetAlias, "airflow.sdk.definitions.asset.AssetAlias", 0, "an asset alias");
class!(ObjectStoragePath, "airflow.sdk.io.path.ObjectStoragePath", 1, "a path in an object store");
