//! What tasks may write and read, who is exempt, and what would have been refused.

use excom::Engine;
use excom::config::Settings;
use excom::core::engine::{Exemption, Offload};
use serde_json::json;

use super::Check;
use crate::text;

/// More kinds of refusals than anybody looks through.
const MOST: u32 = 10_000;

pub(super) async fn look(engine: &Engine, settings: &Settings, checks: &mut Vec<Check>) {
    checks.push(rules(engine, settings));
    checks.extend(settings.xcom.exempt.iter().map(|exemption| exempt(engine, exemption)));
    match engine.refusals(MOST).await {
        Ok(refusals) if refusals.is_empty() && !*settings.xcom.observe => {}
        Ok(refusals) => {
            let count: u64 = refusals.iter().map(|row| row.count).sum();
            let kinds = refusals.len() as u64;
            let told = format!(
                "{}, {}   see `excom xcom refusals`",
                text::count(count, "refusal"),
                text::count(kinds, "kind")
            );
            checks.push(Check::told("observed", told, json!({"count": count, "kinds": kinds})));
        }
        Err(error) => checks.push(Check::failed("observed", "cannot be read", &error)),
    }
}

fn rules(engine: &Engine, settings: &Settings) -> Check {
    let xcom = &settings.xcom;
    let mut told = format!(
        "mode {}: offload {}, writes {}, reads {}, ledger {}",
        xcom.mode.text(),
        xcom.offload.text(),
        xcom.writes.text(),
        xcom.reads.text(),
        xcom.ledger.text()
    );
    if *xcom.observe {
        told.push_str("   observed only");
    }
    let data = json!({
        "mode": xcom.mode.text(),
        "offload": xcom.offload.text(),
        "writes": xcom.writes.text(),
        "reads": xcom.reads.text(),
        "ledger": xcom.ledger.text(),
        "observe": *xcom.observe,
    });
    if *xcom.offload == Offload::All && engine.backend().store().is_none() {
        let why = format!("the backend `{}` has no store to offload to", engine.backend().name());
        return Check::told("access", told, data).problem(why, "select another [core] xcom_backend");
    }
    Check::told("access", told, data)
}

fn exempt(engine: &Engine, exemption: &Exemption) -> Check {
    let holds = exemption.holds_at(engine.clock().now());
    let data = json!({"dag_id": &*exemption.dag_id, "until": exemption.until.to_string(), "holds": holds});
    let check = Check::told("exempt", exemption.to_string(), data);
    if holds {
        return check;
    }
    let why = format!("its day is over: `{}` is held to the rules again", exemption.dag_id);
    check.problem(why, "take it out of [xcom] exempt, or give it another day")
}
