//! Bugs that can be brought back one at a time, to see whether the tests notice (CT-16). Exists
//! only with the feature `canary`, which no product build has; there the environment variable
//! `RMQ_CANARY` names the bug. In every other build the switches are `false`.

/// Whether the bug of that name is to be there.
#[cfg(feature = "canary")]
macro_rules! canary {
    ($bug:literal) => {
        crate::canary::is_chosen($bug)
    };
}

#[cfg(not(feature = "canary"))]
macro_rules! canary {
    ($bug:literal) => {
        false
    };
}

#[cfg(feature = "canary")]
pub(crate) fn is_chosen(bug: &str) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var("RMQ_CANARY").ok()).as_deref() == Some(bug)
}
