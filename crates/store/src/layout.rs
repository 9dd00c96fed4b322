//! Names of the store's directories and files.
//!
//! | path | content |
//! |---|---|
//! | `commitlog/<20 digits>` | records; the name is the position of the first byte |
//! | `consumequeue/<topic>/<queue>/<20 digits>` | entries of 20 bytes |
//! | `consumequeue_ext/<topic>/<queue>/<20 digits>` | units that entries point to |
//! | `index/<yyyyMMddHHmmssSSS>` | the key index, by local time of creation |
//! | `checkpoint` | Apache's six numbers |
//! | `progress` | ours: exact state of everything derived ([`crate::progress`]) |
//! | `progress.boot` | ours: the same of what is written only ([`crate::mark`]) |
//! | `abort`, `abort.bak` | `abort` is there while a store is open, or after it died |
//! | `lock` | held while a store is open |

use std::path::{Path, PathBuf};

use rmq_message::Timestamp;

use crate::api::QueueKey;

#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn commit_log(&self) -> PathBuf {
        self.root.join("commitlog")
    }

    pub(crate) fn consume_queues(&self) -> PathBuf {
        self.root.join("consumequeue")
    }

    pub(crate) fn batch_consume_queues(&self) -> PathBuf {
        self.root.join("batchconsumequeue")
    }

    pub(crate) fn queue_extensions(&self) -> PathBuf {
        self.root.join("consumequeue_ext")
    }

    pub(crate) fn timer_log(&self) -> PathBuf {
        self.root.join("timerlog")
    }

    pub(crate) fn timer_wheel(&self) -> PathBuf {
        self.root.join("timerwheel")
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.root.join("index")
    }

    pub(crate) fn checkpoint(&self) -> PathBuf {
        self.root.join("checkpoint")
    }

    pub(crate) fn progress(&self) -> PathBuf {
        self.root.join("progress")
    }

    pub(crate) fn mark(&self) -> PathBuf {
        self.root.join("progress.boot")
    }

    pub(crate) fn abort(&self) -> PathBuf {
        self.root.join("abort")
    }

    pub(crate) fn abort_bak(&self) -> PathBuf {
        self.root.join("abort.bak")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }
}

/// Directory of a queue below the directory of all consume queues.
pub(crate) fn queue_dir(dir: &Path, key: &QueueKey) -> PathBuf {
    dir.join(key.topic.as_str()).join(key.queue_id.to_string())
}

/// Name of the file that begins at that position.
pub(crate) fn file_name(start: u64) -> String {
    format!("{start:020}")
}

/// Position of the first byte of the file of that name.
pub(crate) fn parse_file_name(name: &str) -> Option<u64> {
    (name.len() == 20 && name.bytes().all(|b| b.is_ascii_digit())).then(|| name.parse().ok())?
}

/// Name of an index file made at that local time: `yyyyMMddHHmmssSSS`.
pub(crate) fn index_name(local: Timestamp) -> String {
    const DAY_MS: i64 = 86_400_000;
    let (days, ms) = (local.0.div_euclid(DAY_MS), local.0.rem_euclid(DAY_MS));
    // Days since 1970 to year, month and day (civil-from-days).
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}{month:02}{day:02}{:02}{:02}{:02}{:03}",
        ms / 3_600_000,
        ms / 60_000 % 60,
        ms / 1000 % 60,
        ms % 1000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_apache() {
        assert_eq!(file_name(65_536), "00000000000000065536");
        assert_eq!(parse_file_name("00000000000000065536"), Some(65_536));
        for name in ["65536", "0000000000000006553x", "", "+0000000000000065536"] {
            assert_eq!(parse_file_name(name), None, "{name}");
        }
        assert_eq!(index_name(Timestamp(1_795_266_298_114)), "20261121130458114");
        assert_eq!(index_name(Timestamp(1_709_251_199_999)), "20240229235959999");
    }
}
