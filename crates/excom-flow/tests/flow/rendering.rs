//! Fields of operators: template files, values inside lists and dicts, native values, what a shell may get,
//! and the bounds of a template.

use std::borrow::Cow;

use excom_core::ErrorKind;
use excom_flow::{Bash, Field, Operator, RunFacts, TaskInstance};
use serde_json::{Value as Json, json};

use crate::support::{engine, started};

/// Has one field, and files that end in `.sql`.
#[derive(Debug, Clone)]
struct Query {
    field: Field,
    native: Option<bool>,
}

impl Query {
    fn new(field: impl Into<Field>) -> Self {
        Self { field: field.into(), native: None }
    }
}

impl Operator for Query {
    type Output = ();

    fn fields(&mut self) -> Vec<(Cow<'static, str>, &mut Field)> {
        vec![("sql".into(), &mut self.field)]
    }

    fn template_ext(&self) -> &'static [&'static str] {
        &[".sql"]
    }

    fn render_template_as_native_obj(&self) -> Option<bool> {
        self.native
    }

    async fn execute(self, _: TaskInstance) -> excom_flow::Result<()> {
        Ok(())
    }
}

/// A task instance beside tasks that pushed, in a run with a date and a folder of templates.
fn me(change: impl FnOnce(&mut RunFacts)) -> TaskInstance {
    let engine = engine();
    for (task, value) in [
        ("code", json!("x; rm -rf /")),
        ("table", json!("peaks_2026")),
        ("rows", json!([{"n": 1}, {"n": 2.5}])),
    ] {
        started(&engine, "r", task, -1).xcom_push("return_value", &value).unwrap();
    }
    let mut facts = RunFacts::default();
    facts.logical_date = Some("2026-03-04T05:06:07Z".parse().unwrap());
    change(&mut facts);
    started(&engine, "r", "me", -1).in_run(facts.into())
}

fn rendered(ti: &TaskInstance, query: Query) -> excom_core::Result<Json> {
    ti.render_templates(query)?.field.get()
}

#[test]
fn text_in_lists_and_dicts_is_rendered_and_their_structure_stays() {
    let field = Field::from(json!({
        "{{ ds }}": ["{{ ds }}", 5, null, {"table": "{{ ti.xcom_pull('table') }}"}],
        "plain": "text",
    }));
    let expected = json!({"{{ ds }}": ["2026-03-04", 5, null, {"table": "peaks_2026"}], "plain": "text"});
    assert_eq!(rendered(&me(|_| ()), Query::new(field)).unwrap(), expected);

    let error = rendered(&me(|_| ()), Query::new(json!({"a": ["x", "{{ nope }}"]}))).unwrap_err();
    assert!(error.to_string().contains("field `sql.a[1]`, line 1, column 4, `nope`"), "{error}");
}

#[test]
fn values_of_templates_are_native_where_the_operator_or_the_dag_says_so() {
    let shown = |native: Option<bool>, of_dag: bool| {
        let query = Query { native, ..Query::new("{{ ti.xcom_pull('rows') }}") };
        rendered(&me(|facts| facts.native_templates = of_dag), query).unwrap()
    };
    let (value, text) = (json!([{"n": 1}, {"n": 2.5}]), json!("[{'n': 1}, {'n': 2.5}]"));
    assert_eq!(shown(Some(true), false), value);
    assert_eq!(shown(None, true), value);
    assert_eq!(shown(Some(false), true), text);
    assert_eq!(shown(None, false), text);
    let nope = Query { native: Some(true), ..Query::new("{{ nope }}") };
    assert!(rendered(&me(|_| ()), nope).is_err(), "what is not defined is never a value");
    let listed = Query { native: Some(true), ..Query::new("{{ [nope] }}") };
    assert!(rendered(&me(|_| ()), listed).is_err());
    let private = Query { native: Some(true), ..Query::new("{{ ti.__class__ }}") };
    assert_eq!(rendered(&me(|_| ()), private).unwrap_err().kind(), ErrorKind::Forbidden);
}

