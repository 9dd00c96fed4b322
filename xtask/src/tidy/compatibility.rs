//! `docs/compatibility.md` tells the truth: it has a row for each request code of the protocol,
//! says `served` of those that a processor matches and of no others, and every command of Apache's
//! command line that it calls working is played by the scene `mqadmin`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

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
    fn a_working_command_is_played() {
        let page = "| works | topicList, topicRoute |\n| not yet | x |";
        let found = commands(page, "    (\"topicList -c\", Well(&[])),");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[1].contains("`topicRoute`"));
    }
}
