//! Templates: what a task instance's context has, and what goes wrong in words.

use excom_core::{ErrorKind, TaskState, Value};
use excom_flow::{Params, RunFacts, TaskInstance};

use crate::support::{engine, started};

/// A task instance in a run with a logical date and parameters, beside tasks that pushed.
fn dated() -> TaskInstance {
    let engine = engine();
    let push = |task: &str, map_index: i32, json: &str| {
        let ti = started(&engine, "r", task, map_index);
        ti.xcom_push("return_value", &serde_json::from_str::<serde_json::Value>(json).unwrap()).unwrap();
        pollster::block_on(engine.set_states(&[(ti.key().clone(), TaskState::Success)])).unwrap();
    };
    push("src", -1, r#"{"b":[1,2.5,"x'y"],"a":null}"#);
    push("text", -1, r#""{{ ti.task_id }} {% raw %}""#);
    push("mapped", 0, "20");
    push("mapped", 2, "60");
    let own = started(&engine, "r", "me", -1);
    own.xcom_push("k", &true).unwrap();
    let mut facts = RunFacts::default();
    facts.params = Params::from_iter([
        ("p".to_owned(), Value::of(&30.0).unwrap()),
        ("list".to_owned(), Value::of(&["a"]).unwrap()),
    ]);
    facts.logical_date = Some("2026-03-04T05:06:07Z".parse().unwrap());
    own.in_run(facts.into())
}

fn undated() -> TaskInstance {
    started(&engine(), "r", "me", -1)
}

#[track_caller]
fn shows(template: &str, text: &str) {
    assert_eq!(dated().render(template).unwrap(), text, "{template}");
}

#[test]
fn the_context() {
    shows("{{ ds }} {{ ds_nodash }}", "2026-03-04 20260304");
    shows("{{ ts }}", "2026-03-04T05:06:07+00:00");
    shows("{{ logical_date }}", "2026-03-04 05:06:07+00:00");
    shows("{{ dag_run.logical_date }} {{ dag_run.run_id }}", "2026-03-04 05:06:07+00:00 r");
    shows("{{ run_id }}", "r");
    shows("{{ params.p }} {{ params['list'] }}", "30.0 ['a']");
    shows(
        "{{ ti.dag_id }}/{{ ti.run_id }}/{{ ti.task_id }}[{{ ti.map_index }}] {{ ti.try_number }}",
        "d/r/me[-1] 1",
    );
    shows("{{ task_instance.task_id }}", "me");
    shows("no template at all { } %", "no template at all { } %");
}

#[test]
fn dates_exist_only_with_a_logical_date() {
    for name in ["ds", "ds_nodash", "ts", "logical_date"] {
        let error = undated().render(&format!("x\n{{{{ {name} }}}}")).unwrap_err();
        assert!(
            error.to_string().contains(&format!("line 2, column 4, `{name}`: this is not defined")),
            "{error}"
        );
    }
    assert_eq!(undated().render("{{ ds is defined }} {{ ds | default('-') }}").unwrap(), "False -");
    assert_eq!(undated().render("{{ dag_run.logical_date }}").unwrap(), "None");
}

#[test]
fn pulls_print_as_python_does() {
    shows("{{ ti.xcom_pull('src') }}", r#"{'b': [1, 2.5, "x'y"], 'a': None}"#);
    shows("{{ ti.xcom_pull('src').b[1] }} {{ ti.xcom_pull('src')['b'][2] }}", "2.5 x'y");
    shows("{{ ti.xcom_pull(task_ids='src', key='nope') }}", "None");
    shows("{{ ti.xcom_pull('absent') }} {{ ti.xcom_pull('absent', default=[1, 'a']) }}", "None [1, 'a']");
    shows("{{ ti.xcom_pull(key='k') }} {{ ti.xcom_pull(none, none, 'k') }}", "True True");
    shows(
        "{{ ti.xcom_pull('mapped') }} {{ ti.xcom_pull(['mapped', 'absent']) }}",
        "[20, None, 60] [20, None, 60, None]",
    );
    shows(
        "{{ ti.xcom_pull('mapped', map_indexes=2) }} {{ ti.xcom_pull('mapped', map_indexes=[2, 1]) }}",
        "60 [60, None]",
    );
    shows(
        "{{ ti.xcom_pull('mapped', map_indexes=range(3)) }} {{ ti.xcom_pull('mapped', map_indexes=none) }}",
        "[20, None, 60] None",
    );
    shows("{{ ti.xcom_pull('mapped', map_indexes=true) }}", "None");
    shows("{{ ti.xcom_pull('src', run_id='other') }} {{ ti.xcom_pull('src', dag_id='other') }}", "None None");
    shows("{{ ti.xcom_pull('src', include_prior_dates=true).a }}", "None");
    shows("{% for n in ti.xcom_pull('mapped') %}{{ n }},{% endfor %}", "20,None,60,");
    shows("{{ task_instance.xcom_pull('mapped')[0] + 1 }}", "21");
    shows("{{ none ~ true ~ 1.0 ~ ['a'] }}", "NoneTrue1.0['a']");
    shows("{{ [none, true, 1.5] | join(',') }}", "None,True,1.5");
    shows("{{ '%s %s' | format(none, ['a']) }}", "None ['a']");
}

#[test]
fn what_was_pushed_is_never_a_template() {
    shows("{{ ti.xcom_pull('text') }}", "{{ ti.task_id }} {% raw %}");
    shows("{% set x = ti.xcom_pull('text') %}{{ x }}{{ x | length }}", "{{ ti.task_id }} {% raw %}26");
}

#[test]
fn errors_say_where_what_and_which_pull() {
    let error = dated().render("ok\n{{ ti.xcom_pull('absent').rows }}").unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(
            "template of task `me`, field `template`, line 2, column 16, `ti.xcom_pull('absent').rows`: "
        ),
        "{text}"
    );
    assert!(
        text.contains("it pulled d/r/absent `return_value`, answer: no value: task `absent` never pushed"),
        "{text}"
    );
    let error = dated().render("{{ ti.xcom_pull('srx').rows }}").unwrap_err();
    assert!(error.hints().iter().any(|hint| hint.contains("task `src` pushed")), "{error:?}");

    let syntax = dated().render("{{ 1 + }}").unwrap_err();
    assert!(syntax.to_string().contains("line 1"), "{syntax}");
    for (template, message) in [
        ("{{ ti.xcom_pull('a', wrong=1) }}", "wrong"),
        ("{{ ti.xcom_pull(5) }}", "`task_ids` of xcom_pull is text or a list of texts"),
        ("{{ ti.xcom_pull('a', map_indexes='01') }}", "`map_indexes` of xcom_pull"),
        ("{{ ti.xcom_pull('a', key=none) }}", "`key` of xcom_pull is text, not None"),
        ("{{ ti.xcom_pull('a', task_ids='b') }}", "got `task_ids` twice"),
        ("{{ ti.xcom_pull(nobody) }}", "not defined"),
        ("{{ ti.xcom_push('a', 1) }}", "no method `xcom_push`"),
        ("{{ ti.nothing }}", "not defined"),
        ("{{ params.nothing }}", "not defined"),
    ] {
        let error = dated().render(template).unwrap_err().to_string();
        assert!(error.contains(message), "{template}: {error}");
    }
}

#[test]
fn a_pull_that_is_refused_fails_the_template() {
    use std::sync::Arc;

    use excom_core::engine::{Access, Reads, Settings};
    use excom_core::{Engine, memory};
    let access = Access { reads: Reads::Run, ..Access::default() };
    let engine = Engine::builder(Arc::new(memory::Db::new()), Arc::new(memory::Clock::new()))
        .settings(Settings { access, ..Settings::default() })
        .build();
    let ti = started(&engine, "r", "me", -1);
    let error = ti.render("{{ ti.xcom_pull('x', run_id='other', default=1) }}").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert!(error.to_string().contains("it pulled d/other/x `return_value`"), "{error}");
}

#[test]
fn a_template_that_loops_comes_to_an_end() {
    let error = dated()
        .render("{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}")
        .unwrap_err();
    assert!(error.to_string().contains("too many steps"), "{error}");
}

#[test]
fn async_tasks_render_without_blocking() {
    let ti = dated();
    let text =
        crate::support::on_runtime(async { ti.arender("{{ ti.xcom_pull('mapped', map_indexes=0) }}").await });
    assert_eq!(text.unwrap(), "20");
}
