//! Templates: what is not there fails, what comes out is text, and nothing leads out of the context.

use excom_core::{Engine, ErrorKind};
use excom_flow::{DagDefinition, TaskInstance};

use crate::support::{engine, pushed, run, started};
use crate::{push_text, xcom};

fn me() -> (Engine, TaskInstance) {
    let engine = engine();
    let me = started(&engine, "r", "me", -1);
    (engine, me)
}

#[track_caller]
fn undefined(template: &str) {
    let error = me().1.render(template).unwrap_err();
    assert!(error.to_string().contains("not defined"), "{template}: {error}");
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
}

#[test]
fn names_that_do_not_exist_fail_wherever_they_are_used() {
    for template in [
        "{{ nope }}",
        "{{ nope.inside }}",
        "{% if nope %}{% endif %}",
        "{% for x in nope %}{% endfor %}",
        "{{ 'a' ~ nope }}",
        "{{ nope == 1 }}",
        "{{ nope or 'x' }}",
        "{{ nope | upper }}",
        "{{ ti.xcom_pull('absent').inside }}",
        "{{ (none).inside }}",
    ] {
        undefined(template);
    }
    assert!(me().1.render("{{ nope | length }}").is_err());
    // Names of Airflow 2, and some of Airflow 3 that are not here.
    for name in ["execution_date", "next_ds", "prev_ds", "yesterday_ds", "conf", "try_number"] {
        undefined(&format!("{{{{ {name} }}}}"));
    }
    let (_, me) = me();
    assert_eq!(me.render("{{ nope | default('d') }} {{ nope is defined }}").unwrap(), "d False");
}

#[test]
fn a_filter_does_not_hide_that_a_name_does_not_exist() {
    for template in ["{{ nope | string }}", "{{ [nope] | join }}", "{{ ['a', nope] | join('-') }}"] {
        assert!(me().1.render(template).is_err(), "{template}");
    }
}

#[test]
fn nothing_leads_out_of_the_context() {
    let (engine, me) = me();
    push_text(&engine, &xcom("t", -1, "return_value"), r#"{"a": [1]}"#).unwrap();
    for template in [
        "{{ ti.__class__ }}",
        "{{ ''.__class__ }}",
        "{{ [].__class__.__mro__ }}",
        "{{ ti.xcom_pull('t').__class__ }}",
        "{{ ti.xcom_pull.__globals__ }}",
        "{{ self.__init__ }}",
    ] {
        assert!(me.render(template).is_err(), "{template}");
    }
}

#[test]
fn what_comes_out_is_text_and_never_another_type() {
    let (engine, _) = me();
    push_text(&engine, &xcom("src", -1, "n"), "5").unwrap();
    let definition = DagDefinition::new("d", |dag| {
        dag.bash("shown", "echo \"$A|$B|$C|$D\"")
            .env("A", "{{ ti.xcom_pull('src', key='n') }}")
            .env("B", "{{ '05' }}")
            .env("C", "{{ none }}")
            .env("D", "{{ [1, 'a'] }}");
    });
    assert!(run(&engine, &definition).succeeded());
    assert_eq!(pushed(&engine, "d", "shown", "return_value").unwrap(), r#""5|05|None|[1, 'a']""#);
}

#[test]
fn numbers_print_with_the_digits_that_were_pushed() {
    let (engine, me) = me();
    for (json, shown) in [
        ("1.0", "1.0"),
        ("-0.0", "-0.0"),
        ("9223372036854775807", "9223372036854775807"),
        ("18446744073709551615", "18446744073709551615"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        (" [340282366920938463463374607431768211455] ", "[340282366920938463463374607431768211455]"),
        (r#"{"a": {"b": -12345678901234567890123}}"#, "{'a': {'b': -12345678901234567890123}}"),
    ] {
        push_text(&engine, &xcom("t", -1, "return_value"), json).unwrap();
        assert_eq!(me.render("{{ ti.xcom_pull('t') }}").unwrap(), shown);
    }
}

#[test]
fn an_integer_over_128_bits_prints_as_a_float() {
    let (engine, me) = me();
    let digits = "1".repeat(45);
    push_text(&engine, &xcom("t", -1, "return_value"), &digits).unwrap();
    assert_eq!(me.render("{{ ti.xcom_pull('t') }}").unwrap(), "1.111111111111111e+44");
    assert_eq!(me.xcom_pull("t").value().unwrap().as_str(), digits);
}

#[test]
fn values_have_the_methods_that_python_gives_them() {
    let (engine, me) = me();
    push_text(&engine, &xcom("t", -1, "return_value"), r#"{"a": [1, 2], "b": "x,y"}"#).unwrap();
    for (template, text) in [
        ("{{ ti.xcom_pull('t').get('a') }}", "[1, 2]"),
        ("{{ ti.xcom_pull('t').get('z') }}", "None"),
        ("{% for k, v in ti.xcom_pull('t').items() %}{{ k }}={{ v }};{% endfor %}", "a=[1, 2];b=x,y;"),
        ("{{ ti.xcom_pull('t').b.split(',') }}", "['x', 'y']"),
        ("{{ ti.xcom_pull('t').b.upper() }}", "X,Y"),
    ] {
        assert_eq!(me.render(template).unwrap(), text, "{template}");
    }
}
