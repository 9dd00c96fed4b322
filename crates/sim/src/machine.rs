//! A machine: an address, a disk, clocks, and the program that runs on it, one life after the other.

use std::sync::Arc;

use parking_lot::Mutex;
use rmq_runtime::World;

use crate::net::{Machine as Number, SimNet};
use crate::{Life, Schedule, SimClock, SimDisk, SimEntropy};

/// See the module.
pub struct Machine {
    number: Number,
    seed: u64,
    schedule: Arc<Schedule>,
    net: SimNet,
    clock: Arc<SimClock>,
    now: Mutex<Now>,
}

struct Now {
    disk: SimDisk,
    life: Option<Life>,
    /// Lives so far.
    lives: u64,
}

impl Machine {
    /// A machine with an empty disk on which nothing runs. Its number is the last part of its
    /// address.
    pub fn new(schedule: &Arc<Schedule>, net: &SimNet, number: Number, seed: u64) -> Arc<Self> {
        let clock = schedule.clock().sibling();
        let now = Now { disk: SimDisk::new(&clock), life: None, lives: 0 };
        Arc::new(Self {
            number,
            seed: seed ^ (u64::from(number) << 32),
            schedule: Arc::clone(schedule),
            net: net.clone(),
            clock,
            now: Mutex::new(now),
        })
    }

    /// Its number.
    pub fn number(&self) -> Number {
        self.number
    }

    /// Its clocks; stepping them steps the wall clock of this machine only.
    pub fn clock(&self) -> &Arc<SimClock> {
        &self.clock
    }

    /// Whether a program runs.
    pub fn is_up(&self) -> bool {
        self.now.lock().life.is_some()
    }

    /// Which program of this machine it is that runs, or ran last, counted from 1.
    pub fn lives(&self) -> u64 {
        self.now.lock().lives
    }

    /// Starts a program; one that still runs is killed first. When it returns, nothing else of it
    /// runs any more.
    pub fn start<F>(self: &Arc<Self>, program: impl FnOnce(World) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.kill();
        self.net.power_back(self.number);
        let life = self.schedule.begin();
        let mut now = self.now.lock();
        now.lives += 1;
        now.life = Some(life);
        let chance = SimEntropy::new(self.seed ^ now.lives);
        let world = World {
            clock: Arc::clone(&self.clock) as _,
            disk: Arc::new(now.disk.clone()),
            net: self.net.of(self.number),
            entropy: Arc::new(chance),
        };
        drop(now);
        let (machine, program) = (Arc::clone(self), program(world));
        self.schedule.spawn(
            life,
            Box::pin(async move {
                program.await;
                machine.ended(life);
            }),
        );
    }

    fn ended(&self, life: Life) {
        let mut now = self.now.lock();
        if now.life == Some(life) {
            now.life = None;
            drop(now);
            self.net.program_ended(self.number);
            self.schedule.end(life);
        }
    }

    /// Kills the program, as `kill -9` does: what it has written is there, its connections end.
    pub fn kill(&self) {
        let mut now = self.now.lock();
        let Some(life) = now.life.take() else { return };
        now.disk = now.disk.after_kill();
        drop(now);
        self.net.program_ended(self.number);
        self.schedule.end(life);
    }

    /// Cuts the power: of what was not synced, the seed chooses what is there; nobody is told.
    pub fn power_off(&self, seed: u64) {
        let mut now = self.now.lock();
        let life = now.life.take();
        now.disk = now.disk.after_power_loss(seed);
        drop(now);
        self.net.power_lost(self.number);
        if let Some(life) = life {
            self.schedule.end(life);
        }
    }

    /// Stops the program for a while, as a debugger or a full machine does.
    pub fn pause(&self) {
        if let Some(life) = self.now.lock().life {
            self.schedule.pause(life);
        }
    }

    /// Lets it go on.
    pub fn resume(&self) {
        if let Some(life) = self.now.lock().life {
            self.schedule.resume(life);
        }
    }
}
