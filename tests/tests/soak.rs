//! Nothing is lost and little comes twice, however members come and go.
//!
//! `RMQ_SOAK_MESSAGES`, `_MEMBERS`, `_SEED`, `_SECONDS`, `_KILL_BROKER` and `_ORDERED` say how much;
//! `cargo xtask soak` sets them.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use rmq_tests::soak::{self, Plan};

fn setting(name: &str) -> Option<u64> {
    std::env::var(format!("RMQ_SOAK_{name}")).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_while_members_join_leave_and_are_killed() -> Result<()> {
    let is_long = setting("MESSAGES").is_some();
    let plan = Plan {
        member: env!("CARGO_BIN_EXE_soak-member").into(),
        logs: Path::new(env!("CARGO_TARGET_TMPDIR")).join("soak"),
        messages: setting("MESSAGES").unwrap_or(12_000),
        members: u32::try_from(setting("MEMBERS").unwrap_or(3))?,
        seed: setting("SEED").unwrap_or(1),
        spread: setting("SECONDS").or((!is_long).then_some(6)).map(Duration::from_secs),
        kill_broker: setting("KILL_BROKER").is_some(),
        ordered: setting("ORDERED").is_some(),
    };
    println!("{}", soak::run(plan).await?);
    Ok(())
}
