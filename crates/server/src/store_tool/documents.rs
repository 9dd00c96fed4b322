//! The documents in a store's `config` directory: can they be read, and what topics are there.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use rmq_remoting::json;
use rmq_runtime::{Disk, state_file};
use rmq_store::inspect::{Finding, Severity};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Documents without the ending that tells them.
const BARE: [&str; 2] = ["timermetrics", "transactionMetrics"];

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Topics {
    topic_config_table: BTreeMap<String, IgnoredAny>,
}

fn parse(bytes: &[u8]) -> Result<IgnoredAny, json::Error> {
    json::from_slice(bytes)
}

/// Checks every document and the generation before it, and tells the topics.
pub(super) fn check(
    disk: &dyn Disk,
    root: &Path,
    findings: &mut Vec<Finding>,
) -> io::Result<BTreeSet<String>> {
    let dir = root.join("config");
    let mut names = BTreeSet::new();
    for entry in disk.list(&dir)?.into_iter().filter(|entry| !entry.is_dir) {
        let name = entry.name.strip_suffix(".bak").unwrap_or(&entry.name).to_owned();
        if name.ends_with(".json") || BARE.contains(&name.as_str()) {
            names.insert(name);
        }
    }
    for name in names {
        let path = dir.join(&name);
        let loaded = state_file::look(disk, &path, |bytes| parse(&bytes));
        let (severity, problem, next) = match loaded {
            Ok(state_file::Loaded::Current(_)) => match bad_backup(disk, &path) {
                Some(problem) => (Severity::Note, problem, "nothing; the next change replaces it"),
                None => continue,
            },
            Ok(state_file::Loaded::Missing) => continue,
            Ok(state_file::Loaded::Previous { why, .. }) => {
                let next = "the next start takes the generation before, from the file's .bak";
                (Severity::Note, why, next)
            }
            Err(error) => {
                let next = "restore it from a replica; without it the broker starts with nothing \
                            in its place, or not at all";
                (Severity::Damage, error.to_string(), next)
            }
        };
        let place = format!("{}: ", path.display());
        let problem = problem.strip_prefix(&place).unwrap_or(&problem).to_owned();
        findings.push(Finding { severity, path, at: None, queue: None, problem, next });
    }
    let topics = state_file::look(disk, &dir.join("topics.json"), |bytes| {
        json::from_slice::<Topics>(&bytes)
    });
    let topics = topics.ok().and_then(state_file::Loaded::into_value).unwrap_or_default();
    Ok(topics.topic_config_table.into_keys().collect())
}

/// What is wrong with the generation before, if there is one.
fn bad_backup(disk: &dyn Disk, path: &Path) -> Option<String> {
    let mut name = path.as_os_str().to_owned();
    name.push(".bak");
    let path = Path::new(&name);
    if !disk.exists(path) {
        return None;
    }
    match disk.read(path) {
        Ok(bytes) => {
            let error = parse(&bytes).err()?;
            Some(format!("{}, the generation before, cannot be read: {error}", path.display()))
        }
        Err(error) => Some(error.to_string()),
    }
}
