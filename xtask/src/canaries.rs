//! The names of bugs that can be brought back, as the source text has them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Result;

/// Every name in `canary("...")` below a folder.
pub(crate) fn names(folder: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(names(&path)?);
        } else {
            found.extend(named(&fs::read_to_string(&path)?));
        }
    }
    Ok(found)
}

fn named(text: &str) -> Vec<String> {
    let calls = text.split("canary(\"").skip(1);
    calls.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canaries_are_found_by_their_calls() {
        let text =
            "if canary(\"RS-01 one\") && x { canary(\"RS-02 two\") } pub fn canary(bug: &str) {";
        assert_eq!(named(text), ["RS-01 one", "RS-02 two"]);
    }
}
