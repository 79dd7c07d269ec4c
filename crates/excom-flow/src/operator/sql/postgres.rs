//! Statements in a PostgreSQL database, and its types as JSON.

use std::error::Error as _;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use excom_core::{Error, ErrorKind, Result, Shape, Value};
use futures_core::Stream as _;
use rustls::ClientConfig;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::task::AbortHandle;
use tokio_postgres::types::{Format, FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::rows::{Rows, bytes, float};
use super::script::{self, Statement};
use super::{Request, at, cancelled, changed};
use crate::error::{invalid, within};
use crate::instance::TaskInstance;

/// How long a connection may take, unless the URL says (`connect_timeout`).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// How long the server may take to interrupt a statement.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);

/// Digits that every number in JSON's readers keeps.
const EXACT_DIGITS: usize = 15;

type BoxError = Box<dyn std::error::Error + Sync + Send>;

pub(super) async fn run(url: &str, request: Request, ti: &TaskInstance) -> Result<Option<Rows>> {
    let mut config: Config = url.parse().map_err(|e: tokio_postgres::Error| {
        // The text may hold a password, so only what is wrong with it is shown.
        invalid("the URL of the database cannot be read").because(reason(&e))
    })?;
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    if config.get_application_name().is_none() {
        config.application_name(format!("excom {}", ti.key()));
    }
    let tls = tls()?;
    let (client, connection) = tokio::select! {
        connected = config.connect(tls.clone()) => connected.map_err(|e| not_connected(&e))?,
        () = ti.cancelled() => return Err(cancelled()),
    };
    let _connection = Connection(tokio::spawn(async move { drop(connection.await) }).abort_handle());
    let interrupt = client.cancel_token();
    let mut rows = pin!(execute(&client, &request, ti));
    tokio::select! {
        biased;
        rows = &mut rows => return rows,
        () = ti.cancelled() => {}
    }
    // Closing the connection would end the statement too, but only when the server next looks. It answers
    // a cancel request before it acts on it, so the statement's own end is waited for.
    let ended = async {
        if interrupt.cancel_query(tls).await.is_ok() {
            drop(rows.await);
        }
    };
    drop(tokio::time::timeout(CANCEL_TIMEOUT, ended).await);
    Err(cancelled())
}

/// Closes the connection when it is dropped.
struct Connection(AbortHandle);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// TLS as the system trusts. The provider is named, because a program may have several.
fn tls() -> Result<MakeRustlsConnect> {
    let refuse = |e| Error::new(ErrorKind::Configuration, "TLS cannot be set up").because(e);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.and_then(|config| config.with_platform_verifier()).map_err(refuse)?;
    Ok(MakeRustlsConnect::new(config.with_no_client_auth()))
}

async fn execute(client: &Client, request: &Request, ti: &TaskInstance) -> Result<Option<Rows>> {
    if !request.autocommit {
        client.batch_execute("BEGIN").await.map_err(|e| failed(&e))?;
    }
    let mut last = None;
    for (number, statement) in (1..).zip(script::statements(&request.statement)) {
        // A connection that is closed inside a transaction undoes it.
        let rows = one(client, &statement, number, request, ti).await.map_err(|e| at(number, e))?;
        last = rows.or(last);
    }
    if !request.autocommit {
        client.batch_execute("COMMIT").await.map_err(|e| failed(&e))?;
    }
    Ok(last)
}

async fn one(
    client: &Client,
    statement: &Statement,
    number: usize,
    request: &Request,
    ti: &TaskInstance,
) -> Result<Option<Rows>> {
    let parameters = statement.parameters.iter().map(|name| request.parameter(name).cloned().map(Bound));
    let parameters: Vec<Bound> = parameters.collect::<Result<_>>()?;
    let prepared = client.prepare(&statement.text).await.map_err(|e| failed(&e))?;
    let columns = prepared.columns();
    let mut rows = Rows::new(columns.iter().map(|column| column.name()), request.row_limit)?;
    let stream = client.query_raw(&prepared, parameters).await.map_err(|e| failed(&e))?;
    let mut stream = pin!(stream);
    while let Some(row) = std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await {
        let row = row.map_err(|e| failed(&e))?;
        rows.push((0..columns.len()).map(|index| match row.try_get::<_, Cell>(index) {
            Ok(cell) => Ok(cell.0),
            Err(e) => Err(undecoded(&e)),
        }))?;
    }
    if columns.is_empty() {
        changed(ti, number, stream.rows_affected().unwrap_or_default());
        return Ok(None);
    }
    Ok(Some(rows))
}

/// A value as a parameter. It goes to the server as text, which reads it as the type that it expects.
#[derive(Debug)]
struct Bound(Value);

impl ToSql for Bound {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        let as_json = matches!(*ty, Type::JSON | Type::JSONB);
        match self.0.shape() {
            Shape::Null => return Ok(IsNull::Yes),
            Shape::String if !as_json => out.extend_from_slice(self.0.get::<String>()?.as_bytes()),
            Shape::List(_) if matches!(ty.kind(), Kind::Array(_)) => {
                out.extend_from_slice(array(&self.0)?.as_bytes());
            }
            _ => out.extend_from_slice(self.0.bytes()),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// A list as PostgreSQL writes an array: `{"a","b",NULL}`.
fn array(list: &Value) -> Result<String> {
    let mut text = "{".to_owned();
    for (index, item) in list.get::<Vec<Value>>()?.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        match item.shape() {
            Shape::Null => text.push_str("NULL"),
            Shape::List(_) => text.push_str(&array(&item)?),
            shape => {
                let item = if shape == Shape::String { item.get()? } else { item.as_str().to_owned() };
                text.push('"');
                text.push_str(&item.replace('\\', "\\\\").replace('"', "\\\""));
                text.push('"');
            }
        }
    }
    text.push('}');
    Ok(text)
}

/// A value of a column as JSON.
struct Cell(Value);

impl<'a> FromSql<'a> for Cell {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, BoxError> {
        let value = match *ty {
            Type::BOOL => Value::of(&bool::from_sql(ty, raw)?)?,
            Type::INT2 => Value::of(&i16::from_sql(ty, raw)?)?,
            Type::INT4 => Value::of(&i32::from_sql(ty, raw)?)?,
            Type::INT8 => Value::of(&i64::from_sql(ty, raw)?)?,
            Type::OID => Value::of(&u32::from_sql(ty, raw)?)?,
            // The shortest text that means the same, so that 0.1 does not become 0.10000000149011612.
            Type::FLOAT4 => float(f32::from_sql(ty, raw)?.to_string().parse()?)?,
            Type::FLOAT8 => float(f64::from_sql(ty, raw)?)?,
            Type::NUMERIC => numeric(raw)?,
            Type::JSON => Value::parse(raw.to_vec())?,
            // The first byte is the version of the format.
            Type::JSONB => Value::parse(raw.get(1..).unwrap_or_default().to_vec())?,
            Type::DATE => Value::of(&jiff::civil::Date::from_sql(ty, raw)?.to_string())?,
            Type::TIME => Value::of(&jiff::civil::Time::from_sql(ty, raw)?.to_string())?,
            Type::TIMESTAMP => Value::of(&jiff::civil::DateTime::from_sql(ty, raw)?.to_string())?,
            Type::TIMESTAMPTZ => Value::of(&jiff::Timestamp::from_sql(ty, raw)?.to_string())?,
            Type::UUID => Value::of(&uuid(raw)?)?,
            Type::VOID => Value::null(),
            Type::BYTEA => return Err(bytes().into()),
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN => text(raw)?,
            _ => match ty.kind() {
                Kind::Array(_) => {
                    let cells = Vec::<Self>::from_sql(ty, raw)?;
                    Value::of(&cells.into_iter().map(|cell| cell.0).collect::<Vec<_>>())?
                }
                Kind::Domain(inner) => return Self::from_sql(inner, raw),
                Kind::Enum(_) => text(raw)?,
                _ => {
                    let message = format!("values of type {ty} are not known");
                    return Err(invalid(message)
                        .hint("cast the column in the statement: `column::text`")
                        .into());
                }
            },
        };
        Ok(Self(value))
    }

    fn from_sql_null(_: &Type) -> Result<Self, BoxError> {
        Ok(Self(Value::null()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn text(raw: &[u8]) -> Result<Value, BoxError> {
    Ok(Value::of(std::str::from_utf8(raw)?)?)
}

fn uuid(raw: &[u8]) -> Result<String, BoxError> {
    let hex = raw.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    if raw.len() != 16 {
        return Err("a UUID has 16 bytes".into());
    }
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

/// A number of any precision: four 16-bit numbers (how many digits to base 10,000, the weight of the first,
/// the sign, how many decimals are shown), then the digits.
fn numeric(raw: &[u8]) -> Result<Value, BoxError> {
    let parts: Vec<u16> = raw.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    let [_, weight, sign, scale, digits @ ..] = parts.as_slice() else {
        return Err("a numeric has at least 8 bytes".into());
    };
    let sign = match sign {
        0x0000 => "",
        0x4000 => "-",
        0xC000 => return Ok(Value::of("NaN")?),
        0xD000 => return Ok(Value::of("inf")?),
        _ => return Ok(Value::of("-inf")?),
    };
    let weight = i32::from(weight.cast_signed());
    // The digit of 10,000 to a power, which may lie before the first or behind the last that is stored.
    let digit = |power: i32| -> u16 {
        usize::try_from(weight - power).ok().and_then(|index| digits.get(index)).copied().unwrap_or(0)
    };
    let whole: String = (0..=weight.max(0)).rev().map(|power| format!("{:04}", digit(power))).collect();
    let whole = whole.trim_start_matches('0');
    let scale = usize::from(*scale);
    let groups = i32::try_from(scale.div_ceil(4))?;
    let mut fraction: String = (1..=groups).map(|place| format!("{:04}", digit(-place))).collect();
    fraction.truncate(scale);
    let significant = format!("{whole}{fraction}").trim_start_matches('0').len();
    let whole = if whole.is_empty() { "0" } else { whole };
    let point = if scale == 0 { "" } else { "." };
    let text = format!("{sign}{whole}{point}{fraction}");
    Ok(if significant <= EXACT_DIGITS { Value::parse(text)? } else { Value::of(&text)? })
}

/// Why a column's value could not be taken: our own reason, without the driver's words around it.
fn undecoded(error: &tokio_postgres::Error) -> Error {
    match error.source().and_then(|cause| cause.downcast_ref::<Error>()) {
        Some(own) => own.hints().iter().fold(Error::new(own.kind(), own.to_string()), |e, hint| e.hint(hint)),
        None => Error::new(ErrorKind::InvalidValue, reason(error))
            .hint("cast the column in the statement: `column::text`"),
    }
}

fn not_connected(error: &tokio_postgres::Error) -> Error {
    let failed = failed(error);
    let kind = if error.as_db_error().is_some() { failed.kind() } else { ErrorKind::Unavailable };
    within("the database cannot be connected to", Error::new(kind, failed.to_string()))
        .hint("`sslmode=disable` in the URL is for a server whose certificate the system does not trust")
}

/// What the server or the connection said.
fn failed(error: &tokio_postgres::Error) -> Error {
    let Some(told) = error.as_db_error() else {
        let kind = if error.is_closed() { ErrorKind::Unavailable } else { ErrorKind::Other };
        return Error::new(kind, reason(error));
    };
    let detail = told.detail().map_or(String::new(), |detail| format!(" ({detail})"));
    let error = Error::new(ErrorKind::Other, format!("{}{detail}", told.message()));
    told.hint().into_iter().fold(error, |error, hint| error.hint(hint))
}

/// An error with its causes, which the driver does not show by itself.
fn reason(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_any_precision() {
        let told = |parts: &[u16]| {
            let raw: Vec<u8> = parts.iter().flat_map(|part| part.to_be_bytes()).collect();
            numeric(&raw).unwrap().as_str().to_owned()
        };
        let minus = |weight: i16| weight.cast_unsigned();
        assert_eq!(told(&[0, 0, 0, 0]), "0");
        assert_eq!(told(&[2, 0, 0, 2, 12, 3000]), "12.30");
        assert_eq!(told(&[1, minus(-1), 0x4000, 4, 5]), "-0.0005");
        assert_eq!(told(&[1, minus(-2), 0, 8, 5]), "0.00000005");
        assert_eq!(told(&[1, 2, 0, 0, 7]), "700000000");
        assert_eq!(told(&[4, 3, 0, 0, 9007, 1992, 5474, 993]), "\"9007199254740993\"");
        assert_eq!(told(&[4, 3, 0, 0, 999, 9999, 9999, 9999]), "999999999999999");
        assert_eq!(told(&[0, 0, 0xC000, 0]), "\"NaN\"");
        assert!(numeric(&[0, 1]).is_err());
    }

    #[test]
    fn lists_as_arrays() {
        let list = Value::parse(r#"["a\"\\,{}", null, 1.5, true, [1, 2]]"#).unwrap();
        assert_eq!(array(&list).unwrap(), r#"{"a\"\\,{}",NULL,"1.5","true",{"1","2"}}"#);
    }
}
