//! Bugs that can be brought back one at a time, to see whether the tests notice (CT-16). They exist
//! only with the feature `canary`, which no product build has.

/// Whether the bug of that name is to be there: the environment variable `RMQ_CANARY` names it.
#[cfg(feature = "canary")]
pub fn canary(bug: &str) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var("RMQ_CANARY").ok()).as_deref() == Some(bug)
}

/// Never, in this build.
#[cfg(not(feature = "canary"))]
#[inline]
pub const fn canary(_bug: &str) -> bool {
    false
}
