//! Settings, under the names and with the defaults of Apache RocketMQ 5.5.0.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// When a message is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FlushDiskType {
    /// A sync every `flushIntervalCommitLog`; the process may die, the machine may not.
    #[serde(rename = "ASYNC_FLUSH")]
    Async,
    /// Before it is acknowledged or visible.
    #[default]
    #[serde(rename = "SYNC_FLUSH")]
    Sync,
}

/// Settings of the store. Sizes are bytes, times milliseconds where the name does not say else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// Directory of the store.
    pub store_path_root_dir: PathBuf,
    /// Bytes of a commit log file.
    pub mapped_file_size_commit_log: u64,
    /// Bytes of a consume queue file; rounded up to whole entries of 20 bytes.
    pub mapped_file_size_consume_queue: u64,
    /// Whether tags codes of consume queues go to an extension of theirs, as SQL filters of Apache's
    /// want it.
    pub enable_consume_queue_ext: bool,
    /// Bytes of a file of such an extension.
    pub mapped_file_size_consume_queue_ext: u64,
    /// When a message is durable.
    pub flush_disk_type: FlushDiskType,
    /// Milliseconds between syncs with `ASYNC_FLUSH`.
    pub flush_interval_commit_log: u64,
    /// Milliseconds between writes of consume queue entries.
    pub flush_interval_consume_queue: u64,
    /// Largest body; a record may have 64 KiB more.
    pub max_message_size: usize,
    /// Whether the key index is kept.
    pub message_index_enable: bool,
    /// Hash slots of an index file.
    pub max_hash_slot_num: u32,
    /// Items of an index file.
    pub max_index_num: u32,
    /// Most messages that a query by key returns.
    pub max_msgs_num_batch: usize,
    /// Bytes of entries that one read may look at.
    pub max_filter_message_size: usize,
    /// Most bytes of one read while they are in memory.
    pub max_transfer_bytes_on_message_in_memory: usize,
    /// Most messages of one read while they are in memory.
    pub max_transfer_count_on_message_in_memory: usize,
    /// Most bytes of one read that goes to the disk.
    pub max_transfer_bytes_on_message_in_disk: usize,
    /// Most messages of one read that goes to the disk.
    pub max_transfer_count_on_message_in_disk: usize,
    /// Percent of the machine's memory that is taken to hold the youngest messages.
    pub access_message_in_memory_max_ratio: u32,
    /// Hours that a commit log file is kept after its last change.
    pub file_reserved_time: u64,
    /// Hours of the day at which expired files are removed, `;` between them.
    pub delete_when: String,
    /// Percent of the disk above which expired files are removed at any hour.
    pub disk_max_used_space_ratio: u32,
    /// Percent of the disk above which messages are refused.
    pub disk_space_warning_level_ratio: u32,
    /// Percent of the disk above which files may be removed before they expire.
    pub disk_space_clean_forcibly_ratio: u32,
    /// Whether files may be removed before they expire when the disk fills.
    pub clean_file_forcibly_enable: bool,
    /// Milliseconds between looks for expired files.
    pub clean_resource_interval: u64,
    /// Most commit log files that one look removes.
    pub delete_file_batch_max: usize,
    /// Delays of levels 1, 2, …; the schedule topic's entries hold delivery times made of them.
    pub message_delay_level: String,
    /// Whether recovery checks the bodies' checksums.
    #[serde(rename = "checkCRCOnRecover")]
    pub check_crc_on_recover: bool,
    /// Whether each record gets a checksum of all its bytes, as property `__CRC32#`.
    #[serde(rename = "enabledAppendPropCRC")]
    pub enabled_append_prop_crc: bool,
    /// Whether recovery takes only records with that checksum. All records of the log must have
    /// been written with the setting above.
    #[serde(rename = "forceVerifyPropCRC")]
    pub force_verify_prop_crc: bool,
    /// Whether an unreadable part of the log that is followed by valid messages is cut off with
    /// them. Only for an operator who has decided to lose them; not a setting of Apache's.
    pub cut_damaged_log: bool,
    /// Consume queues to be synced at a time from which on their file system is synced as a whole,
    /// not file by file, where that can be relied on (ext4, Linux 5.8); not a setting of Apache's.
    pub sync_volume_from: usize,
    /// Bytes of memory of the machine, for the share above; not a setting of Apache's.
    pub memory_size: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            store_path_root_dir: PathBuf::from("store"),
            mapped_file_size_commit_log: 1 << 30,
            mapped_file_size_consume_queue: 6_000_000,
            enable_consume_queue_ext: false,
            mapped_file_size_consume_queue_ext: 48 << 20,
            flush_disk_type: FlushDiskType::Sync,
            flush_interval_commit_log: 500,
            flush_interval_consume_queue: 1000,
            max_message_size: 4 << 20,
            message_index_enable: true,
            max_hash_slot_num: 5_000_000,
            max_index_num: 20_000_000,
            max_msgs_num_batch: 64,
            max_filter_message_size: 16_000,
            max_transfer_bytes_on_message_in_memory: 256 << 10,
            max_transfer_count_on_message_in_memory: 32,
            max_transfer_bytes_on_message_in_disk: 64 << 10,
            max_transfer_count_on_message_in_disk: 8,
            access_message_in_memory_max_ratio: 40,
            file_reserved_time: 72,
            delete_when: "04".to_owned(),
            disk_max_used_space_ratio: 75,
            disk_space_warning_level_ratio: 90,
            disk_space_clean_forcibly_ratio: 85,
            clean_file_forcibly_enable: false,
            clean_resource_interval: 10_000,
            delete_file_batch_max: 10,
            message_delay_level: "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h"
                .to_owned(),
            check_crc_on_recover: true,
            enabled_append_prop_crc: false,
            force_verify_prop_crc: false,
            cut_damaged_log: false,
            sync_volume_from: 256,
            memory_size: 8 << 30,
        }
    }
}