#[test]
fn files_are_templates_from_the_folders_of_the_dag() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("day.sql", "SELECT '{{ ds }}'\nFROM {% include 'table.txt' %}\n");
    write("table.txt", "{{ ti.xcom_pull('table') }}");
    write("wrong.sql", "SELECT\n  {{ 1 + nope }}");
    write("leads_on.sql", "{% include 'broken.txt' %}");
    write("broken.txt", "one\ntwo {{ 'a' - 1 }}");
    let searched = || me(|facts| facts.template_searchpath = vec![folder.path().to_owned()]);
    let expected = json!("SELECT '2026-03-04'\nFROM peaks_2026");
    assert_eq!(rendered(&searched(), Query::new("day.sql")).unwrap(), expected);
    assert_eq!(rendered(&searched(), Query::new(Field::file("day.sql"))).unwrap(), expected);
    assert_eq!(rendered(&searched(), Query::new(json!(["day.sql"]))).unwrap(), json!([expected]));
    assert_eq!(rendered(&searched(), Query::new("day.sql ")).unwrap(), json!("day.sql "));

    let error = rendered(&searched(), Query::new("wrong.sql")).unwrap_err().to_string();
    assert!(error.contains("field `sql` from `wrong.sql`, line 2, column 6, `1 + nope`"), "{error}");
    let error = rendered(&searched(), Query::new("leads_on.sql")).unwrap_err().to_string();
    assert!(error.contains("file `broken.txt`, line 2, column 8, `'a' - 1`"), "{error}");
    let error = rendered(&searched(), Query::new("nope.sql")).unwrap_err();
    assert!(error.to_string().contains("there is no template file `nope.sql` in `"), "{error}");
    assert!(error.hints().iter().any(|hint| hint.contains("template_searchpath")), "{error:?}");
}

#[test]
fn nothing_leads_out_of_the_folders() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("inside");
    std::fs::create_dir(&inside).unwrap();
    std::fs::write(folder.path().join("secret.sql"), "secret").unwrap();
    std::os::unix::fs::symlink(folder.path().join("secret.sql"), inside.join("link.sql")).unwrap();
    let searched = || me(|facts| facts.template_searchpath = vec![inside.clone()]);
    let absolute = folder.path().join("secret.sql").display().to_string();
    for name in ["../secret.sql", "link.sql", "./../secret.sql", &absolute] {
        assert!(rendered(&searched(), Query::new(name)).is_err(), "{name}");
        let include = format!("{{% include '{name}' %}}");
        assert!(rendered(&searched(), Query::new(include.as_str())).is_err(), "{name}");
    }
}

fn command(template: &str) -> excom_core::Result<String> {
    let mut bash = me(|_| ()).render_templates(Bash::new(template))?;
    let (_, field) = bash.fields().remove(0);
    field.text()
}

#[test]
fn what_was_pulled_is_no_code_for_a_shell() {
    for template in [
        "echo {{ ti.xcom_pull('code') }}",
        "echo '{{ ti.xcom_pull('code') }}'",
        "{% set x = ti.xcom_pull('code') %}echo {{ x | upper }}",
        "echo {{ ti.xcom_pull('rows') }}",
        "echo {{ ti.xcom_pull('code') | replace(' ', '\n') }}",
        "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(ti.xcom_pull('code')) }}",
        "{{ 'a; b' }}{% if ti.xcom_pull('table') %}x{% endif %}",
        "rm {{ '-rf' if ti.xcom_pull('table') }}",
        "rm {{ ti.xcom_pull('table') ~ ' b' }}",
        "{{ 'x;' | safe }}{{ 'x;' | e }}{{ ti.xcom_pull('table') }}",
        "{{ ti.xcom_pull('code') | tojson }}",
        "{{ ti.xcom_pull('code') | e }}",
        "{{ ti.xcom_pull('code') | escape }}",
        "{{ ti.xcom_pull('code') | forceescape }}",
        "{{ {'a': ti.xcom_pull('code')} | xmlattr }}",
        "{% autoescape true %}{{ ti.xcom_pull('code') | tojson }}{% endautoescape %}",
    ] {
        let error = command(template).unwrap_err();
        assert!(error.to_string().contains("it pulled d/r/"), "{template}: {error}");
        assert!(error.hints().iter().any(|hint| hint.contains(".env(")), "{error:?}");
    }
    for (template, text) in [
        ("load {{ ti.xcom_pull('table') }} | tail", "load peaks_2026 | tail"),
        ("echo {{ ti.xcom_pull('rows')[1].n }}; date", "echo 2.5; date"),
        ("{{ 'a; b' }} on {{ ds }}", "a; b on 2026-03-04"),
        ("echo {{ ti.xcom_pull('code') | safe }}", "echo x; rm -rf /"),
        ("{% if ti.xcom_pull('code') %}echo \"$X\"{% endif %}", "echo \"$X\""),
        ("{% set x = ti.xcom_pull('code') | tojson | safe %}{{ x }}", "\"x; rm -rf /\""),
        ("{{ -5 if ti.xcom_pull('table') }}", "-5"),
    ] {
        assert_eq!(command(template).unwrap(), text);
    }
    for template in ["{{ 'a; b' }}{{ var.value.get('none', '') }}", "{{ var.json.get('none', 'a b') }}"] {
        let error = command(template).unwrap_err().to_string();
        assert!(error.contains("it read variable `none`"), "{template}: {error}");
    }
}

