//! Connections that only cost: many that say nothing, and many that speak a byte at a time, slow
//! nobody down, and what they cost is given back (HI-02, HI-29; with TLS: `tls.rs`).

use anyhow::{Context as _, Result, ensure};
use rmq_tests::target::Target;
use rmq_tests::wire::Wire;

const IDLE: usize = 300;
const SLOW: usize = 100;
/// Most memory that one connection may cost, in a build without optimisation.
const COST_MAX: u64 = 64 << 10;

async fn dial(target: &Target, count: usize) -> Result<Vec<Wire>> {
    let mut open = Vec::with_capacity(count);
    for index in 0..count {
        open.push(target.dial().await.with_context(|| format!("connection {index}"))?);
    }
    Ok(open)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_and_slow_connections_cost_little_and_hinder_nobody() -> Result<()> {
    let mut target = Target::start().await?;
    let before = target.cluster.broker_memory(0)?;
    let idle = dial(&target, IDLE).await?;
    target.still_serves().await.context("beside idle connections")?;

    // Each announces a frame of 8 MiB and sends a few bytes of it.
    let mut slow = dial(&target, SLOW).await?;
    let head = [(8_u32 << 20).to_be_bytes(), 100_u32.to_be_bytes()].concat();
    for wire in &mut slow {
        ensure!(wire.write(&head).await, "a slow connection was closed before it was slow");
    }
    for _ in 0..3 {
        for wire in &mut slow {
            wire.write(b"x").await;
        }
        target.still_serves().await.context("beside slow connections")?;
    }
    let cost = target.cluster.broker_memory(0)?.saturating_sub(before);
    let count = (IDLE + SLOW) as u64;
    ensure!(cost < count * COST_MAX, "{count} connections cost {cost} bytes");

    // The broker hangs up on those that are too slow; the idle ones stay.
    for wire in &mut slow {
        let answers = wire.read_to_end().await.context("a slow connection")?;
        ensure!(answers.iter().all(|answer| answer.code() != 0), "{answers:?}");
    }
    for mut wire in idle {
        let fields = [("topic", "TBW102".to_owned()), ("queueId", "0".to_owned())];
        let answer = wire.ask(rmq_remoting::request_code::GET_MAX_OFFSET, &fields, b"").await?;
        ensure!(answer.is_some_and(|answer| answer.code() == 0), "an idle connection is gone");
    }
    target.stop().await
}
