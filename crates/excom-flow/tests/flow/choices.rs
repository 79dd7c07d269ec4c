//! Branches, short circuits and empty tasks: what they choose and return. What the runner makes of it is
//! tested with the runner.

use std::sync::{Arc, Mutex};

use excom::prelude::*;
use excom_core::Value;
use excom_flow::{Branch, DagDefinition, Empty, ShortCircuit, SkipDownstream, follow, go_on_if};

use crate::support::{engine, pushed, run, started};

fn ti() -> TaskInstance {
    started(&engine(), "r", "t", -1)
}

/// What an operator gives, and what it skips: it is run by a DAG, so that its fields are known, but as a
/// task instance of its own, so that the runner skips nothing.
fn execute<O: Operator>(operator: O) -> (std::result::Result<String, String>, Option<SkipDownstream>) {
    #[derive(Debug, Clone)]
    struct Apart<O>(O, TaskInstance, Arc<Mutex<Option<std::result::Result<String, String>>>>);
    impl<O: Operator> Operator for Apart<O> {
        type Output = ();

        fn fields(&mut self) -> Vec<(std::borrow::Cow<'static, str>, &mut Field)> {
            self.0.fields()
        }

        async fn execute(self, _: TaskInstance) -> Result<()> {
            let result = self.0.execute(self.1).await;
            let told =
                result.map(|value| Value::of(&value).unwrap().as_str().to_owned()).map_err(|e| e.to_string());
            *self.2.lock().unwrap() = Some(told);
            Ok(())
        }
    }
    let (ti, told) = (ti(), Arc::default());
    let apart = Apart(operator, ti.clone(), Arc::clone(&told));
    let definition = DagDefinition::new("d", move |dag| {
        dag.add("t", apart.clone());
    });
    assert!(run(&engine(), &definition).succeeded());
    (told.lock().unwrap().take().unwrap(), ti.skips())
}

fn all_but(ids: &[&str]) -> Option<SkipDownstream> {
    Some(SkipDownstream::AllBut(ids.iter().map(|id| (*id).to_owned()).collect()))
}

#[test]
fn a_branch_follows_ids() {
    for (field, expected) in [
        (Field::from("load"), &["load"][..]),
        (Field::from(" load\n"), &["load"]),
        (Field::value(&["a", "b"]), &["a", "b"]),
        (Field::value(&Vec::<String>::new()), &[]),
        (Field::from(""), &[]),
        (Field::value(&()), &[]),
    ] {
        let ids = Value::of(expected).unwrap().as_str().to_owned();
        assert_eq!(execute(Branch::new(field.clone())), (Ok(ids), all_but(expected)), "{field:?}");
    }
    let (ids, skips) = execute(Branch::new(Field::value(&7)));
    assert!(ids.unwrap_err().contains("the ids to follow"));
    assert_eq!(skips, None);
}

#[test]
fn ids_come_in_many_forms() {
    let ti = ti();
    follow(&ti, "a");
    assert_eq!(ti.skips(), all_but(&["a"]));
    follow(&ti, String::from("a"));
    follow(&ti, vec!["a".to_owned()]);
    follow(&ti, ["a", "b"]);
    assert_eq!(ti.skips(), all_but(&["a", "b"]));
    follow(&ti, None::<String>);
    assert_eq!(ti.skips(), all_but(&[]));
    assert!(!go_on_if(&ti, false));
    assert_eq!(ti.skips(), Some(SkipDownstream::All));
}

#[test]
fn a_short_circuit_skips_when_the_condition_does_not_hold() {
    let short = |field: &Field| execute(ShortCircuit::new(field.clone()));
    let direct = |field: &Field| execute(ShortCircuit::new(field.clone()).direct());
    for field in [
        Field::from("true"),
        Field::from(" True "),
        Field::value(&true),
        Field::value(&-0.5),
        Field::value(&[0]),
        Field::value(&std::collections::BTreeMap::from([("a", 0)])),
    ] {
        assert_eq!(short(&field), (Ok("true".into()), None), "{field:?}");
        assert_eq!(direct(&field), short(&field));
    }
    for field in [
        Field::from("False"),
        Field::from(""),
        Field::value(&false),
        Field::value(&0.0),
        Field::value(&()),
        Field::value(&Vec::<u8>::new()),
        Field::value(&std::collections::BTreeMap::<String, u8>::new()),
    ] {
        assert_eq!(short(&field), (Ok("false".into()), Some(SkipDownstream::All)), "{field:?}");
        assert_eq!(direct(&field), (Ok("false".into()), Some(SkipDownstream::Direct)), "{field:?}");
    }
    let (holds, skips) = short(&Field::from("12 rows"));
    assert!(holds.unwrap_err().contains("neither true nor false"));
    assert_eq!(skips, None);
}

#[test]
fn choices_in_a_dag() {
    #[task]
    fn rows() -> Vec<u64> {
        vec![1]
    }
    let engine = engine();
    let definition = DagDefinition::new("d", |dag| {
        let rows = rows(dag);
        dag.short_circuit("any", rows);
        dag.empty("empty").after(rows);
        dag.add("nothing", Empty);
        let by = dag.branch_by("by", |ti| {
            let rows: Vec<u64> = ti.xcom_pull("rows").get()?;
            Ok(if rows.is_empty() { None } else { Some("load") })
        });
        let by = by.after(rows);
        let named = dag.branch("named", "{{ 'lo' ~ 'ad' }}");
        dag.empty("load").after(by).after(named);
    });
    let report = run(&engine, &definition);
    assert!(report.succeeded(), "{report:?}");
    let value = |task: &str| pushed(&engine, "d", task, "return_value");
    assert_eq!(value("any").unwrap(), "true");
    assert_eq!(value("empty"), None);
    // Nothing is skipped, so what a branch returns is pushed, as in Airflow.
    assert_eq!((value("by").unwrap(), value("named").unwrap()), (r#"["load"]"#.into(), r#"["load"]"#.into()));
    let broken = DagDefinition::new("broken", |dag| {
        dag.branch_by("by", |_| -> Result<Option<&str>> { panic!("no idea") });
    });
    let report = run(&engine, &broken);
    assert!(report.tasks[0].failure.as_ref().unwrap().message.contains("chooses a branch panicked"));
}
