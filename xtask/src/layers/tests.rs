//! Made-up graphs that break each rule, and one that breaks none.

use super::*;

fn package(name: &str, normal: &[&str], dev: &[&str]) -> Package {
    let of = |names: &[&str], dev| {
        names.iter().map(|name| Dependency { name: (*name).to_owned(), dev }).collect::<Vec<_>>()
    };
    let dependencies = [of(normal, false), of(dev, true)].concat();
    Package { name: name.to_owned(), dependencies }
}

fn fine() -> Vec<Package> {
    vec![
        package("excom-core", &["serde"], &[]),
        package("excom-db", &["excom-core", "rusqlite"], &["excom-testkit"]),
        package("excom-store", &["excom-core", "excom-reactor"], &["rusqlite"]),
        package("excom-reactor", &["excom-core"], &[]),
        package("excom-client", &["excom-core", "excom-reactor"], &[]),
        package("excom-macros", &["syn"], &["excom-flow"]),
        package("excom-flow", &["excom-core", "excom-macros"], &[]),
        package("excom", &["excom-core", "excom-db", "excom-store", "excom-flow", "excom-macros"], &[]),
        package("excom-cli", &["excom"], &[]),
        package("excom-testkit", &["excom", "rusqlite"], &[]),
        package("excom-bench", &["excom-db", "rusqlite"], &["excom-testkit"]),
        package("xtask", &["serde_json"], &[]),
    ]
}

fn broken(name: &str, dependency: &str) -> Vec<String> {
    let mut graph = fine();
    let package = graph.iter_mut().find(|package| package.name == name).unwrap();
    package.dependencies.push(Dependency { name: dependency.to_owned(), dev: false });
    directions(&graph)
}

#[test]
fn the_intended_graph_breaks_nothing() {
    assert_eq!(directions(&fine()), Vec::<String>::new());
}

#[test]
fn a_violation_names_both_crates_and_the_rule() {
    assert_eq!(
        broken("excom-core", "excom-db"),
        [
            "excom-core depends on excom-db: core <- reactor <- db, store, client, flow <- airflow <- server <- excom <- cli"
        ]
    );
    for (from, to, rule) in [
        ("excom-client", "excom-store", "core <- reactor <- db"),
        ("excom-db", "excom-store", "core <- reactor <- db"),
        ("excom-store", "excom-flow", "core <- reactor <- db"),
        ("excom", "excom-cli", "core <- reactor <- db"),
        ("excom-macros", "excom-core", "depends on no crate of the project"),
        ("excom-cli", "excom-macros", "only excom-flow and excom offer the macros"),
        ("excom", "excom-testkit", "by tests only"),
        ("excom-testkit", "xtask", "by tests only"),
        ("xtask", "excom-core", "xtask builds without the project"),
        ("excom-cli", "rusqlite", "only excom-db speaks to SQLite"),
    ] {
        let violations = broken(from, to);
        assert_eq!(violations.len(), 1, "{from} on {to}: {violations:?}");
        let named = violations[0].starts_with(&format!("{from} depends on {to}: "));
        assert!(named && violations[0].contains(rule), "{violations:?}");
    }
}

#[test]
fn a_crate_without_a_place_is_told() {
    let mut graph = fine();
    graph.push(package("excom-new", &[], &[]));
    assert_eq!(directions(&graph).len(), 1);
}

#[test]
fn banned_packages_and_other_registries_are_told() {
    let all = ["rustls", "ring", "spring"].map(str::to_owned).into();
    assert_eq!(banned(&all).len(), 1);
    let lock = format!(
        "[[package]]\nname = \"a\"\nsource = \"{REGISTRY}\"\n\n[[package]]\nname = \"ours\"\n\n\
         [[package]]\nname = \"b\"\nsource = \"git+https://example.org/b#1\"\n"
    );
    let violations = registries(&lock);
    assert!(violations.len() == 1 && violations[0].contains("takes b from"), "{violations:?}");
}

#[test]
fn metadata_is_read_as_cargo_writes_it() {
    let metadata = serde_json::json!({
        "workspace_members": ["path+file:///w/a#0.1.0"],
        "packages": [
            {"name": "a", "id": "path+file:///w/a#0.1.0", "dependencies": [
                {"name": "b", "kind": null}, {"name": "c", "kind": "dev"}, {"name": "d", "kind": "build"}]},
            {"name": "b", "id": "registry+x#b@1.0.0", "dependencies": []}
        ]
    });
    let members = read(&metadata).unwrap();
    assert_eq!(members.len(), 1);
    let dev: Vec<bool> = members[0].dependencies.iter().map(|dependency| dependency.dev).collect();
    assert_eq!(dev, [false, true, false]);
}
