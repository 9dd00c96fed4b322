//! What is done to a store: steps, drawn from a seed or counted through.

use rmq_runtime::Entropy;
use rmq_sim::SimEntropy;

/// One thing done to a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Messages to one queue, in one append.
    Append {
        queue: usize,
        count: usize,
        body: usize,
        pad: usize,
    },
    /// A half message of a transaction.
    AppendHalf,
    Settle,
    Flush,
    WriteQueues,
    Save,
    Prepare,
    Index,
    Expire,
    DeleteTopic,
    /// Stopped cleanly and opened again.
    Restart,
    /// Killed and opened again.
    Kill,
    /// Time passes.
    Wait,
    /// The wall clock is set back.
    SetBack,
}

pub(crate) const QUEUES: usize = 4;

fn append(chance: &SimEntropy) -> Step {
    let size = |chance: &SimEntropy| match chance.below(8) {
        0 => chance.place(3_000),
        1..=3 => chance.place(700),
        _ => chance.place(60),
    };
    let count = if chance.one_in(4) { 2 + chance.place(3) } else { 1 };
    let (body, pad) = match count {
        1 => (size(chance), size(chance)),
        _ => (chance.place(500), chance.place(100)),
    };
    Step::Append { queue: chance.place(QUEUES), count, body, pad }
}

/// A long, mixed history.
pub(crate) fn mixed(seed: u64) -> Vec<Step> {
    let chance = &SimEntropy::new(seed);
    let len = 20 + chance.place(30);
    // Some histories restart often, some not at all.
    let lively = chance.below(4);
    (0..len)
        .map(|_| match chance.below(100) {
            0..45 => append(chance),
            45..47 => Step::AppendHalf,
            47..60 => Step::Settle,
            60..72 => Step::Flush,
            72..76 => Step::Save,
            76..80 => Step::WriteQueues,
            80..84 => Step::Prepare,
            84..89 => Step::Index,
            89..91 => Step::Expire,
            91..93 => Step::DeleteTopic,
            93..95 if lively > 0 => Step::Restart,
            95..97 if lively > 1 => Step::Kill,
            97 if lively > 2 => Step::SetBack,
            _ => Step::Wait,
        })
        .collect()
}

/// What short histories are made of.
const LETTERS: [Step; 9] = [
    Step::Append { queue: 0, count: 1, body: 300, pad: 40 },
    Step::Append { queue: 2, count: 3, body: 900, pad: 0 },
    Step::Settle,
    Step::Flush,
    Step::Save,
    Step::Expire,
    Step::DeleteTopic,
    Step::Restart,
    Step::Kill,
];

/// Number of short histories: every sequence of four.
pub(crate) const SHORT: u64 = (LETTERS.len() as u64).pow(4);

/// A sequence of four steps, on a store whose first file is nearly full.
pub(crate) fn short(number: u64) -> Vec<Step> {
    let mut steps = vec![
        Step::Append { queue: 0, count: 2, body: 2_000, pad: 0 },
        Step::Append { queue: 3, count: 1, body: 2_000, pad: 900 },
        Step::Settle,
        Step::Flush,
    ];
    let (mut rest, letters) = (number % SHORT, LETTERS.len() as u64);
    for _ in 0..4 {
        steps.push(LETTERS[usize::try_from(rest % letters).unwrap()]);
        rest /= letters;
    }
    steps
}
