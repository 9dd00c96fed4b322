//! What Apache RocketMQ 5.5.0 answers, case by case (`golden/sql92.jsonl`, made by `golden/Oracle.java`).

use std::collections::BTreeMap;

use rmq_filter::{CompileError, Condition, DEPTH_MAX, LEN_MAX, NODES_MAX};

#[derive(serde::Deserialize)]
struct Case {
    condition: String,
    /// One letter for each message, nothing when the condition does not compile.
    answers: Option<String>,
}

const MESSAGES: [&[(&str, &str)]; 5] = [
    &[],
    &[
        ("a", "a"),
        ("b", "b"),
        ("n", "5"),
        ("t", "true"),
        ("x", "ab"),
        ("_u", "1.5"),
        ("$d", "-3"),
        ("A", "B"),
    ],
    &[
        ("a", "5"),
        ("b", "-3"),
        ("n", "2147483648"),
        ("t", "TRUE"),
        ("x", "it's"),
        ("_u", ""),
        ("$d", "1e3"),
        ("now", "7"),
    ],
    &[
        ("a", "ab"),
        ("b", ""),
        ("n", "x5"),
        ("t", "false"),
        ("x", " 7 "),
        ("_u", "NaN"),
        ("$d", "Infinity"),
        ("inside", "\u{fc}"),
    ],
    &[
        ("a", "1.5"),
        ("b", "5d"),
        ("n", "10"),
        ("x", "+5"),
        ("_u", "0.5"),
        ("$d", "9223372036854775807"),
        ("A", "true"),
    ],
];

fn ours(condition: &str) -> Option<String> {
    let compiled = Condition::compile(condition).ok()?;
    let answer = |message: &&[(&str, &'static str)]| {
        let properties: BTreeMap<_, _> = message.iter().copied().collect();
        if compiled.admits(|name| properties.get(name).copied()) { 'T' } else { 'F' }
    };
    Some(MESSAGES.iter().map(answer).collect())
}

#[test]
fn every_condition_says_what_the_original_says() {
    let cases = include_str!("golden/sql92.jsonl").lines();
    let cases: Vec<Case> = cases.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(cases.len() > 1000);
    let wrong: Vec<_> = cases
        .iter()
        .filter(|case| ours(&case.condition) != case.answers)
        .map(|case| (&case.condition, &case.answers, Condition::compile(&case.condition)))
        .collect();
    assert!(
        wrong.is_empty(),
        "{} differ: {:?}",
        wrong.len(),
        &wrong[..wrong.len().min(25)]
            .iter()
            .map(|w| (w.0, w.1, w.2.as_ref().map(|_| ours(w.0))))
            .collect::<Vec<_>>()
    );
}

#[test]
fn hostile_conditions_are_refused_in_linear_time() {
    let compile = |text: &str| Condition::compile(text).map(|_| ()).unwrap_err();
    assert_eq!(compile(&"a".repeat(1 << 20)), CompileError::TooLong { len: 1 << 20 });
    assert_eq!(compile(&"(".repeat(LEN_MAX)), CompileError::TooDeep);
    assert_eq!(compile(&"NOT ".repeat(LEN_MAX / 4)), CompileError::TooDeep);
    let list = vec!["''"; NODES_MAX + 2].join(",");
    assert_eq!(compile(&format!("a IN ({list})")), CompileError::TooWide);
    let flat = vec!["a"; NODES_MAX].join("=");
    assert_eq!(compile(&flat), CompileError::TooWide);
    let nested = "(".repeat(DEPTH_MAX - 1) + "a" + &")".repeat(DEPTH_MAX - 1);
    assert!(Condition::compile(&nested).is_ok());
}

proptest::proptest! {
    #[test]
    fn any_text_compiles_or_is_refused_without_panic(text in "[ -~\\u{e4}\n]{0,60}") {
        if let Ok(condition) = Condition::compile(&text) {
            condition.admits(|_| Some("1"));
        }
    }
}
