//! The widest things, for everyone to see; nothing fails on them. Lines of tests do not count.

use std::cmp::Reverse;

use super::source::{SourceFile, is_word};

/// Prints the `top` longest files and functions, traits with most methods and structs with most fields.
pub(super) fn show(files: &[SourceFile], top: usize) {
    let mut lengths = Vec::new();
    let mut items = Vec::new();
    for file in files {
        lengths.push((
            file.product().filter(|(_, line)| !line.trim().is_empty()).count(),
            file.path.clone(),
        ));
        items.extend(items_of(file).into_iter().map(|item| (item, file)));
    }
    list("code lines of a file (aim 200, limit 400)", lengths, top);
    for (kind, title) in [
        (Kind::Function, "code lines of a function (aim 30, limit 70)"),
        (Kind::Trait, "methods of a trait (aim 5, limit 8)"),
        (Kind::Struct, "fields of a struct (aim 7, limit 12)"),
    ] {
        let wide = items.iter().filter(|(item, _)| item.kind == kind);
        list(
            title,
            wide.map(|(item, file)| {
                (item.width, format!("{} in {}:{}", item.name, file.path, item.line + 1))
            })
            .collect(),
            top,
        );
    }
}

fn list(title: &str, mut things: Vec<(usize, String)>, top: usize) {
    things.sort_by_key(|(width, name)| (Reverse(*width), name.clone()));
    println!("{title}");
    for (width, name) in things.iter().take(top) {
        println!("{width:7}  {name}");
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Function,
    Trait,
    Struct,
}

/// Something with braces, and its measure: lines, methods or fields.
struct Item {
    kind: Kind,
    name: String,
    line: usize,
    width: usize,
    depth: usize,
}

/// A line-based scan: an item begins where its keyword stands, and its body is what its braces hold.
fn items_of(file: &SourceFile) -> Vec<Item> {
    let mut done = Vec::new();
    let mut open: Vec<Item> = Vec::new();
    let mut announced: Option<Item> = None;
    let mut depth = 0_usize;
    for (number, line) in file.product() {
        count(line, depth, &mut open);
        if let Some((kind, name)) = keyword(line) {
            announced = Some(Item { kind, name: name.to_owned(), line: number, width: 0, depth });
        }
        for c in line.chars() {
            match c {
                '{' => {
                    open.extend(announced.take().map(|item| Item { depth, ..item }));
                    depth += 1;
                }
                '}' => {
                    depth = depth.saturating_sub(1);
                    done.extend(open.pop_if(|item| item.depth == depth));
                }
                _ => {}
            }
        }
        if line.trim_end().ends_with(';') {
            announced = None;
        }
    }
    done
}

/// Adds what a line contributes to the items that hold it.
fn count(line: &str, depth: usize, open: &mut [Item]) {
    let text = line.trim();
    for item in open {
        let direct = depth == item.depth + 1;
        item.width += usize::from(match item.kind {
            Kind::Function => !text.is_empty(),
            Kind::Trait => direct && matches!(keyword(line), Some((Kind::Function, _))),
            Kind::Struct => {
                direct && !text.starts_with('#') && text.contains(':') && !text.starts_with("where")
            }
        });
    }
}

fn keyword(line: &str) -> Option<(Kind, &str)> {
    let mut words = line.split(|c: char| !is_word(c)).filter(|word| !word.is_empty());
    let kind = words.find(|word| {
        !matches!(*word, "pub" | "crate" | "super" | "in" | "async" | "const" | "unsafe" | "extern")
    })?;
    let kind = match kind {
        "fn" => Kind::Function,
        "trait" => Kind::Trait,
        "struct" => Kind::Struct,
        _ => return None,
    };
    Some((kind, words.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_methods_and_fields_are_counted() {
        let text = "pub struct A {\n    #[x]\n    a: u8,\n    pub b: u8,\n}\nstruct B;\ntrait C {\n    fn d(&self);\n    async fn e(&self) {\n        f();\n\n        g();\n    }\n}\n";
        let file = SourceFile::new("a.rs".to_owned(), text);
        let found: Vec<_> =
            items_of(&file).into_iter().map(|item| (item.kind, item.name, item.width)).collect();
        assert_eq!(
            found,
            [
                (Kind::Struct, "A".to_owned(), 2),
                (Kind::Function, "e".to_owned(), 3),
                (Kind::Trait, "C".to_owned(), 2)
            ],
        );
    }
}
