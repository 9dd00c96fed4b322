//! The sources as text to look at: comments, strings and characters are blanked, so that words and braces are code.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::workspace;

/// A file of `crates/*/src`.
pub(super) struct SourceFile {
    /// Relative to the workspace.
    pub(super) path: String,
    /// Lines without comments and literals, one for each line of the file.
    pub(super) code: Vec<String>,
    /// Index of the first line of the file's own tests; the number of lines if it has none.
    pub(super) tests_from: usize,
}

/// All files of all crates, in order of their names.
pub(super) fn all() -> Result<Vec<SourceFile>> {
    let root = workspace::root();
    let mut paths = Vec::new();
    for entry in fs::read_dir(root.join("crates"))? {
        collect(&entry?.path().join("src"), &mut paths)?;
    }
    paths.sort();
    paths.iter().map(|path| read(path, &root)).collect()
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
    Ok(())
}

fn read(path: &Path, root: &Path) -> Result<SourceFile> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
    Ok(SourceFile::new(name, &text))
}

impl SourceFile {
    pub(super) fn new(path: String, text: &str) -> Self {
        let code: Vec<String> = blanked(text).lines().map(str::to_owned).collect();
        let test_file = path.ends_with("_test.rs") || path.ends_with("/tests.rs");
        let own_tests = code.iter().position(|line| line.trim().starts_with("#[cfg(test)]"));
        let tests_from = if test_file { 0 } else { own_tests.unwrap_or(code.len()) };
        Self { path, code, tests_from }
    }

    /// The lines that are not tests, with their index.
    pub(super) fn product(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.iter().map(String::as_str).enumerate().take(self.tests_from)
    }
}

/// The text with spaces for comments, strings and character literals; line breaks stay.
fn blanked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if c == '"' {
            string_len(rest)
        } else if c == 'r' && !out.ends_with(is_word) {
            raw_string_len(rest)
        } else if c == '\'' {
            character_len(rest)
        } else {
            0
        };
        if skip == 0 {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            let (hidden, after) = rest.split_at(skip);
            out.extend(hidden.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = after;
        }
    }
    out
}

fn string_len(text: &str) -> usize {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

fn raw_string_len(text: &str) -> usize {
    let hashes = text[1..].bytes().take_while(|b| *b == b'#').count();
    if text.as_bytes().get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let start = 2 + hashes;
    text[start..].find(&end).map_or(text.len(), |at| start + at + end.len())
}

/// The length of a character literal; 0 for a lifetime.
fn character_len(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, _))) => {
            text[at + 1..].find('\'').map_or(0, |end| at + 1 + end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_left() {
        let text = "let a = \"{ \\\" }\"; // {\nfn b<'a>(c: &'a str) { '{'; '\\''; r#\"}\"# } /* {\n{ */ mod d;";
        let code = blanked(text);
        assert_eq!(code.matches('{').count(), 1, "{code}");
        assert_eq!(code.matches('}').count(), 1, "{code}");
        assert!(code.contains("fn b<'a>") && code.contains("mod d;"), "{code}");
        assert_eq!(code.lines().count(), text.lines().count());
    }
}
