//! Candidates that take turns: what disturbs the machine disturbs all of them alike, and their
//! ratio can be believed where their times cannot.
#![expect(clippy::print_stdout, reason = "this is what a bench is for")]
#![expect(clippy::cast_precision_loss, reason = "figures of three digits")]

use std::time::Duration;

const ROUNDS: usize = 9;

/// What a round handles.
pub(crate) struct Work<'a> {
    /// Of what it is the measure.
    pub(crate) name: &'a str,
    /// Messages, or whatever is counted.
    pub(crate) items: u64,
    /// Their bytes; 0 when they say nothing.
    pub(crate) bytes: u64,
}

/// One way to do it: a name, and a round that says how long its measured part took.
pub(crate) type Candidate<'a> = (&'a str, &'a mut dyn FnMut() -> Duration);

/// Whether the command line asks for what has that name, or whose name begins like this.
pub(crate) fn is_asked(name: &str) -> bool {
    let asked = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    asked.is_none_or(|asked| name.contains(&asked) || asked.starts_with(name))
}

/// Lets the candidates take turns and prints their medians. The last is what the machine allows:
/// the share of it that the others reach stands beside them. Skipped when not asked for.
pub(crate) fn compare(work: &Work<'_>, candidates: &mut [Candidate<'_>]) {
    if !is_asked(work.name) {
        return;
    }
    let mut times = vec![(Vec::new(), Vec::new()); candidates.len()];
    for round in 0..=ROUNDS {
        for ((_, run), times) in candidates.iter_mut().zip(&mut times) {
            let before = thread_time();
            let time = run().as_secs_f64();
            // The first turn warms up.
            if round > 0 {
                times.0.push(time);
                times.1.push(thread_time() - before);
            }
        }
    }
    let medians: Vec<_> =
        times.iter_mut().map(|times| (median(&mut times.0), median(&mut times.1))).collect();
    let limit = medians.last().copied().unwrap_or((f64::NAN, f64::NAN));
    println!("{}", work.name);
    for ((name, _), (median, cpu)) in candidates.iter().zip(medians) {
        let each = median / work.items as f64;
        let mut line = format!("  {name:<28}{:>12}/s  {:>10}", count(1.0 / each), seconds(each));
        line += &format!(
            "  CPU {:>10} {:>4.0} %",
            seconds(cpu / work.items as f64),
            limit.1 / cpu * 100.0
        );
        if work.bytes > 0 {
            line += &format!("  {:>8.0} MiB/s", work.bytes as f64 / median / f64::from(1 << 20));
        }
        line += &format!("  {:>4.0} %", limit.0 / median * 100.0);
        println!("{line}");
    }
}

/// What the calling thread has used of the processor: on a busy machine the time that counts.
fn thread_time() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

fn count(number: f64) -> String {
    match number {
        n if n >= 1e6 => format!("{:.2} M", n / 1e6),
        n if n >= 1e3 => format!("{:.1} k", n / 1e3),
        n => format!("{n:.1} "),
    }
}

fn seconds(time: f64) -> String {
    match time {
        t if t < 1e-5 => format!("{:.0} ns", t * 1e9),
        t if t < 1e-2 => format!("{:.0} us", t * 1e6),
        t => format!("{:.1} ms", t * 1e3),
    }
}
