//! Jinja's tests: `is callable`, `is iterable` and their like.

use minijinja::value::ValueKind;
use minijinja::{Environment, Error, Value};

use super::super::operators;

pub(super) fn register(environment: &mut Environment<'_>) {
    environment.add_test("callable", |value: &Value| {
        matches!(value.kind(), ValueKind::Plain) && super::super::macros::is_callable(value)
    });
    environment.add_test("iterable", |value: &Value| {
        matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable | ValueKind::Map | ValueKind::String)
    });
    environment.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::String) || value.len().is_some()
    });
    environment
        .add_test("number", |value: &Value| matches!(value.kind(), ValueKind::Number | ValueKind::Bool));
    environment.add_test("in", |value: &Value, container: &Value| {
        operators::defined(&[value, container])?;
        operators::contains(container, value)
    });
    for name in ["eq", "equalto", "=="] {
        environment.add_test(name, compare("=="));
    }
    for name in ["ne", "!="] {
        environment.add_test(name, compare("!="));
    }
    for name in ["lt", "lessthan", "<"] {
        environment.add_test(name, compare("<"));
    }
    for name in ["le", "<="] {
        environment.add_test(name, compare("<="));
    }
    for name in ["gt", "greaterthan", ">"] {
        environment.add_test(name, compare(">"));
    }
    for name in ["ge", ">="] {
        environment.add_test(name, compare(">="));
    }
}

fn compare(operator: &'static str) -> impl Fn(&Value, &Value) -> Result<bool, Error> + Send + Sync + 'static {
    move |left, right| {
        operators::defined(&[left, right])?;
        operators::holds(left, operator, right)
    }
}
