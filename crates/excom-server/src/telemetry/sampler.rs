//! Which traces have spans, as OpenTelemetry's own samplers decide.

use super::context::Sender;

/// How it is decided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Sampler {
    /// Each request by itself.
    Each(Chance),
    /// As whoever sends the request has decided; by itself only where nobody has.
    Parent(Chance),
}

/// How many traces have spans, from 0 to 1. All of a trace falls on one side of it, whoever asks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Chance(f64);

impl Default for Sampler {
    fn default() -> Self {
        Self::Parent(Chance(1.0))
    }
}

impl Sampler {
    /// The sampler that `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` name.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn named(name: &str, argument: Option<&str>) -> Result<Self, String> {
        let ratio = || {
            let ratio: Option<f64> = argument.map_or(Some(1.0), |text| text.trim().parse().ok());
            ratio.filter(|ratio| (0.0..=1.0).contains(ratio)).map(Chance).ok_or_else(|| {
                let argument = argument.unwrap_or_default();
                format!("OTEL_TRACES_SAMPLER_ARG = \"{argument}\" is no number from 0 to 1")
            })
        };
        Ok(match name {
            "always_on" => Self::Each(Chance(1.0)),
            "always_off" => Self::Each(Chance(0.0)),
            "traceidratio" => Self::Each(ratio()?),
            "parentbased_always_on" => Self::Parent(Chance(1.0)),
            "parentbased_always_off" => Self::Parent(Chance(0.0)),
            "parentbased_traceidratio" => Self::Parent(ratio()?),
            _ => {
                return Err(format!(
                    "OTEL_TRACES_SAMPLER = \"{name}\" is no sampler that is known here; it is as if it were \
                     parentbased_always_on"
                ));
            }
        })
    }

    /// Whether no request has a span, whatever its trace.
    pub(super) fn is_off(self) -> bool {
        self == Self::Each(Chance(0.0))
    }

    /// Whether a request of a trace has a span.
    pub(super) fn takes(self, trace: u128, sender: Option<&Sender>) -> bool {
        match (self, sender) {
            (Self::Parent(_), Some(sender)) => sender.sampled,
            (Self::Parent(chance) | Self::Each(chance), _) => chance.takes(trace),
        }
    }
}

impl Chance {
    /// The lower half of a trace's id is random, and compared by all implementations.
    fn takes(self, trace: u128) -> bool {
        self.0 >= 1.0 || ((trace as u64) as f64) < self.0 * 2f64.powi(64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_senders_decision_holds_where_it_is_to() {
        let sent = |sampled| Sender { trace: 1, span: 1, sampled, state: String::new() };
        let takes = |name, sender: Option<Sender>| {
            Sampler::named(name, Some("0.5")).unwrap().takes(1, sender.as_ref())
        };
        for (name, alone, sampled, unsampled) in [
            ("always_on", true, true, true),
            ("always_off", false, false, false),
            ("parentbased_always_on", true, true, false),
            ("parentbased_always_off", false, true, false),
            ("parentbased_traceidratio", true, true, false),
            ("traceidratio", true, true, true),
        ] {
            let told = (takes(name, None), takes(name, Some(sent(true))), takes(name, Some(sent(false))));
            assert_eq!(told, (alone, sampled, unsampled), "{name}");
        }
        assert_eq!(Sampler::named("parentbased_always_on", None), Ok(Sampler::default()));
    }

    #[test]
    fn a_ratio_takes_as_many() {
        let quarter = Sampler::named("traceidratio", Some("0.25")).unwrap();
        // Spread over all ids, with an upper half that says nothing.
        let ids = (0..1000u128).map(|index| (u128::MAX << 64) | (index * (u128::from(u64::MAX) / 1000)));
        assert_eq!(ids.filter(|id| quarter.takes(*id, None)).count(), 250);
    }

    #[test]
    fn what_is_no_sampler_is_told() {
        assert!(Sampler::named("jaeger_remote", None).unwrap_err().contains("\"jaeger_remote\""));
        for bad in ["2", "-1", "NaN", "half"] {
            assert!(Sampler::named("traceidratio", Some(bad)).unwrap_err().contains(bad));
        }
    }
}
