//! Which crate may use which. A new edge is a decision: change the table together with a record in `docs/decisions/`.

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::workspace;

/// The edges of the house.
const ALLOWED: &[(&str, &[&str])] = &[
    ("rmq-message", &[]),
    ("rmq-runtime", &[]),
    ("rmq-sim", &["runtime"]),
    ("rmq-proto", &[]),
    ("rmq-remoting", &["message", "runtime"]),
    ("rmq-store", &["message", "runtime"]),
    ("rmq-filter", &["message"]),
    ("rmq-namesrv", &["message", "runtime", "remoting"]),
    ("rmq-broker", &["message", "runtime", "remoting", "store", "filter"]),
    ("rmq-ha", &["message", "runtime", "store"]),
    ("rmq-auth", &["runtime", "remoting"]),
    ("rmq-controller", &["runtime", "remoting"]),
    ("rmq-client-core", &["message", "runtime", "remoting"]),
    ("rmq-client-push", &["message", "runtime", "client-core"]),
    ("rmq-client-producer", &["message", "runtime", "client-core"]),
    ("rmq-client-pull", &["message", "runtime", "client-core"]),
    ("rmq-admin", &["message", "remoting", "client-core"]),
    ("rmq-proxy", &["proto", "message", "runtime", "client-core"]),
    ("rmq-console", &["admin"]),
    (
        "rmq-server",
        &[
            "message",
            "runtime",
            "remoting",
            "store",
            "filter",
            "namesrv",
            "broker",
            "ha",
            "auth",
            "controller",
            "proxy",
            "console",
        ],
    ),
];

/// What the tests of any crate above it may also use: the simulated world, and the wire, to script
/// a broker with.
const FOR_TESTS: &[&str] = &["sim", "remoting"];

/// Crates below the wire: their tests have no use for it.
const BELOW_THE_WIRE: &[&str] = &["rmq-message", "rmq-runtime", "rmq-sim", "rmq-store"];

/// Packages that may use everything: they are no part of the product.
const FREE: &[&str] = &["rmq-tests"];

#[derive(Deserialize)]
pub(super) struct Graph {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    path: Option<String>,
}

/// The workspace as cargo sees it.
pub(super) fn read() -> Result<Graph> {
    let output = workspace::cargo()
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .output()?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata speaks another language")
}

/// One finding for each edge that the table does not know.
pub(super) fn check(graph: &Graph) -> Vec<String> {
    let mut findings = Vec::new();
    for package in graph.packages.iter().filter(|package| !FREE.contains(&package.name.as_str())) {
        let inner = package.dependencies.iter().filter(|dependency| dependency.path.is_some());
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == package.name) else {
            findings.extend(inner.map(|dependency| {
                format!(
                    "{} -> {}: the crate has no place in the graph",
                    package.name, dependency.name
                )
            }));
            continue;
        };
        for dependency in inner {
            let short = dependency.name.strip_prefix("rmq-").unwrap_or(&dependency.name);
            let for_tests = dependency.kind.as_deref() == Some("dev")
                && FOR_TESTS.contains(&short)
                && (short == "sim" || !BELOW_THE_WIRE.contains(&package.name.as_str()));
            let known = allowed.contains(&short) || for_tests;
            if !known {
                findings.push(format!(
                    "{} -> {}: an edge that the house does not have",
                    package.name, dependency.name
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(package: &str, dependency: &str, kind: Option<&str>) -> Graph {
        let dependency = Dependency {
            name: dependency.to_owned(),
            kind: kind.map(str::to_owned),
            path: Some("/x".to_owned()),
        };
        Graph {
            packages: vec![Package { name: package.to_owned(), dependencies: vec![dependency] }],
        }
    }

    #[test]
    fn edges_of_the_table_pass_and_others_do_not() {
        assert!(check(&graph("rmq-store", "rmq-message", None)).is_empty());
        assert_eq!(check(&graph("rmq-store", "rmq-remoting", None)).len(), 1);
        assert_eq!(check(&graph("rmq-store", "rmq-remoting", Some("dev"))).len(), 1);
        assert!(check(&graph("rmq-store", "rmq-sim", Some("dev"))).is_empty());
        assert!(check(&graph("rmq-client-push", "rmq-remoting", Some("dev"))).is_empty());
        assert_eq!(check(&graph("rmq-client-push", "rmq-remoting", None)).len(), 1);
        assert_eq!(check(&graph("rmq-store", "rmq-sim", None)).len(), 1);
        assert_eq!(check(&graph("rmq-common", "rmq-message", None)).len(), 1);
    }
}
