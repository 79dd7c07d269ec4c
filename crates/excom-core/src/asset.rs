//! Assets and their events: what a task that ended well tells of the data that it made, for tasks that come later. An asset
//! is known from its first event on, under a name and a URI; a task may also make events of assets that it names only while
//! it runs, under an alias.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{Error, ErrorKind, Result, Shape, TaskInstanceKey, Value};

/// The longest name, URI or alias, in characters, as in Airflow.
pub const NAME_LIMIT: usize = 1500;

/// The longest key of a partition, in characters, as in Airflow.
pub const PARTITION_LIMIT: usize = 250;

/// The most bytes of what is said with an event, or of an asset.
pub const EXTRA_LIMIT: usize = 64 << 10;

/// An asset that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asset {
    /// Its number, which no other has or had.
    pub id: i64,
    /// Its name.
    pub name: Arc<str>,
    /// Its URI.
    pub uri: Arc<str>,
    /// What is said of it, a JSON object; as its first event told it.
    pub extra: Value,
}

/// An event of an asset, as it is noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAssetEvent {
    /// The asset's name.
    pub name: Arc<str>,
    /// The asset's URI.
    pub uri: Arc<str>,
    /// What is said of the asset, a JSON object, if it is not known yet.
    pub asset_extra: Value,
    /// What is said with the event, a JSON object.
    pub extra: Value,
    /// Which part of the asset it is of, if one.
    pub partition_key: Option<Arc<str>>,
    /// The aliases under which it was made.
    pub aliases: Vec<Arc<str>>,
}

/// An event of an asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssetEvent {
    /// Its number, which no other has or had.
    pub id: i64,
    /// When, to the millisecond.
    pub at: Timestamp,
    /// Of which asset.
    pub asset: Asset,
    /// What is said with it, a JSON object.
    pub extra: Value,
    /// Which part of the asset it is of, if one.
    pub partition_key: Option<Arc<str>>,
    /// Who made it.
    pub by: TaskInstanceKey,
}

/// How assets are named by whoever looks for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AssetNamed {
    /// The one of a name and a URI.
    Key(Arc<str>, Arc<str>),
    /// Those of a name.
    Name(Arc<str>),
    /// Those of a URI.
    Uri(Arc<str>),
    /// Those of which events were made under an alias.
    Alias(Arc<str>),
}

/// Which events are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssetEventFilter {
    /// Of what.
    pub of: EventsOf,
    /// Not before.
    pub after: Option<Timestamp>,
    /// Not behind.
    pub before: Option<Timestamp>,
    /// Whether the newest come first, and not the oldest.
    pub newest_first: bool,
}

/// What events are of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventsOf {
    /// An asset, by its number.
    Asset(i64),
    /// An alias.
    Alias(Arc<str>),
}

impl AssetEventFilter {
    /// The first and the last millisecond of events that it lets through.
    ///
    /// ```
    /// use excom_core::asset::{AssetEventFilter, EventsOf};
    ///
    /// let mut filter =
    ///     AssetEventFilter { of: EventsOf::Asset(1), after: None, before: None, newest_first: false };
    /// assert_eq!(filter.bounds(), (i64::MIN, i64::MAX));
    /// filter.after = Some("1970-01-01T00:00:01.0001Z".parse().unwrap());
    /// filter.before = Some("1970-01-01T00:00:02.0009Z".parse().unwrap());
    /// assert_eq!(filter.bounds(), (1001, 2000));
    /// ```
    pub fn bounds(&self) -> (i64, i64) {
        let first = |at: Timestamp| -(-at.as_microsecond()).div_euclid(1000);
        let last = |at: Timestamp| at.as_microsecond().div_euclid(1000);
        (self.after.map_or(i64::MIN, first), self.before.map_or(i64::MAX, last))
    }
}

impl NewAssetEvent {
    /// Whether it can be noted.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidName`] for a name, URI, alias or key of a partition that is empty, too long or has a NUL;
    /// [`ErrorKind::InvalidValue`] for an extra that is no JSON object; [`ErrorKind::TooLarge`] for one over
    /// [`EXTRA_LIMIT`].
    pub fn check(&self) -> Result<()> {
        let named = [("name", &self.name), ("URI", &self.uri)];
        let aliased = self.aliases.iter().map(|alias| ("alias", alias));
        for (what, text) in named.into_iter().chain(aliased) {
            check_text(&format!("the {what} of an asset"), text, NAME_LIMIT)?;
        }
        if let Some(key) = &self.partition_key {
            check_text(&format!("a partition key of the asset `{}`", self.name), key, PARTITION_LIMIT)?;
        }
        for (what, extra) in [("an event of the asset", &self.extra), ("the asset", &self.asset_extra)] {
            let what = format!("the extra of {what} `{}`", self.name);
            if !matches!(extra.shape(), Shape::Dict(_)) {
                return Err(Error::new(ErrorKind::InvalidValue, format!("{what} is no JSON object")));
            }
            let size = extra.bytes().len();
            if size > EXTRA_LIMIT {
                let message = format!("{what} has {size} bytes, the most are {EXTRA_LIMIT}");
                return Err(Error::new(ErrorKind::TooLarge, message)
                    .hint("push it as an XCom, and say its key in the extra"));
            }
        }
        Ok(())
    }
}

fn check_text(what: &str, text: &str, limit: usize) -> Result<()> {
    let length = text.chars().count();
    let why = match text {
        _ if text.trim().is_empty() => "is empty".to_owned(),
        _ if text.contains('\0') => "contains a NUL character".to_owned(),
        _ if length > limit => format!("has {length} characters, the most are {limit}"),
        _ => return Ok(()),
    };
    Err(Error::new(ErrorKind::InvalidName, format!("{what} {why}")))
}
