//! `docs/compatibility.md` tells the truth: it has a row for each request code of the protocol,
//! says `served` of those that a processor matches and of no others, each of which a test sends, and
//! every command of Apache's command line that it calls working is played by the scene `mqadmin`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::workspace;

const PAGE: &str = "docs/compatibility.md";
const CODES: &str = "crates/remoting/src/request_code.rs";
const SCENE: &str = "xtask/src/interop/scenes/mqadmin.rs";
/// Where requests are matched to those who serve them, and what stands before a code there.
const BROKER: [(&str, &str); 2] = [
    ("crates/broker/src/broker/requests.rs", "code::"),
    ("crates/broker/src/broker/administration.rs", "code::"),
];
const NAME_SERVER: [(&str, &str); 1] = [("crates/namesrv/src/processor.rs", "request_code::")];
/// Which types travel with which code.
const PROTOCOL: &str = "crates/remoting/src/protocol";
/// Who sends requests to servers: written out, by type, or as recorded.
const TESTS: [&str; 4] =
    ["crates/broker/tests", "crates/namesrv/tests", "tests/src", "tests/tests"];
/// Commands of 5.5.0.
const COMMANDS: usize = 96;

/// What is not true.
pub(super) fn check() -> Result<Vec<String>> {
    let root = workspace::root();
    let text = |path: &str| {
        fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"))
    };
    let mut served = BTreeSet::new();
    for (server, places) in [("broker", &BROKER[..]), ("name server", &NAME_SERVER)] {
        for (path, before) in places {
            served.extend(matched(&text(path)?, before).map(|name| (server, name)));
        }
    }
    let page = text(PAGE)?;
    let mut findings = codes(&page, &declared(&text(CODES)?), &served);
    let tests = sources(&TESTS.map(|path| root.join(path)))?;
    let sent = |number, name: &str, types: &[String]| is_sent(&tests, number, name, types);
    findings.extend(untested(&page, &conversations(&sources(&[root.join(PROTOCOL)])?), sent));
    findings.extend(commands(&page, &text(SCENE)?));
    Ok(findings.into_iter().map(|what| format!("{PAGE}: {what}")).collect())
}

/// Numbers and names of the protocol.
fn declared(source: &str) -> BTreeMap<u32, String> {
    let rows = source.lines().filter_map(|line| {
        let (name, rest) = line.trim().strip_suffix(',')?.split_once(" = ")?;
        let number = rest.split(' ').next()?.parse().ok()?;
        Some((number, name.to_owned()))
    });
    rows.collect()
}

/// Names of codes in the patterns of a `match`.
fn matched<'a>(source: &'a str, before: &'a str) -> impl Iterator<Item = String> + 'a {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    code.match_indices(before).filter_map(move |(at, _)| {
        let after = code.get(at + before.len()..)?;
        let len =
            after.find(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_')?;
        let (name, rest) = after.split_at(len);
        let rest = rest.trim_start();
        let is_pattern = rest.starts_with("=>") || rest.starts_with('|');
        (is_pattern && !name.is_empty()).then(|| name.to_owned())
    })
}

/// All text below folders: Rust sources and lists of recorded exchanges, and of those that were
/// recorded by themselves the names.
fn sources(folders: &[impl AsRef<Path>]) -> Result<String> {
    let mut text = String::new();
    for folder in folders {
        let folder = folder.as_ref();
        let entries = fs::read_dir(folder);
        for entry in entries.with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            let is_text = path.extension().is_some_and(|kind| kind == "rs" || kind == "jsonl");
            if path.is_dir() {
                text += &sources(&[path])?;
            } else if is_text {
                text += &fs::read_to_string(&path)?;
            } else if let Some(name) = path.file_name() {
                text += &format!("\n{}", name.display());
            }
            text.push('\n');
        }
    }
    Ok(text)
}

/// Types of requests by the name of their code: `(Type, Body) = CODE => Answer;`.
fn conversations(source: &str) -> BTreeMap<String, Vec<String>> {
    let mut types = BTreeMap::<_, Vec<_>>::new();
    for line in source.lines() {
        let Some((request, rest)) = line.trim().split_once(" = ") else { continue };
        let Some((code, _)) = rest.split_once(" =>") else { continue };
        let request = request.trim_start_matches('(');
        let end = request.find(|c: char| !c.is_alphanumeric()).unwrap_or(request.len());
        types.entry(code.to_owned()).or_default().push(request[..end].to_owned());
    }
    types
}

fn is_sent(tests: &str, number: u32, name: &str, types: &[String]) -> bool {
    let whole = |word: &str| {
        let ends = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
        tests.match_indices(word).any(|(at, _)| {
            ends(tests[..at].chars().next_back()) && ends(tests[at + word.len()..].chars().next())
        })
    };
    whole(name)
        || tests.contains(&format!("\n{number:06}-"))
        || tests.contains(&format!("{{\"request\": {{\"code\": {number},"))
        || types.iter().any(|name| whole(name))
}

/// Rows that say `served` of what no test sends.
fn untested(
    page: &str,
    types: &BTreeMap<String, Vec<String>>,
    sent: impl Fn(u32, &str, &[String]) -> bool,
) -> Vec<String> {
    let mut findings = Vec::new();
    for line in page.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [number, name, _, state] = cells[..] else { continue };
        let Ok(number) = number.parse::<u32>() else { continue };
        let types = types.get(name).map_or(&[][..], Vec::as_slice);
        if state.starts_with("served") && !sent(number, name, types) {
            findings.push(format!("code {number} ({name}) is served, and no test sends it"));
        }
    }
    findings
}

