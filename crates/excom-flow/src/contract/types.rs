//! How a Rust type comes to a schema: a pointer to what makes it, kept where a task is declared and followed only
//! when somebody asks.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};

use super::schema::Schema;
use crate::sequence::Mapped;

/// The schema of a Rust type, not made yet.
///
/// ```
/// # extern crate excom_flow as excom;
/// use excom::contract::TypeSchema;
///
/// assert_eq!(TypeSchema::of::<Vec<u8>>().written().to_string(), "[integer 0 to 255]");
/// assert_eq!(TypeSchema::unknown("Order").written().to_string(), "anything (`Order`)");
/// ```
#[derive(Clone, Copy)]
pub struct TypeSchema(Kind);

#[derive(Clone, Copy)]
enum Kind {
    /// What makes the schema of its values as they are written, or else as they are read.
    Known(fn(bool) -> Schema),
    /// The type's name.
    Unknown(&'static str),
}

impl TypeSchema {
    /// The schema of a type that has one.
    pub const fn of<T: JsonSchema + ?Sized>() -> Self {
        Self(Kind::Known(generate::<T>))
    }

    /// The schema of a type that has none, with its name: anything.
    pub const fn unknown(name: &'static str) -> Self {
        Self(Kind::Unknown(name))
    }

    /// Whether the type has a schema.
    pub const fn is_known(self) -> bool {
        matches!(self.0, Kind::Known(_))
    }

    /// The schema of what serializing the type gives.
    pub fn written(self) -> Schema {
        self.make(true)
    }

    /// The schema of what the type can be read from. It accepts more: what has a default may be missing.
    pub fn read(self) -> Schema {
        self.make(false)
    }

    fn make(self, written: bool) -> Schema {
        match self.0 {
            Kind::Known(make) => make(written),
            Kind::Unknown(name) => Schema::unknown(name),
        }
    }

    /// What tells it from others, so that the schema of one that many tasks have is made once. Functions whose
    /// code is the same may share an address, and then make the same schema.
    pub(super) fn identity(self) -> (usize, &'static str) {
        match self.0 {
            Kind::Known(make) => (make as usize, ""),
            Kind::Unknown(name) => (0, name),
        }
    }
}

impl fmt::Debug for TypeSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.written().fmt(f)
    }
}

fn generate<T: JsonSchema + ?Sized>(written: bool) -> Schema {
    let settings = SchemaSettings::draft2020_12();
    let settings = if written { settings.for_serialize() } else { settings.for_deserialize() };
    Schema::canonical(settings.into_generator().into_root_schema_for::<T>().to_value())
}

impl<T: JsonSchema> JsonSchema for Mapped<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        Vec::<T>::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> schemars::Schema {
        generator.subschema_for::<Vec<T>>()
    }
}

/// The types of what a task takes and gives.
#[derive(Debug)]
pub struct Types {
    pub(crate) arguments: Vec<(&'static str, TypeSchema)>,
    pub(crate) returned: TypeSchema,
    pub(crate) outputs: Vec<(&'static str, TypeSchema)>,
}

impl Types {
    /// The type of what it returns, and of the outputs that the type has by name.
    pub fn new(returned: TypeSchema, outputs: Vec<(&'static str, TypeSchema)>) -> Self {
        Self { arguments: Vec::new(), returned, outputs }
    }

    /// The same with an argument.
    #[must_use]
    pub fn argument(mut self, name: &'static str, ty: TypeSchema) -> Self {
        self.arguments.push((name, ty));
        self
    }
}

/// Outputs by name, which `#[derive(Outputs)]` gives a struct.
pub trait OutputTypes {
    /// Each with its type.
    fn outputs() -> Vec<(&'static str, TypeSchema)>;
}

/// A type of which it is asked whether it has a schema.
///
/// What it implements is told by method resolution on a `&TypeOf<T>`: the first of the traits below that
/// fits counts, as with [`Take`](crate::work::Take).
pub struct TypeOf<T: ?Sized>(PhantomData<fn() -> Box<T>>);

impl<T: ?Sized> fmt::Debug for TypeOf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::any::type_name::<T>())
    }
}

impl<T: ?Sized> TypeOf<T> {
    /// Asks about a type.
    #[expect(clippy::new_without_default, reason = "only generated code makes one")]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

/// The schema of a type that implements `JsonSchema`.
pub trait KnownType {
    /// The schema.
    fn schema(&self, name: &'static str) -> TypeSchema;
}

impl<T: JsonSchema> KnownType for TypeOf<T> {
    fn schema(&self, _: &'static str) -> TypeSchema {
        TypeSchema::of::<T>()
    }
}

/// The schema of any other type.
pub trait UnknownType {
    /// The schema: the type's name as it is written.
    fn schema(&self, name: &'static str) -> TypeSchema;
}

impl<T> UnknownType for &TypeOf<T> {
    fn schema(&self, name: &'static str) -> TypeSchema {
        TypeSchema::unknown(name)
    }
}

/// The outputs of a type that implements `Outputs`.
pub trait NamedOutputs {
    /// Each with its type.
    fn outputs(&self) -> Vec<(&'static str, TypeSchema)>;
}

impl<T: OutputTypes> NamedOutputs for TypeOf<T> {
    fn outputs(&self) -> Vec<(&'static str, TypeSchema)> {
        T::outputs()
    }
}

/// The outputs of any other type: none has a name.
pub trait NoNamedOutputs {
    /// None.
    fn outputs(&self) -> Vec<(&'static str, TypeSchema)>;
}

impl<T> NoNamedOutputs for &TypeOf<T> {
    fn outputs(&self) -> Vec<(&'static str, TypeSchema)> {
        Vec::new()
    }
}
