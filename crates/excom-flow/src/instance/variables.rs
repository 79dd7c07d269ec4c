//! A task's way to variables: text under a key that all DAGs share.

use excom_core::{Error, ErrorKind, Result, Value};
use pollster::block_on;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::TaskInstance;
use crate::error::within;

impl TaskInstance {
    /// A variable's text, if there is one: from the environment (`EXCOM_VAR_<KEY>`), or else as it was set
    /// last. Blocks.
    ///
    /// ```
    /// # extern crate excom_flow as excom;
    /// # use excom::prelude::*;
    /// # fn example(ti: &TaskInstance) -> Result<()> {
    /// let station = ti.variable("station")?.unwrap_or("attic".to_owned());
    /// let limits: Option<Vec<f64>> = ti.variable_json("limits")?;
    /// ti.set_variable("last_station", &station)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the key is none that a variable can have, or the engine cannot be reached.
    pub fn variable(&self, key: &str) -> Result<Option<String>> {
        block_on(self.avariable(key))
    }

    /// As [`variable`](TaskInstance::variable), without blocking.
    ///
    /// # Errors
    /// As [`variable`](TaskInstance::variable).
    pub async fn avariable(&self, key: &str) -> Result<Option<String>> {
        self.channel().variable(key).await
    }

    /// A variable whose text is JSON, as a Rust type. Blocks.
    ///
    /// # Errors
    /// As [`variable`](TaskInstance::variable); when the text is no JSON, or does not fit the type.
    pub fn variable_json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        block_on(self.avariable_json(key))
    }

    /// As [`variable_json`](TaskInstance::variable_json), without blocking.
    ///
    /// # Errors
    /// As [`variable_json`](TaskInstance::variable_json).
    pub async fn avariable_json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let Some(text) = self.avariable(key).await? else { return Ok(None) };
        let value = Value::parse(text).and_then(|value| value.get());
        value.map(Some).map_err(|error| within(&format!("variable `{key}`"), error))
    }

    /// Sets a variable for all DAGs. Blocks. When the environment overrides it, reads go on giving that;
    /// the log of the try says so.
    ///
    /// # Errors
    /// As [`variable`](TaskInstance::variable); when the text is too long, or this try was superseded.
    pub fn set_variable(&self, key: &str, text: &str) -> Result<()> {
        block_on(self.aset_variable(key, text))
    }

    /// As [`set_variable`](TaskInstance::set_variable), without blocking.
    ///
    /// # Errors
    /// As [`set_variable`](TaskInstance::set_variable).
    pub async fn aset_variable(&self, key: &str, text: &str) -> Result<()> {
        self.channel().set_variable(key, Some(text)).await
    }

    /// Sets a variable to the JSON text of a value. Blocks.
    ///
    /// # Errors
    /// As [`set_variable`](TaskInstance::set_variable); when JSON cannot express the value, or it is null:
    /// a variable has a text or does not exist.
    pub fn set_variable_json<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<()> {
        block_on(self.aset_variable_json(key, value))
    }

    /// As [`set_variable_json`](TaskInstance::set_variable_json), without blocking.
    ///
    /// # Errors
    /// As [`set_variable_json`](TaskInstance::set_variable_json).
    pub fn aset_variable_json<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
    ) -> impl Future<Output = Result<()>> + Send + use<T> {
        // The value is read at once, so that the future holds no borrow of what may not be `Sync`.
        let value =
            Value::of(value).and_then(|value| if value.is_null() { Err(no_null()) } else { Ok(value) });
        let value = value.map_err(|error| within(&format!("variable `{key}`"), error));
        let (channel, key) = (self.channel().clone(), key.to_owned());
        async move { channel.set_variable(&key, Some(value?.as_str())).await }
    }

    /// Deletes a variable for all DAGs; one that does not exist is no error. Blocks.
    ///
    /// # Errors
    /// As [`set_variable`](TaskInstance::set_variable).
    pub fn delete_variable(&self, key: &str) -> Result<()> {
        block_on(self.adelete_variable(key))
    }

    /// As [`delete_variable`](TaskInstance::delete_variable), without blocking.
    ///
    /// # Errors
    /// As [`set_variable`](TaskInstance::set_variable).
    pub async fn adelete_variable(&self, key: &str) -> Result<()> {
        self.channel().set_variable(key, None).await
    }
}

fn no_null() -> Error {
    Error::new(ErrorKind::InvalidValue, "a variable cannot be null")
        .hint("delete it instead, or set it to an empty text")
}