#[test]
fn a_template_that_makes_too_much_is_stopped_before_it_does() {
    for template in [
        "{{ 'a' * 10**9 }}",
        "{{ [0] * 10**9 }}",
        "{{ range(10**9) | list }}",
        "{{ 'a' | center(10**9) }}",
        "{{ 'a'.ljust(10**10) }}",
        "{{ '%1000000000d' | format(1) }}",
        "{{ '%*d' % (10**9, 1) }}",
        "{{ '{:>1000000000}'.format(1) }}",
        "{{ '{:{}}'.format(1, 10**9) }}",
        "{{ 'a' | indent(10**9, true) }}",
        "{{ ('a' * 10**6) | replace('a', 'b' * 10**6) }}",
        "{{ ['a'] * 1000 | join('b' * 10**6) }}",
        "{{ [1] | batch(10**10, 0) }}",
        "{{ [1] | slice(10**10) }}",
        "{{ 10 ** 10 ** 10 }}",
        "{{ 2 ** 200 }}",
        "{% set ns = namespace(x='a' * 1000) %}{% for i in range(100) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set x = 'a' * 10**6 %}{% set ns = namespace(l=[]) %}{% for i in range(10**4) %}{% do ns.l.append(x ~ i) %}{% endfor %}",
        "{% set l = [] %}{% set b = range(50000) | list %}{% for i in range(10**4) %}{% do l.append(b) %}{% endfor %}",
        "{% for i in range(10**5) %}{{ 'a' * 1000 }}{% endfor %}",
        "{% set x %}{% for i in range(10**5) %}{{ 'a' * 10000 }}{% endfor %}{% endset %}",
    ] {
        let error = me(|_| ()).render(template).unwrap_err();
        assert!(error.to_string().contains("line 1, column"), "{template}: {error}");
    }
}

#[test]
fn a_template_that_nests_without_end_comes_to_an_end() {
    for template in [
        "{% set ns = namespace(x=[]) %}{% for i in range(100000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x=()) %}{% for i in range(100000) %}{% set ns.x = (ns.x,) %}{% endfor %}{{ ns.x == ns.x }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% set x = [] %}{% for i in range(1000) %}{% do x.append(x) %}{% endfor %}",
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
    ] {
        assert!(me(|_| ()).render(template).is_err(), "{template}");
    }
    assert_eq!(me(|_| ()).render("{% set x = [1] %}{% do x.append(x) %}{{ x }}").unwrap(), "[1, [1]]");
}

#[test]
fn names_that_are_gone_or_need_a_date_are_told() {
    let hints = |template: &str, dated: bool| {
        let ti = me(|facts| facts.logical_date = facts.logical_date.filter(|_| dated));
        format!("{:?}", ti.render(template).unwrap_err())
    };
    assert!(hints("{{ execution_date }}", true).contains("gone since Airflow 3; write `logical_date`"));
    assert!(hints("{{ tomorrow_ds }}", true).contains("write `macros.ds_add(ds, 1)`"));
    assert!(
        hints("{{ ts_nodash }}", false).contains("this run has no logical date, so there is no `ts_nodash`")
    );
    assert!(hints("{{ logical_dat }}", true).contains("nearest: `logical_date`"));
    assert!(hints("{{ conn.db.host }}", true).contains("Excom keeps no connections, so there is no `db`"));
    assert!(hints("{{ var.value.x }}", true).contains("write `var.value.get('…', default)`"));
    assert!(hints("{{ macros.yaml.dump({}) }}", true).contains("`macros.json` reads and writes JSON"));
}