/// A setting that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{key}: {problem}")]
pub struct ConfigError {
    /// Its name.
    pub key: &'static str,
    /// What is wrong.
    pub problem: String,
}

impl Config {
    /// Checks every setting.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = |ok: bool, key: &'static str, problem: &str| {
            if ok { Ok(()) } else { Err(ConfigError { key, problem: problem.to_owned() }) }
        };
        let size = self.mapped_file_size_commit_log;
        check(
            (4096..=1 << 31).contains(&size),
            "mappedFileSizeCommitLog",
            "must be 4 KiB to 2 GiB",
        )?;
        check(
            (20..=1 << 31).contains(&self.mapped_file_size_consume_queue),
            "mappedFileSizeConsumeQueue",
            "must be 20 bytes to 2 GiB",
        )?;
        check(
            (4096..=1 << 31).contains(&self.mapped_file_size_consume_queue_ext),
            "mappedFileSizeConsumeQueueExt",
            "must be 4 KiB to 2 GiB",
        )?;
        check(
            (1..=64 << 20).contains(&self.max_message_size),
            "maxMessageSize",
            "must be 1 byte to 64 MiB",
        )?;
        check(
            (1..=100_000_000).contains(&self.max_hash_slot_num),
            "maxHashSlotNum",
            "must be 1 to 100,000,000",
        )?;
        check(
            (2..=100_000_000).contains(&self.max_index_num),
            "maxIndexNum",
            "must be 2 to 100,000,000",
        )?;
        check(self.flush_interval_commit_log > 0, "flushIntervalCommitLog", "must be above 0")?;
        check(
            self.flush_interval_consume_queue > 0,
            "flushIntervalConsumeQueue",
            "must be above 0",
        )?;
        check(self.clean_resource_interval > 0, "cleanResourceInterval", "must be above 0")?;
        for (key, percent) in [
            ("accessMessageInMemoryMaxRatio", self.access_message_in_memory_max_ratio),
            ("diskMaxUsedSpaceRatio", self.disk_max_used_space_ratio),
            ("diskSpaceWarningLevelRatio", self.disk_space_warning_level_ratio),
            ("diskSpaceCleanForciblyRatio", self.disk_space_clean_forcibly_ratio),
        ] {
            check(percent <= 100, key, "must be 0 to 100")?;
        }
        check(
            self.delete_hours().is_some(),
            "deleteWhen",
            "must be hours of the day, 00 to 23, with `;` between them",
        )?;
        check(
            self.delay_levels().is_some(),
            "messageDelayLevel",
            "must be delays such as `1s 5m 2h 1d`",
        )?;
        Ok(())
    }

    /// Entries of a consume queue file.
    pub(crate) fn queue_file_units(&self) -> u64 {
        self.mapped_file_size_consume_queue.div_ceil(20)
    }

    /// Whether it can be noted what is written: not of extensions.
    pub(crate) fn can_mark(&self) -> bool {
        self.extension_file_len() == 0
    }

    /// Bytes of a file of consume queue extensions; 0 when none are written.
    pub(crate) fn extension_file_len(&self) -> u64 {
        if self.enable_consume_queue_ext { self.mapped_file_size_consume_queue_ext } else { 0 }
    }

    /// Bytes behind the log's end that are taken to be in memory.
    pub(crate) fn memory_window(&self) -> u64 {
        self.memory_size / 100 * u64::from(self.access_message_in_memory_max_ratio)
    }

    pub(crate) fn delete_hours(&self) -> Option<Vec<i64>> {
        self.delete_when
            .split(';')
            .map(|hour| hour.trim().parse().ok().filter(|hour| (0..24).contains(hour)))
            .collect()
    }

    /// Delays of levels 1, 2, …
    pub(crate) fn delay_levels(&self) -> Option<Vec<Duration>> {
        self.message_delay_level
            .split_whitespace()
            .map(|level| {
                let (number, unit) = level.split_at_checked(level.len().checked_sub(1)?)?;
                let seconds = match unit {
                    "s" => 1,
                    "m" => 60,
                    "h" => 3600,
                    "d" => 86_400,
                    _ => return None,
                };
                number.parse::<u64>().ok()?.checked_mul(seconds).map(Duration::from_secs)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_apache() {
        let config: Config = serde_json::from_str(
            r#"{"mappedFileSizeCommitLog":65536,"flushDiskType":"SYNC_FLUSH","checkCRCOnRecover":false}"#,
        )
        .unwrap();
        assert_eq!(config.mapped_file_size_commit_log, 65_536);
        assert_eq!(config.flush_disk_type, FlushDiskType::Sync);
        assert!(!config.check_crc_on_recover);
        assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn senseless_settings_are_named() {
        let wrong = Config { delete_when: "04;24".to_owned(), ..Config::default() };
        assert_eq!(wrong.validate().unwrap_err().key, "deleteWhen");
        let wrong = Config { message_delay_level: "1s 5x".to_owned(), ..Config::default() };
        assert_eq!(wrong.validate().unwrap_err().key, "messageDelayLevel");
        assert_eq!(Config::default().delay_levels().unwrap().len(), 18);
    }
}
