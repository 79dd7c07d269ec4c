//! Where spans go: an OpenTelemetry collector, and what is said to it, as OpenTelemetry's own variables have it.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use excom_core::{Error, ErrorKind, Result};
use percent_encoding::percent_decode_str;
use reqwest::Url;

use super::sampler::Sampler;

/// Behind the address of a collector.
const PATH: &str = "v1/traces";

/// A collector of traces.
///
/// ```
/// use excom_server::Collector;
///
/// let variables = |name: &str| (name == "OTEL_SERVICE_NAME").then(|| "xcoms".to_owned());
/// let collector = Collector::of(Some("http://127.0.0.1:4318"), variables, |wrong| panic!("{wrong}"))?;
/// assert_eq!(collector.unwrap().to_string(), "http://127.0.0.1:4318/v1/traces");
/// assert!(Collector::of(None, |_| None, |_| {})?.is_none());
/// # Ok::<(), excom_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Collector {
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    /// What is said of the process with all spans.
    pub(super) resource: Vec<(String, String)>,
    pub(super) sampler: Sampler,
    /// How many spans wait for it before more are dropped.
    pub(super) queue: usize,
    /// The most spans of a request to it.
    pub(super) batch: usize,
    /// How long spans are gathered before they are sent.
    pub(super) delay: Duration,
    /// How long it may take to accept a batch, with all repetitions.
    pub(super) timeout: Duration,
}

impl std::fmt::Display for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = self.url.clone();
        // Neither fails for an address with a host.
        let _ = (shown.set_username(""), shown.set_password(None));
        shown.set_query(None);
        shown.fmt(f)
    }
}

/// As it is shown: its address and headers may have passwords.
impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Collector({self})")
    }
}

