//! Parameters: declared with the DAG, given as text or values, checked before anything runs.

use excom::prelude::*;
use excom_core::{Error, Value};
use excom_flow::{RunOptions, Runner};

use crate::support::{engine, on_runtime, pushed, run_with};

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Fast,
    Safe,
}

#[task]
fn show(file: PathBuf, floor: f64, days: Vec<u8>, mode: Mode, label: Option<String>) -> String {
    format!("{} {floor} {days:?} {mode:?} {label:?}", file.display())
}

/// Shows its parameters.
#[dag(id = "shown")]
fn shown(
    dag: &Dag,
    /// Where the observations are.
    #[param(default = "a.csv")]
    file: Param<PathBuf>,
    #[param(default = 30.0, doc = "degrees")] floor: Param<f64>,
    #[param(default = vec![1, 2])] days: Param<Vec<u8>>,
    #[param(default = Mode::Safe)] mode: Param<Mode>,
    #[param(default = None::<String>)] label: Param<Option<String>>,
) {
    show(dag, file, floor, days, mode, label);
}

fn result(given: &[(&str, &str)]) -> String {
    let engine = engine();
    let options = given.iter().fold(RunOptions::new(), |options, (name, text)| options.param(*name, *text));
    let report = run_with(&Runner::new(engine.clone()), &shown(), options);
    assert!(report.succeeded(), "{report:?}");
    pushed(&engine, "shown", "show", "return_value").unwrap()
}

fn refusal(name: &str, text: &str) -> Error {
    on_runtime(Runner::new(engine()).run(&shown(), RunOptions::new().param(name, text))).unwrap_err()
}

#[test]
fn defaults_and_text_of_every_type() {
    assert_eq!(result(&[]), r#""a.csv 30 [1, 2] Safe None""#);
    let given = [("file", "b c.csv"), ("floor", "7"), ("days", "[3]"), ("mode", "fast"), ("label", "5")];
    assert_eq!(result(&given), r#""b c.csv 7 [3] Fast Some(\"5\")""#);
    // Text is taken as it is, quotes included; what is no text may be quoted.
    let given = [("file", "\"q\""), ("mode", "\"fast\""), ("label", "null")];
    assert_eq!(result(&given), r#""\"q\" 30 [1, 2] Fast None""#);
}

#[test]
fn values_are_checked_too() {
    let options = RunOptions::new().param("floor", Value::of(&12.5).unwrap());
    let engine = engine();
    assert!(run_with(&Runner::new(engine.clone()), &shown(), options).succeeded());
    assert!(pushed(&engine, "shown", "show", "return_value").unwrap().contains("12.5"));
    let options = RunOptions::new().param("floor", Value::of("warm").unwrap());
    let error = on_runtime(Runner::new(engine).run(&shown(), options)).unwrap_err();
    assert!(error.to_string().contains("parameter `floor`"), "{error}");
}

#[test]
fn a_wrong_value_names_parameter_value_and_type() {
    let error = refusal("floor", "warm");
    let text = error.to_string();
    assert_eq!(text, "parameter `floor`: `warm` is not a number");
    assert!(error.hints()[0].ends_with("such as 30.0"), "{error:?}");
    assert!(refusal("days", "[1, \"x\"]").to_string().contains("is not a list"));
    assert!(refusal("mode", "slow").to_string().contains("expected `fast` or `safe`, found \"slow\""));
}

#[test]
fn an_unknown_name_gets_the_nearest() {
    let error = refusal("flor", "1");
    assert_eq!(error.to_string(), "DAG `shown` has no parameter `flor`");
    assert_eq!(error.hints(), ["nearest: `floor`"]);
    assert!(refusal("zzz", "1").hints()[0].contains("`days`"));
}

#[test]
fn what_has_no_default_must_be_given() {
    #[task]
    fn double(n: i64) -> i64 {
        2 * n
    }
    #[dag]
    fn doubling(dag: &Dag, #[param] n: Param<i64>) {
        double(dag, n);
    }
    let error = on_runtime(Runner::new(engine()).run(&doubling(), RunOptions::new())).unwrap_err();
    assert!(error.to_string().contains("needs the parameter `n` (a whole number)"), "{error}");
}

#[test]
fn the_definition_tells_its_parameters() {
    let definition = shown();
    assert_eq!((definition.id(), definition.doc()), ("shown", "Shows its parameters."));
    let told = serde_json::to_value(definition.params()).unwrap();
    assert_eq!(
        told[0],
        serde_json::json!({
            "name": "file", "type": "PathBuf", "default": "a.csv", "doc": "Where the observations are."
        })
    );
    assert_eq!(told[1]["doc"], "degrees");
    assert_eq!(told[3]["default"], "safe");
}

#[test]
fn a_default_that_does_not_fit_is_refused_with_the_dag() {
    use excom_flow::{DagDefinition, ParamSpec};
    let spec = ParamSpec::required::<u8>("n", "u8").with_default::<f64>(1.5);
    let error = DagDefinition::new("d", |_| ()).with_param(spec).graph().unwrap_err();
    assert!(error.to_string().contains("the default of parameter `n` is not a `u8`"), "{error}");
}
