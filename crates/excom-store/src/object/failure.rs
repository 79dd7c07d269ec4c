//! Failures of object storage, told in Excom's terms: what was being done, where, why, what to do; never with a
//! credential.

use std::error::Error as _;
use std::sync::Arc;

use excom_core::{Error, ErrorKind};
use object_store::client::HttpError;

use super::location::{Location, Place};

/// What is in the addresses by which machines of the three clouds tell their own credentials.
const METADATA: [&str; 5] =
    ["169.254.", "/latest/api/token", "/latest/meta-data", "/computeMetadata/", "/metadata/identity/"];

/// What was being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    Write,
    Read,
    Remove,
    List,
}

/// What every error of a store is told with.
#[derive(Clone)]
pub(super) struct Told(Arc<About>);

struct About {
    location: Location,
    /// Values of options that no message may show.
    secrets: Vec<String>,
}

impl Told {
    pub(super) fn new(location: Location, options: &[(String, String)]) -> Self {
        let secret = |(key, _): &&(String, String)| {
            let key = key.to_ascii_lowercase();
            ["key", "secret", "token", "sas", "password"].iter().any(|word| key.contains(word))
                && !key.ends_with("file")
        };
        let secrets = options.iter().filter(secret).map(|(_, value)| value.clone());
        Self(Arc::new(About { secrets: secrets.filter(|value| value.len() > 3).collect(), location }))
    }

    pub(super) fn location(&self) -> &Location {
        &self.0.location
    }

    /// Settings from which no client can be made.
    pub(super) fn unusable(&self, error: &object_store::Error) -> Error {
        let location = self.location();
        let message = format!("{location} cannot be used: {}", self.reason(error));
        self.with_credentials(Error::new(ErrorKind::Configuration, message))
    }

    /// A failed request, about an object or the whole store.
    pub(super) fn failed(&self, doing: Doing, name: &str, error: &object_store::Error) -> Error {
        let location = self.location();
        let what = match doing {
            Doing::Write => format!("cannot write {name} to {location}"),
            Doing::Read => format!("cannot read {name} from {location}"),
            Doing::Remove => format!("cannot remove {name} from {location}"),
            Doing::List => format!("cannot list {location}"),
        };
        let reason = self.reason(error);
        let kind = kind(doing, error, &reason);
        let message = match kind {
            ErrorKind::Lost => format!("the object {name} is gone from {location}"),
            ErrorKind::Exists => format!("the object {name} exists in {location}"),
            _ => format!("{what}: {reason}"),
        };
        let whole = error.to_string();
        let asks_the_machine = METADATA.iter().any(|path| whole.contains(path));
        let error = Error::new(kind, message);
        match kind {
            ErrorKind::Lost | ErrorKind::Exists => error,
            ErrorKind::Full => error.hint("raise the quota or remove objects; nothing was written"),
            // Without credentials, the machine is asked for its own.
            ErrorKind::Unavailable if asks_the_machine => self.with_credentials(error),
            ErrorKind::Unavailable => {
                error.hint("try again; if it stays so, check the network and the endpoint setting")
            }
            _ if not_there(&reason) => error.hint("create the bucket or container, or correct the location"),
            _ if reason.contains("redirect") => error.hint("set the bucket's region, AWS_REGION"),
            ErrorKind::Other => {
                error.hint("look at what lies between here and the store: a proxy, a gateway")
            }
            _ => self.with_credentials(error),
        }
    }

    /// The error with where credentials come from.
    fn with_credentials(&self, error: Error) -> Error {
        let location = self.location();
        let error = match &location.place {
            Place::S3(_) => error
                .hint(
                    "credentials are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a web identity, a container's or \
                     the machine's role; they need s3:ListBucket, GetObject, PutObject, DeleteObject",
                )
                .hint("profiles are not read: `aws configure export-credentials --format env` shows one as variables"),
            Place::Google(_) => error.hint(
                "credentials are GOOGLE_APPLICATION_CREDENTIALS, GOOGLE_SERVICE_ACCOUNT or the machine's account; \
                 they need the role Storage Object User",
            ),
            Place::Azure(..) => error.hint(
                "the account is AZURE_STORAGE_ACCOUNT_NAME; credentials are AZURE_STORAGE_ACCOUNT_KEY, \
                 AZURE_STORAGE_SAS_TOKEN, AZURE_CLIENT_ID with its secret, or a managed identity, which needs the \
                 role Storage Blob Data Contributor",
            ),
            Place::Memory | Place::Folder(_) => error,
        };
        match &location.connection {
            Some(id) => error.hint(format!(
                "the connection `{id}` of the location is Airflow's; its credentials are not known here"
            )),
            None => error,
        }
    }

    /// The cause at the end of the chain, or the code and message of the store's answer.
    fn reason(&self, error: &object_store::Error) -> String {
        let mut text = error.to_string();
        let mut cause: &dyn std::error::Error = error;
        while let Some(next) = cause.source() {
            cause = next;
        }
        let last = cause.to_string();
        if let Some(code) = element(&text, "Code") {
            let message = element(&text, "Message").unwrap_or_default();
            // Azure adds the request's id and time in lines of their own.
            let message = message.lines().next().unwrap_or_default();
            text = format!("{code}: {message}");
        } else if error.source().is_some() {
            text = last;
        }
        for secret in &self.0.secrets {
            text = text.replace(secret.as_str(), "…");
        }
        text.trim_end_matches([' ', ':']).to_owned()
    }
}

/// The text of an XML element.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}

/// The store says that the bucket itself is not there.
fn not_there(reason: &str) -> bool {
    reason.starts_with("NoSuchBucket") || reason.starts_with("ContainerNotFound")
}

fn kind(doing: Doing, error: &object_store::Error, reason: &str) -> ErrorKind {
    use object_store::Error as E;
    let whole = error.to_string();
    let status = whole.split_once("status code: ").and_then(|(_, rest)| rest.get(..3)?.parse::<u16>().ok());
    let full = ["QuotaExceeded", "StorageFull", "InsufficientStorage", "AccountBeingFull"];
    if status == Some(507) || full.iter().any(|code| reason.contains(code)) {
        return ErrorKind::Full;
    }
    match error {
        E::NotFound { .. } if doing == Doing::Read && !not_there(reason) => ErrorKind::Lost,
        E::AlreadyExists { .. } | E::Precondition { .. } if doing == Doing::Write => ErrorKind::Exists,
        E::PermissionDenied { .. } if matches!(doing, Doing::Write | Doing::Remove) => ErrorKind::ReadOnly,
        E::Generic { .. } => match status {
            Some(429 | 500..) => ErrorKind::Unavailable,
            Some(_) => ErrorKind::Configuration,
            None if went_wrong_on_the_way(error) => ErrorKind::Unavailable,
            None if whole.contains("redirect") => ErrorKind::Configuration,
            None => ErrorKind::Other,
        },
        E::JoinError { .. } => ErrorKind::Unavailable,
        _ => ErrorKind::Configuration,
    }
}

fn went_wrong_on_the_way(error: &object_store::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<HttpError>() || error.is::<std::io::Error>() {
            return true;
        }
        cause = error.source();
    }
    false
}
