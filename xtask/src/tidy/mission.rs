//! `docs/mission.md`: every number once, and every name in it a test, a scene or a file that is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::{interop, workspace};

const PAGE: &str = "docs/mission.md";
/// Last number of each kind of row.
const LAST: [(&str, u32); 2] = [("M", 205), ("A", 15)];

/// What a name may mean.
struct Known {
    /// Files with a test of that name, by crate and test.
    tests: BTreeMap<(String, String), BTreeSet<String>>,
    scenes: BTreeSet<&'static str>,
}

/// One finding for each number and name that is wrong.
pub(super) fn check() -> Result<Vec<String>> {
    let root = workspace::root();
    let text =
        fs::read_to_string(root.join(PAGE)).with_context(|| format!("cannot read {PAGE}"))?;
    let mut known = Known { tests: BTreeMap::new(), scenes: interop::scene_names().collect() };
    for folder in ["crates", "tests", "xtask/src"] {
        known.collect(&root.join(folder), &root)?;
    }
    let is_file = |name: &str| root.join(name).is_file();
    Ok(findings(&text, |name| known.holds(name) || is_file(name)))
}

fn findings(text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let (mut findings, mut seen) = (Vec::new(), BTreeMap::<String, u32>::new());
    for (number, line) in (1..).zip(text.lines()) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, row, _, shown, ..] = cells.as_slice() else { continue };
        if row.is_empty() || !row[1..].bytes().all(|b| b.is_ascii_digit()) || row.len() < 2 {
            continue;
        }
        *seen.entry((*row).to_owned()).or_default() += 1;
        let names: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            findings.push(format!("{PAGE}:{number}: {row} names no test"));
        }
        for name in names.into_iter().filter(|name| !exists(name)) {
            findings.push(format!("{PAGE}:{number}: {row}: `{name}` is no test, scene or file"));
        }
    }
    for row in LAST.iter().flat_map(|(kind, last)| (1..=*last).map(move |n| format!("{kind}{n}"))) {
        match seen.remove(&row) {
            Some(1) => {}
            Some(_) => findings.push(format!("{PAGE}: {row} is there more than once")),
            None => findings.push(format!("{PAGE}: {row} is missing")),
        }
    }
    findings
}

impl Known {
    fn holds(&self, name: &str) -> bool {
        let parts: Vec<&str> = name.split("::").collect();
        match parts.as_slice() {
            ["interop", scene] => self.scenes.contains(scene),
            [package, .., file, test] if parts.len() > 2 => self
                .tests
                .get(&((*package).to_owned(), (*test).to_owned()))
                .is_some_and(|files| files.contains(*file)),
            _ => false,
        }
    }

    fn collect(&mut self, folder: &Path, root: &Path) -> Result<()> {
        let entries =
            fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                self.collect(&path, root)?;
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                self.read(path.strip_prefix(root).unwrap_or(&path), &text);
            }
        }
        Ok(())
    }

    fn read(&mut self, path: &Path, text: &str) {
        let mut folders = path.iter().map(|part| part.to_string_lossy());
        let package = match folders.next().as_deref() {
            Some("crates") => folders.next().unwrap_or_default().into_owned(),
            Some(other) => other.to_owned(),
            None => return,
        };
        let name = |path: Option<&std::ffi::OsStr>| {
            path.unwrap_or_default().to_string_lossy().trim_end_matches("_test").to_owned()
        };
        let mut file = name(path.file_stem());
        if file == "tests" {
            file = name(path.parent().and_then(Path::file_name));
        }
        for test in tests_of(text) {
            let key = (package.clone(), test.to_owned());
            self.tests.entry(key).or_default().insert(file.clone());
        }
    }
}

/// Names of the functions behind an attribute that makes a test of them.
fn tests_of(text: &str) -> Vec<&str> {
    let (mut names, mut is_test) = (Vec::new(), false);
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[") {
            is_test |= line.contains("test") && !line.contains("cfg(");
        } else if let Some((_, behind)) = line.split_once("fn ").filter(|_| is_test) {
            names.extend(behind.split(['(', '<']).next());
            is_test = false;
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_found_by_crate_file_and_name() {
        let mut known = Known { tests: BTreeMap::new(), scenes: ["a-scene"].into() };
        let text = "#[tokio::test]\nasync fn one() {\n}\nfn helper() {}\n#[test]\nfn two() {}";
        known.read(Path::new("crates/x/src/deep/file_test.rs"), text);
        known.read(Path::new("tests/tests/scenario.rs"), text);
        for (name, expected) in [
            ("x::deep::file::one", true),
            ("x::file::two", true),
            ("x::file::helper", false),
            ("x::other::one", false),
            ("y::file::one", false),
            ("x::one", false),
            ("tests::scenario::two", true),
            ("interop::a-scene", true),
            ("interop::none", false),
        ] {
            assert_eq!(known.holds(name), expected, "{name}");
        }
    }

    #[test]
    fn every_number_is_there_once_and_names_something() {
        let row = |kind: &str, n: u32| format!("| {kind}{n} | part | `a::b::c` | |");
        let rows = LAST.iter().flat_map(|(kind, last)| (1..=*last).map(move |n| row(kind, n)));
        let page = rows.collect::<Vec<_>>().join("\n");
        assert!(findings(&page, |name| name == "a::b::c").is_empty());
        let broken = page.replace("| M7 | part | `a::b::c`", "| M7 | part | -");
        let broken = broken.replace("| M8 |", "| M9 |") + "\n| A1 | part | `x` | |";
        let found = findings(&broken, |name| name == "a::b::c").join("\n");
        for expected in ["M7 names no test", "M8 is missing", "M9 is there more", "`x` is no test"]
        {
            assert!(found.contains(expected), "{found}");
        }
    }
}
