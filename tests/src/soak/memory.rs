//! Memory that must not grow with the number of messages.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Result, ensure};

/// The part of a run that is for warming up.
const WARM: f64 = 0.1;
/// Where the second part of a run begins.
const HALF: f64 = 0.55;
/// What the later part may have more than the earlier one: a quarter, and this.
const SLACK: u64 = 8 << 20;

/// The most that each had early and late in a run.
#[derive(Debug, Default)]
pub(super) struct Growth(BTreeMap<&'static str, [u64; 2]>);

impl Growth {
    /// Notes what somebody has when that share of the run is over.
    pub(super) fn seen(&mut self, who: &'static str, share: f64, bytes: u64) {
        if share > WARM {
            let [early, late] = self.0.entry(who).or_default();
            let part = if share > HALF { late } else { early };
            *part = bytes.max(*part);
        }
    }

    /// Fails when somebody has grown.
    pub(super) fn check(&self) -> Result<()> {
        for (who, [early, late]) in &self.0 {
            // A short run may have no look at its earlier part.
            let bound = early + early / 4 + SLACK;
            ensure!(*early == 0 || *late <= bound, "the {who} grows: {self}");
        }
        Ok(())
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("memory early and late")?;
        for (who, [early, late]) in &self.0 {
            let mib = |bytes: &u64| *bytes as f64 / f64::from(1 << 20);
            write!(f, ", {who} {:.1} and {:.1} MiB", mib(early), mib(late))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_grows_is_found() {
        let check = |late: u64| {
            let mut growth = Growth::default();
            growth.seen("broker", 0.05, 900 << 20);
            growth.seen("broker", 0.3, 40 << 20);
            growth.seen("broker", 0.9, late << 20);
            growth.check()
        };
        check(58).unwrap();
        assert!(check(59).is_err());
    }
}
