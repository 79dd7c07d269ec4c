//! The direction of dependencies: who may know whom, and what may be depended on at all.
//!
//! `core ← reactor ← db, store, client, flow ← airflow ← server ← excom ← cli`. The rules look at what `cargo metadata` and
//! `cargo tree` tell and at `Cargo.lock`, never at source text.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::cargo::{cargo, output, root};
use crate::say;

/// A crate and the crates that it depends on.
#[derive(Debug, Clone, Default)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Clone)]
struct Dependency {
    name: String,
    /// Only for tests and examples.
    dev: bool,
}

/// Crates that others build on, each with its height. A crate may depend on lower ones only.
const HEIGHTS: [(&str, u8); 10] = [
    ("excom-core", 0),
    ("excom-reactor", 1),
    ("excom-db", 2),
    ("excom-store", 2),
    ("excom-client", 2),
    ("excom-flow", 2),
    ("excom-airflow", 3),
    ("excom-server", 4),
    ("excom", 5),
    ("excom-cli", 6),
];

/// The macros are no layer: whoever offers them re-exports them.
const MACROS: &str = "excom-macros";
const OFFER_MACROS: [&str; 2] = ["excom-flow", "excom"];

/// What only developers run: it may use anything, and nothing that ships may use it.
const TOOLS: [&str; 3] = ["excom-testkit", "excom-bench", "xtask"];

/// Who may speak to SQLite. The tools look at the files from outside, as nobody else should; the SQL operator
/// in excom-flow opens databases of its user, never Excom's own.
const SQLITE: &str = "rusqlite";
const MAY_USE_SQLITE: [&str; 4] = ["excom-db", "excom-flow", "excom-testkit", "excom-bench"];

/// One TLS and crypto stack, without C libraries of the host: rustls with aws-lc-rs.
const BANNED: [&str; 4] = ["openssl", "openssl-sys", "native-tls", "ring"];

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Checks the workspace; whether it keeps all rules.
pub(crate) fn run() -> Result<bool, String> {
    let metadata = output(&mut cargo(&["metadata", "--format-version", "1", "--all-features"]))?;
    let metadata: Value =
        serde_json::from_str(&metadata).map_err(|error| format!("cargo metadata is not JSON: {error}"))?;
    let lock = root().join("Cargo.lock");
    let lock =
        fs::read_to_string(&lock).map_err(|error| format!("cannot read {}: {error}", lock.display()))?;
    let members = read(&metadata).ok_or("cargo metadata has another form than expected")?;
    let all = built()?;
    let mut violations = directions(&members);
    violations.extend(banned(&all));
    violations.extend(registries(&lock));
    for violation in &violations {
        say(violation);
    }
    if violations.is_empty() {
        say(&format!(
            "{} crates keep the direction of dependencies, {} packages in all",
            members.len(),
            all.len()
        ));
    }
    Ok(violations.is_empty())
}

/// The names of all packages that are built with all features, for any system. `Cargo.lock` and `cargo
/// metadata` also name what no feature turns on.
fn built() -> Result<BTreeSet<String>, String> {
    let arguments = ["tree", "--workspace", "--all-features", "--target", "all", "--prefix", "none"];
    let tree = output(&mut cargo(&arguments))?;
    let names = tree.lines().filter_map(|line| line.split_whitespace().next());
    Ok(names.map(ToOwned::to_owned).collect())
}

/// The workspace's crates.
fn read(metadata: &Value) -> Option<Vec<Package>> {
    let ids = metadata["workspace_members"].as_array()?;
    let mut members = Vec::new();
    for package in metadata["packages"].as_array()? {
        let name = package["name"].as_str()?.to_owned();
        if ids.contains(&package["id"]) {
            let mut dependencies = Vec::new();
            for dependency in package["dependencies"].as_array()? {
                let name = dependency["name"].as_str()?.to_owned();
                dependencies.push(Dependency { name, dev: dependency["kind"].as_str() == Some("dev") });
            }
            members.push(Package { name, dependencies });
        }
    }
    Some(members)
}

fn height(name: &str) -> Option<u8> {
    HEIGHTS.iter().find(|(known, _)| *known == name).map(|(_, height)| *height)
}

/// What breaks the direction, each naming both crates and the rule.
fn directions(members: &[Package]) -> Vec<String> {
    let mut violations = Vec::new();
    for package in members {
        let from = package.name.as_str();
        if height(from).is_none() && from != MACROS && !TOOLS.contains(&from) {
            violations.push(format!("{from} has no place in the layers: give it one in xtask/src/layers.rs"));
            continue;
        }
        for dependency in package.dependencies.iter().filter(|dependency| !dependency.dev) {
            let to = dependency.name.as_str();
            let ours = members.iter().any(|member| member.name == to);
            let broken = if ours { direction(from, to) } else { sqlite(from, to) };
            violations.extend(broken.map(|rule| format!("{from} depends on {to}: {rule}")));
        }
    }
    violations
}

/// The rule that a dependency between two of our crates breaks, if any.
fn direction(from: &str, to: &str) -> Option<String> {
    if from == "xtask" {
        return Some("xtask builds without the project".to_owned());
    }
    // What is measured is started by the testkit too.
    if TOOLS.contains(&to) && (from, to) != ("excom-bench", "excom-testkit") {
        return Some("tools for developers are depended on by tests only".to_owned());
    }
    if TOOLS.contains(&from) {
        return None;
    }
    if from == MACROS {
        return Some(format!("{MACROS} depends on no crate of the project"));
    }
    if to == MACROS {
        let offers = OFFER_MACROS.contains(&from);
        return (!offers).then(|| format!("only {} offer the macros", OFFER_MACROS.join(" and ")));
    }
    match (height(from), height(to)) {
        (Some(above), Some(below)) if above > below => None,
        _ => {
            Some("core <- reactor <- db, store, client, flow <- airflow <- server <- excom <- cli".to_owned())
        }
    }
}

fn sqlite(from: &str, to: &str) -> Option<String> {
    (to == SQLITE && !MAY_USE_SQLITE.contains(&from)).then(|| "only excom-db speaks to SQLite".to_owned())
}

fn banned(all: &BTreeSet<String>) -> Vec<String> {
    let found = all.iter().filter(|name| BANNED.contains(&name.as_str()));
    found
        .map(|name| {
            format!("{name} is in the tree: one TLS and crypto stack, rustls with aws-lc-rs (`cargo tree -i {name}`)")
        })
        .collect()
}

/// Packages from elsewhere than crates.io; a package without a source is our own.
fn registries(lock: &str) -> Vec<String> {
    let mut name = "";
    let mut violations = Vec::new();
    for line in lock.lines() {
        if let Some(found) = line.strip_prefix("name = ") {
            name = found.trim_matches('"');
        }
        if let Some(source) = line.strip_prefix("source = ")
            && source.trim_matches('"') != REGISTRY
        {
            violations
                .push(format!("Cargo.lock takes {name} from {source}: everything comes from crates.io"));
        }
    }
    violations
}
