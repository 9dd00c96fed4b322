//! `cargo xtask interop`: scenes between rmq and the original. The cast is ours or Apache's, part by part; all players
//! speak the same words on standard output (`interop/words.rs`), so a scene does not care who plays.

mod foreign;
mod house;
mod players;
mod scenes;
mod stage;
mod words;

use std::fs;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::{apache, signals};
use house::House;
use scenes::{SCENES, Scene};
use stage::Stage;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only scenes whose name contains this (repeatable)
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// The quick and steady part, for every change
    #[arg(long)]
    quick: bool,
    /// Name the scenes and end
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    casting: Casting,
}

/// Who plays, and in which make.
#[derive(clap::Args)]
struct Casting {
    /// Apache plays our parts too: proves the scenes and the drivers, not rmq
    #[arg(long)]
    control: bool,
    /// Our parts optimised
    #[arg(long)]
    release: bool,
    /// Which published version to play with
    #[arg(long, default_value = apache::DEFAULT_VERSION)]
    apache_version: String,
}

/// All names that a scene can be called by.
pub(crate) fn scene_names() -> impl Iterator<Item = &'static str> {
    SCENES.iter().map(|scene| scene.name)
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let chosen: Vec<&Scene> = SCENES.iter().filter(|scene| arguments.choose(scene)).collect();
    if arguments.list {
        for scene in chosen {
            println!(
                "{:<20} {}{}",
                scene.name,
                if scene.quick { "(quick) " } else { "" },
                scene.about
            );
        }
        return Ok(ExitCode::SUCCESS);
    }
    if chosen.is_empty() {
        bail!("no such scene; `--list` names them");
    }
    let house = House::open(&arguments.casting)?;
    signals::install();
    let mut failed = 0;
    for scene in &chosen {
        if !play(&house, scene)? {
            failed += 1;
        }
        if signals::asked_to_stop() {
            bail!("interrupted");
        }
    }
    println!("{} passed, {failed} failed", chosen.len() - failed);
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Arguments {
    fn choose(&self, scene: &Scene) -> bool {
        let named =
            self.only.is_empty() || self.only.iter().any(|only| scene.name.contains(only.as_str()));
        named && (scene.quick || !self.quick)
    }
}

/// Plays one scene on an empty stage; true if it went well.
fn play(house: &House, scene: &Scene) -> Result<bool> {
    let folder = house.runs().join(scene.name);
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot clear {}", folder.display()))?;
    }
    let begin = Instant::now();
    let outcome = (scene.play)(&mut Stage::new(house, folder.clone()));
    let seconds = begin.elapsed().as_secs_f64();
    match &outcome {
        Ok(()) => println!("ok      {:<20} {seconds:5.1} s  {}", scene.name, scene.about),
        Err(error) => {
            println!(
                "FAILED  {:<20} {seconds:5.1} s  {}\n        {error:#}\n        logs: {}",
                scene.name,
                scene.about,
                folder.display()
            );
        }
    }
    Ok(outcome.is_ok())
}