/// The cells of the page's rows that begin with a number.
fn codes(
    page: &str,
    declared: &BTreeMap<u32, String>,
    served: &BTreeSet<(&str, String)>,
) -> Vec<String> {
    let mut findings = Vec::new();
    let mut rows = BTreeMap::new();
    for line in page.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [number, name, server, state] = cells[..] else { continue };
        if let Ok(number) = number.parse::<u32>()
            && rows.insert(number, (name, server, state)).is_some()
        {
            findings.push(format!("code {number} has two rows"));
        }
    }
    for (number, name) in declared {
        let Some((told, server, state)) = rows.remove(number) else {
            findings.push(format!("code {number} ({name}) has no row"));
            continue;
        };
        if told != name {
            findings.push(format!("code {number} is {name}, not {told}"));
        }
        let servers: Vec<&str> = ["broker", "name server"]
            .into_iter()
            .filter(|server| served.contains(&(*server, name.clone())))
            .collect();
        let says_served = state.starts_with("served");
        let is_served = servers.iter().any(|one| server.contains(one));
        if says_served != is_served && !state.starts_with("refused") {
            let truth = if is_served { "served" } else { "not served" };
            findings.push(format!("code {number} ({name}) is {truth}, the row says `{state}`"));
        }
        if let Some(missing) = servers.iter().find(|one| !server.contains(*one)) {
            findings.push(format!("code {number} ({name}) is served by the {missing} too"));
        }
    }
    findings.extend(rows.keys().map(|number| format!("code {number} is none of the protocol")));
    findings
}

/// Rows `| works | updateTopic, ... |` against the first words of the scene's commands.
fn commands(page: &str, scene: &str) -> Vec<String> {
    let mut works = BTreeSet::new();
    let mut all = Vec::new();
    for line in page.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [state @ ("works" | "refused" | "not yet" | "local"), names] = cells[..] else {
            continue;
        };
        for name in names.split(',').map(str::trim) {
            all.push(name);
            if state == "works" {
                works.insert(name);
            }
        }
    }
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    let mut findings = Vec::new();
    if (count, all.len()) != (COMMANDS, COMMANDS) {
        findings.push(format!(
            "{count} commands, {} of them different, instead of {COMMANDS}",
            all.len()
        ));
    }
    let played: BTreeSet<&str> = scene
        .lines()
        .filter_map(|line| line.trim().trim_start_matches('(').strip_prefix('"'))
        .filter_map(|rest| rest.split([' ', '"']).next())
        .collect();
    findings
        .extend(works.difference(&played).map(|name| format!("the scene does not play `{name}`")));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str =
        "    SEND_MESSAGE = 10 Broker Hot Message,\n    OLD = 13 Nobody Admin Small,\n";

    #[test]
    fn patterns_are_codes_that_are_served() {
        let source = "code::A_B => x(),\n code::C\n | code::D => y(code::E),";
        assert_eq!(matched(source, "code::").collect::<Vec<_>>(), ["A_B", "C", "D"]);
    }

    #[test]
    fn a_row_that_says_something_else_than_the_processor_is_found() {
        let declared = declared(TABLE);
        let served = [("broker", "SEND_MESSAGE".to_owned())].into();
        let check = |rows: &str| codes(rows, &declared, &served);
        let good = "| 10 | SEND_MESSAGE | broker | served |\n| 13 | OLD | nobody | never |";
        assert_eq!(check(good), Vec::<String>::new());
        for (rows, problem) in [
            ("| 10 | SEND_MESSAGE | broker | served |", "code 13 (OLD) has no row"),
            (
                "| 10 | SEND_MESSAGE | broker | not yet |\n| 13 | OLD | nobody | never |",
                "code 10 (SEND_MESSAGE) is served, the row says `not yet`",
            ),
            (
                "| 10 | SEND_MESSAGE | broker | served |\n| 13 | OLD | broker | served |",
                "code 13 (OLD) is not served, the row says `served`",
            ),
            (
                "| 10 | SEND | broker | served |\n| 13 | OLD | nobody | never |",
                "code 10 is SEND_MESSAGE, not SEND",
            ),
        ] {
            assert_eq!(check(rows), [problem], "{rows}");
        }
    }

    #[test]
    fn a_served_request_is_sent_by_a_test() {
        let types = conversations("    (RegisterTopic, TopicRoute) = REGISTER => ();");
        assert_eq!(types["REGISTER"], ["RegisterTopic"]);
        let page = "| 217 | REGISTER | name server | served |\n| 9 | OLD | nobody | never |";
        for (tests, count) in [
            ("RegisterTopics", 1),
            ("(RegisterTopic {", 0),
            ("request_code::REGISTER)", 0),
            ("\n000217-register.req.bin", 0),
            ("{\"request\": {\"code\": 217, ", 0),
        ] {
            let sent = |number, name: &str, types: &[String]| is_sent(tests, number, name, types);
            assert_eq!(untested(page, &types, sent).len(), count, "{tests}");
        }
    }

    #[test]
    fn a_working_command_is_played() {
        let page = "| works | topicList, topicRoute |\n| not yet | x |";
        let found = commands(page, "    (\"topicList -c\", Well(&[])),");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[1].contains("`topicRoute`"));
    }
}
