//! Words that say nothing, in names of types and modules. If no better noun exists, the thing is not one thing.

use super::finding;
use super::source::{SourceFile, is_word};

const BANNED: &[&str] = &[
    "manager", "impl", "util", "utils", "helper", "helpers", "common", "base", "wrapper",
    "factory", "default", "abstract", "data", "info",
];

/// Nouns of the protocol that hold a banned word and are everybody's name for the thing.
const NOUNS: &[&str] = &["DataVersion"];

/// One finding for each name that holds a banned word.
pub(super) fn check(file: &SourceFile) -> Vec<String> {
    let mut findings = Vec::new();
    let stem = file.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
    if let Some(word) = banned_word(stem) {
        findings.push(finding(
            file,
            0,
            &format!("module `{stem}`: the word `{word}` says nothing"),
        ));
    }
    for (number, line) in file.code.iter().enumerate() {
        if let Some((kind, name)) = declared(line)
            && let Some(word) = banned_word(name)
        {
            findings.push(finding(
                file,
                number,
                &format!("{kind} `{name}`: the word `{word}` says nothing"),
            ));
        }
    }
    findings
}

/// The type or module that a line declares.
pub(super) fn declared(line: &str) -> Option<(&str, &str)> {
    let mut words = line.split(|c: char| !is_word(c)).filter(|word| !word.is_empty());
    let kind = words.find(|word| {
        !matches!(*word, "pub" | "crate" | "super" | "self" | "in" | "unsafe" | "auto")
    })?;
    let name = words.next()?;
    matches!(kind, "struct" | "enum" | "trait" | "type" | "union" | "mod").then_some((kind, name))
}

fn banned_word(name: &str) -> Option<&'static str> {
    let name = NOUNS.iter().fold(name.to_owned(), |name, noun| name.replace(noun, ""));
    words(&name).find_map(|word| BANNED.iter().find(|banned| **banned == word).copied())
}

/// `FooBar` and `foo_bar` are foo and bar.
fn words(name: &str) -> impl Iterator<Item = String> {
    let mut spaced = String::with_capacity(name.len() + 4);
    let mut before = '_';
    for c in name.chars() {
        if c.is_uppercase() && before.is_lowercase() {
            spaced.push('_');
        }
        spaced.extend(c.to_lowercase());
        before = c;
    }
    spaced.split('_').map(str::to_owned).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> usize {
        check(&SourceFile::new(path.to_owned(), text)).len()
    }

    #[test]
    fn empty_words_are_found_in_types_and_modules_only() {
        assert_eq!(
            findings(
                "a/topic_table.rs",
                "pub struct TopicTable { manager: u8 }\nfn helper() {}\n// struct Util"
            ),
            0
        );
        assert_eq!(
            findings(
                "a/topic.rs",
                "pub(crate) struct TopicManager;\nmod utils;\nenum Database {}\ntype Info = u8;"
            ),
            3
        );
        assert_eq!(findings("a/common.rs", ""), 1);
        assert_eq!(findings("a/register.rs", "struct QueryDataVersion;\nstruct DataVersions;"), 0);
    }
}
