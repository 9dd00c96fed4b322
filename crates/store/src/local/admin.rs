//! The operator's side: deletion, expiry, status.

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rmq_message::{PhysicalOffset, Timestamp};

use super::LocalStore;
use crate::api::{AdminError, Expired, Health, QueueKey, StoreAdmin, StoreStatus};
use crate::mark::Mark;

/// Whether a share, 0 to 1, is above so many percent.
fn is_above(share: f64, percent: u32) -> bool {
    share * 100.0 > f64::from(percent)
}

impl LocalStore {
    /// Used share of the disk, 0 to 1; closes the gate when it is too much (INV-18).
    fn look_at_disk(&self) -> io::Result<f64> {
        let used = self.world.disk.usage(self.layout.root())?.share();
        self.disk_used.store(used.to_bits(), Ordering::Relaxed);
        let limit = self.config.disk_space_warning_level_ratio;
        let full = is_above(used, limit);
        if self.log.gate.set_full(full.then(|| self.layout.root().to_owned())) {
            let (root, percent) = (self.layout.root().display(), used * 100.0);
            if full {
                tracing::error!(%root, "the disk is {percent:.0} % full, diskSpaceWarningLevelRatio is {limit}: sends are refused");
            } else {
                tracing::info!(%root, "the disk is {percent:.0} % full: sends are taken again");
            }
        }
        Ok(used)
    }

    fn is_delete_hour(&self, now: Timestamp) -> bool {
        let local = now + self.world.clock.utc_offset_ms();
        let hour = local.0.div_euclid(3_600_000).rem_euclid(24);
        self.config.delete_hours().is_some_and(|hours| hours.contains(&hour))
    }

    fn remove_log_files(&self, now: Timestamp, used: f64) -> io::Result<usize> {
        let config = &self.config;
        let forced = config.clean_file_forcibly_enable
            && is_above(used, config.disk_space_clean_forcibly_ratio);
        let pressed = is_above(used, config.disk_max_used_space_ratio);
        if !forced && !pressed && !self.is_delete_hour(now) {
            return Ok(0);
        }
        let kept = Duration::from_secs(config.file_reserved_time.saturating_mul(3600));
        let now = UNIX_EPOCH + Duration::from_millis(u64::try_from(now.0).unwrap_or(0));
        let has_expired = |modified: SystemTime| {
            forced || now.duration_since(modified).is_ok_and(|age| age >= kept)
        };
        // What is still on its way to the file is young, whatever the file's age.
        let has_expired = || self.log.segments.first_has(self.log.visible.get(), has_expired);
        if !has_expired()? {
            return Ok(0);
        }
        // Queues whose records are about to go must be on disk: their offsets go on.
        self.save(None)?;
        let mut removed = 0;
        while removed < config.delete_file_batch_max && has_expired()? {
            self.log.segments.remove_first()?;
            removed += 1;
        }
        if forced && removed > 0 {
            tracing::warn!(
                removed,
                "the disk is full: commit log files were removed before they expired"
            );
        }
        Ok(removed)
    }
}

impl StoreAdmin for LocalStore {
    fn delete_topic(&self, topic: &str) -> Result<usize, AdminError> {
        let _run = self.run.as_ref().map(|run| run.lock());
        let forgotten = self.log.queues.forget(topic);
        if forgotten.is_empty() {
            return Ok(0);
        }
        // First, for it would bring back what the progress has forgotten.
        Mark::remove(&*self.world.disk, &self.layout.mark())?;
        // Everything of the topic that is in the log lies before the progress that is noted now, so
        // no recovery brings it back.
        self.finish_log().map_err(io::Error::other)?;
        self.save(None)?;
        self.log.queues.remove_files(&forgotten)?;
        Ok(forgotten.len())
    }

    fn expire(&self, now: Timestamp) -> Result<Expired, AdminError> {
        let used = self.look_at_disk()?;
        let log_files = self.remove_log_files(now, used)?;
        if log_files == 0 {
            return Ok(Expired::default());
        }
        let log_min = self.log.segments.min();
        self.log.queues.find_all_min(log_min)?;
        // Noted first: a start in between must not take the files for lost.
        self.save(None)?;
        self.mark()?;
        let mut derived_files = self.log.queues.expire(log_min)?;
        if let Some(index) = &self.index {
            derived_files += index.expire(log_min)?;
        }
        tracing::info!(log_files, derived_files, log_min, "removed expired files");
        Ok(Expired { log_files, derived_files })
    }

    fn queues(&self) -> Vec<QueueKey> {
        let mut keys: Vec<_> =
            self.log.queues.all().iter().map(|queue| queue.key.clone()).collect();
        keys.sort_unstable();
        keys
    }

    fn status(&self) -> StoreStatus {
        StoreStatus {
            min_physical: PhysicalOffset(self.log.segments.min()),
            max_physical: PhysicalOffset(self.log.visible.get()),
            staged_end: PhysicalOffset(self.log.staged_end()),
            durable_end: PhysicalOffset(self.log.durable.get()),
            indexed_end: PhysicalOffset(self.indexed.get()),
            last_timestamp: self.log.last_timestamp(),
            queues: self.log.queues.len(),
            disk_used: f64::from_bits(self.disk_used.load(Ordering::Relaxed)),
        }
    }

    fn health(&self) -> Health {
        let health = self.log.gate.health();
        match &*self.tasks.failure().borrow() {
            Some(task) if health.writable => {
                let reason = format!("task {task} has failed; restart the broker");
                Health { writable: false, reason: Some(reason.into()) }
            }
            _ => health,
        }
    }
}
