//! Which transactions are open. Whoever ends one, puts one back or gives one up does so under the
//! ledger's lock, so that of two verdicts exactly one counts (INV-33, HI-26).
//!
//! A half message that is put back gets a new position; verdicts for older ones are taken as long
//! as the transaction is open. Holds what the checks have not passed yet; the log has the rest.

use std::collections::{BTreeSet, HashMap};

use parking_lot::Mutex;

/// The ledger.
#[derive(Debug)]
pub(crate) struct Ledger {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Half messages before this one are ended, put back, or given up.
    begin: i64,
    /// Ended ones from there on, and the first positions of those that were put back.
    ended: BTreeSet<i64>,
    /// Of open transactions that were put back: first position, and that of the youngest copy.
    copies: HashMap<i64, i64>,
}

/// The transaction is not open any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Over;

impl Ledger {
    pub(super) fn new(begin: i64, ended: impl IntoIterator<Item = i64>) -> Self {
        let ended = ended.into_iter().collect();
        Self { state: Mutex::new(State { begin, ended, copies: HashMap::new() }) }
    }

    /// A half message of the log, in its order.
    pub(super) fn found(&mut self, half: i64, origin: i64) {
        let state = self.state.get_mut();
        if half == origin {
            return;
        }
        if state.ended.contains(&half) {
            state.copies.remove(&origin);
        } else {
            state.copies.insert(origin, half);
        }
    }

    /// Ends a transaction: `stage` stages its end, with the positions to be noted.
    pub(crate) fn end<T, E>(
        &self,
        half: i64,
        origin: i64,
        stage: impl FnOnce(&[i64]) -> Result<T, E>,
    ) -> Result<Result<T, E>, Over> {
        let mut state = self.state.lock();
        state.check_open(half, origin)?;
        let mut positions = vec![half];
        positions.extend(state.copies.get(&origin).filter(|copy| **copy != half));
        // After a kill the checks may meet older copies again, which know only the first.
        if !positions.contains(&origin) {
            positions.push(origin);
        }
        let staged = stage(&positions);
        if staged.is_ok() {
            state.copies.remove(&origin);
            state.ended.extend(positions);
        }
        Ok(staged)
    }

    /// Puts a half message back: `stage` stages the copy and tells its position.
    pub(super) fn put_back<T, E>(
        &self,
        half: i64,
        origin: i64,
        stage: impl FnOnce() -> Result<(i64, T), E>,
    ) -> Result<Result<T, E>, Over> {
        let mut state = self.state.lock();
        state.check_open(half, origin)?;
        Ok(stage().map(|(copy, staged)| {
            state.copies.insert(origin, copy);
            staged
        }))
    }

    /// The checks have passed everything before that half message.
    pub(super) fn passed(&self, begin: i64) {
        let mut state = self.state.lock();
        state.begin = state.begin.max(begin);
        let begin = state.begin;
        state.ended = state.ended.split_off(&begin);
        state.copies.retain(|_, copy| *copy >= begin);
    }
}

impl State {
    fn check_open(&self, half: i64, origin: i64) -> Result<(), Over> {
        let is_ended = self.ended.contains(&half) || self.ended.contains(&origin);
        let is_held = half >= self.begin || self.copies.contains_key(&origin);
        if is_held && !is_ended { Ok(()) } else { Err(Over) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(begin: i64, ended: &[i64]) -> Ledger {
        Ledger::new(begin, ended.iter().copied())
    }

    fn end(ledger: &Ledger, half: i64, origin: i64) -> Result<Vec<i64>, Over> {
        ledger.end(half, origin, |noted| Ok::<_, ()>(noted.to_vec())).map(Result::unwrap)
    }

    fn put_back(ledger: &Ledger, half: i64, origin: i64, copy: i64) -> Result<(), Over> {
        ledger.put_back(half, origin, || Ok::<_, ()>((copy, ()))).map(Result::unwrap)
    }

    #[test]
    fn the_first_verdict_is_final() {
        let ledger = ledger(0, &[3]);
        assert_eq!(end(&ledger, 5, 5), Ok(vec![5]));
        assert_eq!(end(&ledger, 5, 5), Err(Over));
        assert_eq!(end(&ledger, 3, 3), Err(Over), "noted before the start");
        assert_eq!(put_back(&ledger, 5, 5, 9), Err(Over));
    }

    #[test]
    fn a_verdict_for_an_older_position_ends_the_youngest_copy_too() {
        let ledger = ledger(0, &[]);
        put_back(&ledger, 2, 2, 7).unwrap();
        ledger.passed(3);
        assert_eq!(end(&ledger, 2, 2), Ok(vec![2, 7]));
        assert_eq!(end(&ledger, 7, 2), Err(Over));
        ledger.passed(8);
        assert_eq!(end(&ledger, 2, 2), Err(Over));
    }

    #[test]
    fn what_a_kill_makes_the_checks_meet_again_is_over() {
        let before = ledger(0, &[]);
        put_back(&before, 2, 2, 5).unwrap();
        put_back(&before, 5, 2, 7).unwrap();
        let noted = end(&before, 7, 2).unwrap();
        for begin in [0, 4] {
            let mut after = ledger(begin, &noted);
            [(2, 2), (5, 2), (7, 2)]
                .into_iter()
                .for_each(|(half, origin)| after.found(half, origin));
            for half in [2, 5, 7] {
                assert_eq!(end(&after, half, 2), Err(Over), "{half} from {begin} on");
            }
        }
    }

    #[test]
    fn what_was_given_up_stays_so() {
        let ledger = ledger(0, &[]);
        put_back(&ledger, 2, 2, 7).unwrap();
        ledger.passed(8);
        assert_eq!(end(&ledger, 7, 2), Err(Over));
        assert_eq!(end(&ledger, 2, 2), Err(Over));
    }

    #[test]
    fn an_end_that_cannot_be_staged_leaves_the_transaction_open() {
        let ledger = ledger(0, &[]);
        assert_eq!(ledger.end(1, 1, |_| Err::<(), _>("full")), Ok(Err("full")));
        assert_eq!(end(&ledger, 1, 1), Ok(vec![1]));
    }

    #[test]
    fn copies_of_the_log_are_found_again() {
        let mut ledger = ledger(5, &[8]);
        for (half, origin) in [(5, 5), (6, 1), (8, 2), (9, 1)] {
            ledger.found(half, origin);
        }
        assert_eq!(end(&ledger, 1, 1), Ok(vec![1, 9]));
        assert_eq!(end(&ledger, 2, 2), Err(Over));
    }
}
