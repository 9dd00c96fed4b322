//! `rmq-server store check | dump`: a look at a store directory from outside. Reads only, and keeps
//! a broker from starting on the directory meanwhile.

mod documents;
mod lines;

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use rmq_runtime::{DiskLock, World};
use rmq_store::inspect::{self, InspectError, Known, Report, Severity, Step};
use thiserror::Error;

use crate::args::{CheckArgs, DirectoryArgs, DumpArgs, StoreCommand};
use crate::plan::{PlanError, read_settings};

/// Exit status when the store is damaged.
const DAMAGED: u8 = 1;
/// Exit status when it cannot be told.
const UNKNOWN: u8 = 2;

/// Why nothing is looked at.
#[derive(Debug, Error)]
enum LookError {
    #[error(transparent)]
    Settings(#[from] PlanError),
    #[error(transparent)]
    Inspect(#[from] InspectError),
    #[error(
        "a broker has {0} open; stop it first, or look all the same with --force: what it changes \
         meanwhile may look damaged"
    )]
    Locked(String),
    #[error("cannot tell whether a broker has the directory open: {0}; use --force to look anyway")]
    Lock(io::Error),
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

/// Does what the command line says; the status is that of the program.
pub fn run(world: &World, command: &StoreCommand) -> ExitCode {
    let out = &mut io::BufWriter::new(io::stdout().lock());
    let done = match command {
        StoreCommand::Check(args) => check(world, args, out),
        StoreCommand::Dump(args) => dump(world, args, out).map(|()| ExitCode::SUCCESS),
    };
    let done = done.and_then(|status| {
        out.flush()?;
        Ok(status)
    });
    match done {
        Ok(status) => status,
        // Who has seen enough closes the pipe.
        Err(LookError::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(&error);
            ExitCode::from(UNKNOWN)
        }
    }
}

fn say(line: &dyn Display) {
    drop(writeln!(io::stderr(), "rmq-server: {line}"));
}

/// Keeps brokers away. There is no lock to be had where no broker has ever been, or where nobody
/// can write.
fn keep_out(world: &World, args: &DirectoryArgs) -> Result<Option<Box<dyn DiskLock>>, LookError> {
    let path = args.dir.join("lock");
    if args.force || !world.disk.exists(&path) {
        return Ok(None);
    }
    match world.disk.lock(&path) {
        Ok(lock) => Ok(Some(lock)),
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock => Err(LookError::Locked(args.dir.display().to_string())),
            io::ErrorKind::ReadOnlyFilesystem => Ok(None),
            _ => Err(LookError::Lock(error)),
        },
    }
}

/// What the settings say of the files.
fn known(world: &World, args: &DirectoryArgs) -> Result<Known, LookError> {
    let settings = read_settings(world, args.config.as_deref(), &args.set)?;
    let store: rmq_store::Config = settings.read().map_err(PlanError::from)?;
    Ok(Known {
        index_slots: store.max_hash_slot_num,
        index_items: store.max_index_num,
        ..Known::default()
    })
}

fn check(world: &World, args: &CheckArgs, out: &mut dyn Write) -> Result<ExitCode, LookError> {
    let dir = &args.directory.dir;
    let _lock = keep_out(world, &args.directory)?;
    let mut documents = Vec::new();
    let topics = documents::check(&*world.disk, dir, &mut documents)?;
    let known = Known { topics, ..known(world, &args.directory)? };
    let bar = Bar::new();
    let mut report = inspect::check(&*world.disk, dir, &known, &mut |step| bar.show(step))?;
    bar.end();
    documents.into_iter().for_each(|finding| report.add(finding));
    if args.json {
        let text = serde_json::to_string(&report).map_err(io::Error::from)?;
        writeln!(out, "{text}")?;
    } else {
        tell(&report, out)?;
    }
    Ok(match report.worst() {
        Severity::Damage => ExitCode::from(DAMAGED),
        Severity::Unchecked => ExitCode::from(UNKNOWN),
        _ => ExitCode::SUCCESS,
    })
}

fn tell(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for finding in &report.findings {
        writeln!(out, "{finding}")?;
    }
    if report.left_out > 0 {
        writeln!(out, "{} further findings are left out", report.left_out)?;
    }
    let counts = &report.counts;
    let verdict = match report.worst() {
        Severity::Damage => "damaged",
        Severity::Unchecked => "not fully checked",
        _ => "sound",
    };
    writeln!(
        out,
        "{verdict}: {} records from {} to {} in {} log files; {} entries of {} consume queues; {} \
         items of {} index files",
        counts.records,
        counts.log_begin,
        counts.log_end,
        counts.log_files,
        counts.entries,
        counts.queues,
        counts.index_items,
        counts.index_files,
    )
}

/// How far it is, for somebody who watches.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let bar =
            if io::stderr().is_terminal() { ProgressBar::new(0) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{msg:15} {wide_bar} {percent:>3} % {eta}")
        {
            bar.set_style(style);
        }
        Self(bar)
    }

    fn show(&self, step: Step) {
        if self.0.message() != step.part {
            self.0.set_message(step.part);
        }
        self.0.set_length(step.total);
        self.0.set_position(step.done);
    }

    fn end(&self) {
        self.0.finish_and_clear();
    }
}

fn dump(world: &World, args: &DumpArgs, out: &mut dyn Write) -> Result<(), LookError> {
    let (disk, dir) = (&*world.disk, args.directory.dir.as_path());
    let _lock = keep_out(world, &args.directory)?;
    let mut left = args.limit.unwrap_or(u64::MAX);
    let is_wanted = |topic: &str| args.topic.as_deref().is_none_or(|wanted| wanted == topic);
    let mut printed = Ok(());
    let mut print = |line: Result<String, serde_json::Error>| {
        if left == 0 {
            return ControlFlow::Break(());
        }
        left -= 1;
        printed = line.map_err(io::Error::from).and_then(|line| writeln!(out, "{line}"));
        if printed.is_err() || left == 0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    if args.queues {
        for queue in inspect::queues(disk, dir)?.iter().filter(|queue| is_wanted(&queue.topic)) {
            if print(serde_json::to_string(queue)).is_break() {
                break;
            }
        }
    } else if args.index {
        let known = known(world, &args.directory)?;
        inspect::index_items(disk, dir, &known, &mut |item| print(serde_json::to_string(item)))?;
    } else if args.limit != Some(0) {
        inspect::records(disk, dir, args.from, &mut |record| {
            if !is_wanted(record.topic) {
                return ControlFlow::Continue(());
            }
            print(serde_json::to_string(&lines::Line::of(record, args.body)))
        })?;
    }
    Ok(printed?)
}