impl Collector {
    /// The collector whose address is set, else the one that variables name (`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`,
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`); none when there is neither, or `OTEL_SDK_DISABLED` is `true`. What else
    /// variables say that cannot be is told and has no effect, as OpenTelemetry asks.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for an address set that is none of `http://` or `https://`.
    pub fn of(
        address: Option<&str>,
        variable: impl Fn(&str) -> Option<String>,
        mut wrong: impl FnMut(&str),
    ) -> Result<Option<Self>> {
        let set =
            |name: &str| variable(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let of_traces = |name: &str| {
            set(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}"))
                .or_else(|| set(&format!("OTEL_EXPORTER_OTLP_{name}")))
        };
        let is = |name: &str, text: &str| set(name).is_some_and(|set| set.eq_ignore_ascii_case(text));
        if is("OTEL_SDK_DISABLED", "true") {
            return Ok(None);
        }
        let url = match address {
            Some(address) => below(address, "[server] traces")?,
            None if is("OTEL_TRACES_EXPORTER", "none") => return Ok(None),
            None => {
                let whole = set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
                let named = match (whole, set("OTEL_EXPORTER_OTLP_ENDPOINT")) {
                    (Some(whole), _) => parsed(&whole, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
                    (None, Some(base)) => below(&base, "OTEL_EXPORTER_OTLP_ENDPOINT"),
                    (None, None) => return Ok(None),
                };
                match named {
                    Ok(url) => url,
                    Err(error) => {
                        wrong(&format!("{error}; no traces are sent"));
                        return Ok(None);
                    }
                }
            }
        };
        if of_traces("PROTOCOL").is_some_and(|protocol| protocol == "grpc") {
            wrong(
                "OTEL_EXPORTER_OTLP_PROTOCOL = \"grpc\": spans are sent over HTTP, for which collectors have another port",
            );
        }
        for name in ["CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"] {
            if of_traces(name).is_some() {
                wrong(&format!(
                    "OTEL_EXPORTER_OTLP_{name}: the system's authorities are trusted, and no others"
                ));
            }
        }
        if of_traces("COMPRESSION").is_some_and(|compression| compression != "none") {
            wrong("OTEL_EXPORTER_OTLP_COMPRESSION: spans are sent as they are");
        }
        let sampler = set("OTEL_TRACES_SAMPLER").map(|name| {
            Sampler::named(&name, set("OTEL_TRACES_SAMPLER_ARG").as_deref()).unwrap_or_else(|why| {
                wrong(&why);
                Sampler::default()
            })
        });
        let mut headers = HeaderMap::new();
        for (name, value) in pairs(&of_traces("HEADERS").unwrap_or_default()) {
            match (HeaderName::try_from(&name), HeaderValue::try_from(value)) {
                (Ok(name), Ok(mut value)) => {
                    value.set_sensitive(true);
                    headers.insert(name, value);
                }
                _ => wrong(&format!("OTEL_EXPORTER_OTLP_HEADERS has `{name}`, which cannot be sent")),
            }
        }
        let mut number = |text: Option<String>, name: &str, usual: u64| match text.map(|text| text.parse()) {
            None => usual,
            Some(Ok(number)) if number > 0 => number,
            Some(_) => {
                wrong(&format!("{name} is no whole number from 1"));
                usual
            }
        };
        let queue = number(set("OTEL_BSP_MAX_QUEUE_SIZE"), "OTEL_BSP_MAX_QUEUE_SIZE", 2048);
        let batch = number(set("OTEL_BSP_MAX_EXPORT_BATCH_SIZE"), "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512);
        let delay = number(set("OTEL_BSP_SCHEDULE_DELAY"), "OTEL_BSP_SCHEDULE_DELAY", 5000);
        let timeout = number(of_traces("TIMEOUT"), "OTEL_EXPORTER_OTLP_TIMEOUT", 10_000);
        let mut resource = pairs(&set("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default());
        if let Some(name) = set("OTEL_SERVICE_NAME") {
            resource.retain(|(key, _)| key != "service.name");
            resource.push(("service.name".to_owned(), name));
        }
        for (key, value) in [("service.name", "excom"), ("service.version", env!("CARGO_PKG_VERSION"))] {
            if resource.iter().all(|(set, _)| set != key) {
                resource.push((key.to_owned(), value.to_owned()));
            }
        }
        let queue = queue.min(1 << 20) as usize;
        Ok(Some(Self {
            url,
            headers,
            resource,
            sampler: sampler.unwrap_or_default(),
            queue,
            batch: (batch as usize).min(queue),
            delay: Duration::from_millis(delay),
            timeout: Duration::from_millis(timeout),
        }))
    }
}

/// The address of traces below that of a collector.
fn below(base: &str, place: &str) -> Result<Url> {
    let mut url = parsed(base, place)?;
    let path = format!("{}/{PATH}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(url)
}

fn parsed(text: &str, place: &str) -> Result<Url> {
    let refused = |why: String| {
        Error::new(ErrorKind::Configuration, format!("{place} {why}"))
            .hint("name the collector's port for OTLP over HTTP, such as http://127.0.0.1:4318")
    };
    // The text may have a password.
    let url = Url::parse(text).map_err(|why| refused(format!("is no URL: {why}")))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        scheme => Err(refused(format!("is of `{scheme}:`, and none of http:// and https://"))),
    }
}

/// `name=value,…`, with percents in values, as in the header `baggage`.
fn pairs(text: &str) -> Vec<(String, String)> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8_lossy().into_owned();
        Some((name.trim().to_owned(), value))
    };
    text.split(',').filter_map(pair).filter(|(name, _)| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(address: Option<&str>, variables: &[(&str, &str)]) -> (Result<Option<Collector>>, Vec<String>) {
        let mut told = Vec::new();
        let variable = |name: &str| Some(variables.iter().find(|(set, _)| *set == name)?.1.to_owned());
        let collector = Collector::of(address, variable, |wrong| told.push(wrong.to_owned()));
        (collector, told)
    }

    fn good(address: Option<&str>, variables: &[(&str, &str)]) -> Option<Collector> {
        let (collector, told) = read(address, variables);
        assert!(told.is_empty(), "{told:?}");
        collector.unwrap()
    }

    #[test]
    fn the_address_is_the_one_set_else_that_of_variables() {
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/otel/");
        let whole = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://collector/here");
        let at = |address, variables: &[_]| good(address, variables).map(|collector| collector.to_string());
        assert_eq!(at(None, &[]), None);
        assert_eq!(at(None, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), None);
        assert_eq!(at(None, &[base]).unwrap(), "http://collector:4318/otel/v1/traces");
        assert_eq!(at(None, &[base, whole]).unwrap(), "https://collector/here");
        assert_eq!(at(Some("http://own:1"), &[base, whole]).unwrap(), "http://own:1/v1/traces");
        assert_eq!(at(None, &[base, ("OTEL_TRACES_EXPORTER", "none")]), None);
        assert_eq!(at(Some("http://own:1"), &[("OTEL_SDK_DISABLED", "TRUE")]), None);
        for bad in ["collector:4318", "ftp://collector", "http://", ""] {
            assert_eq!(read(Some(bad), &[]).0.unwrap_err().kind(), ErrorKind::Configuration, "{bad}");
        }
    }

    #[test]
    fn what_variables_say_is_taken() {
        let collector = good(
            Some("http://ana:p4ss@own:1/"),
            &[
                ("OTEL_EXPORTER_OTLP_HEADERS", "x-team=weather, authorization=Basic%20c2VjcmV0"),
                ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,deployment.environment.name=a%2Cb"),
                ("OTEL_SERVICE_NAME", "xcoms"),
                ("OTEL_TRACES_SAMPLER", "always_off"),
                ("OTEL_BSP_MAX_QUEUE_SIZE", "8"),
                ("OTEL_EXPORTER_OTLP_TIMEOUT", "250"),
            ],
        )
        .unwrap();
        assert_eq!(collector.headers["authorization"], "Basic secret".replace("secret", "c2VjcmV0").as_str());
        assert_eq!(collector.headers["x-team"], "weather");
        let resource: Vec<_> =
            collector.resource.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let version = format!("service.version={}", env!("CARGO_PKG_VERSION"));
        assert_eq!(resource, ["deployment.environment.name=a,b", "service.name=xcoms", version.as_str()]);
        assert_eq!((collector.queue, collector.batch), (8, 8));
        assert_eq!(collector.timeout, Duration::from_millis(250));
        let shown = format!("{collector} {collector:?} {:?}", collector.headers);
        assert!(!shown.contains("p4ss") && !shown.contains("c2VjcmV0"), "{shown}");
    }

    #[test]
    fn what_variables_say_that_cannot_be_is_told() {
        let (collector, told) = read(
            Some("http://own:1"),
            &[
                ("OTEL_TRACES_SAMPLER", "xray"),
                ("OTEL_BSP_SCHEDULE_DELAY", "soon"),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
                ("OTEL_EXPORTER_OTLP_HEADERS", "not a name=1"),
            ],
        );
        assert_eq!(collector.unwrap().unwrap().sampler, Sampler::default());
        let names = [
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "OTEL_TRACES_SAMPLER",
            "OTEL_EXPORTER_OTLP_HEADERS",
            "OTEL_BSP_SCHEDULE_DELAY",
        ];
        assert_eq!(told.len(), names.len(), "{told:?}");
        assert!(told.iter().zip(names).all(|(told, name)| told.starts_with(name)), "{told:?}");

        // What is meant for others, as gRPC's addresses are, keeps no server from starting.
        let (collector, told) = read(None, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317")]);
        assert!(collector.unwrap().is_none());
        assert!(told.len() == 1 && told[0].starts_with("OTEL_EXPORTER_OTLP_ENDPOINT"), "{told:?}");
    }
}
