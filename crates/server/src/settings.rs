//! From texts to settings: keys and values of files and flags become the configurations of the parts,
//! whose field names are the keys. An unknown key is an error that names the nearest right one; one
//! that means something to Apache's servers but nothing here is collected.

mod source;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use rmq_runtime::settings_file::{self, SyntaxError};
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::foreign_keys;
use source::{Problem, Source};

/// Where a setting was written.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    File { path: PathBuf, line: usize },
    Flag,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Flag => f.write_str("command line"),
        }
    }
}

/// Settings that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SettingError {
    /// The file is malformed.
    #[error("{}: {source}", path.display())]
    Syntax {
        /// File.
        path: PathBuf,
        /// What and where.
        source: SyntaxError,
    },
    /// The value is none for its key.
    #[error("{place}{key}: {problem}")]
    Value {
        /// File and line with a colon behind, or empty.
        place: String,
        /// Key.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// There is no such key.
    #[error("{place}there is no setting `{key}`{}", suggestion(nearest.as_deref()))]
    Unknown {
        /// File and line with a colon behind, or empty.
        place: String,
        /// Key.
        key: String,
        /// The right key that looks most like it.
        nearest: Option<String>,
    },
    /// A flag's text is no `key=value`.
    #[error("command line: `{0}` is not key=value")]
    Flag(String),
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default()
}

/// Keys and values, as they were written.
#[derive(Debug, Default)]
pub struct Settings {
    entries: BTreeMap<String, (String, Place)>,
    /// Keys of the configurations that were read.
    known: RefCell<Vec<&'static str>>,
}

impl Settings {
    /// Adds the settings of a file's text.
    ///
    /// # Errors
    /// [`SettingError::Syntax`].
    pub fn add_file(&mut self, path: &Path, text: &str) -> Result<(), SettingError> {
        let entries = settings_file::parse(text)
            .map_err(|source| SettingError::Syntax { path: path.to_owned(), source })?;
        for entry in entries {
            let place = Place::File { path: path.to_owned(), line: entry.line };
            self.entries.insert(entry.key, (entry.value, place));
        }
        Ok(())
    }

    /// Adds those settings of a file's text that are not written elsewhere.
    ///
    /// # Errors
    /// [`SettingError::Syntax`].
    pub fn add_file_beneath(&mut self, path: &Path, text: &str) -> Result<(), SettingError> {
        let above = std::mem::take(&mut self.entries);
        self.add_file(path, text)?;
        self.entries.extend(above);
        Ok(())
    }

    /// Adds a `key=value` of the command line; it goes before what files say.
    ///
    /// # Errors
    /// [`SettingError::Flag`].
    pub fn add_flag(&mut self, text: &str) -> Result<(), SettingError> {
        let (key, value) =
            text.split_once('=').ok_or_else(|| SettingError::Flag(text.to_owned()))?;
        self.set(key.trim(), value.trim());
        Ok(())
    }

    /// Sets a key as the command line does.
    pub fn set(&mut self, key: &str, value: &str) {
        self.entries.insert(key.to_owned(), (value.to_owned(), Place::Flag));
    }

    /// The value of a key. The key counts as known.
    pub fn get(&self, key: &'static str) -> Option<&str> {
        self.known.borrow_mut().push(key);
        self.entries.get(key).map(|(value, _)| value.as_str())
    }

    /// Whether the key is written somewhere.
    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Reads a configuration; its keys count as known.
    ///
    /// # Errors
    /// [`SettingError::Value`].
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, SettingError> {
        T::deserialize(Source(self)).map_err(|Problem { key, problem }| self.wrong(&key, problem))
    }

    /// The error of a key whose value makes no sense.
    pub fn wrong(&self, key: &str, problem: impl Into<String>) -> SettingError {
        let place = self.place(key);
        SettingError::Value { place, key: key.to_owned(), problem: problem.into() }
    }

    fn place(&self, key: &str) -> String {
        self.entries.get(key).map(|(_, place)| format!("{place}: ")).unwrap_or_default()
    }

    /// Checks that no key is left that nobody knows. Returns those without effect here.
    ///
    /// # Errors
    /// [`SettingError::Unknown`]; [`SettingError::Value`] for one that promises what is not there.
    pub fn finish(&self) -> Result<Vec<String>, SettingError> {
        let known = self.known.borrow();
        let mut without_effect = Vec::new();
        for key in self.entries.keys().filter(|key| !known.contains(&key.as_str())) {
            if foreign_keys::is_known(key) {
                let value = self.entries.get(key).map_or("", |(value, _)| value);
                if let Some(why) = foreign_keys::objection(key, value) {
                    return Err(self.wrong(key, format!("`{value}` is not possible, {why}")));
                }
                without_effect.push(key.clone());
            } else {
                let candidates = known.iter().copied().chain(foreign_keys::all());
                let nearest = nearest(key, candidates).map(str::to_owned);
                return Err(SettingError::Unknown {
                    place: self.place(key),
                    key: key.clone(),
                    nearest,
                });
            }
        }
        Ok(without_effect)
    }
}

/// The candidate that looks most like a key, unless none does.
fn nearest<'a>(key: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let key = key.to_ascii_lowercase();
    let limit = 2.max(key.len() / 4);
    candidates
        .map(|candidate| (distance(&key, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many letters must be changed, added or left out.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, other) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rmq_namesrv::NamesrvConfig;

    use super::*;

    fn settings(text: &str) -> Settings {
        let mut settings = Settings::default();
        settings.add_file(Path::new("x.conf"), text).unwrap();
        settings
    }

    fn problem(text: &str) -> String {
        let settings = settings(text);
        let read =
            settings.read::<NamesrvConfig>().and_then(|_| settings.read::<rmq_store::Config>());
        read.and_then(|_| settings.finish()).unwrap_err().to_string()
    }

    #[test]
    fn one_file_feeds_several_configurations() {
        let mut settings = settings(
            "listenPort=0\nbindAddress=127.0.0.2\nsupportActingMaster=TRUE\nflushDiskType=SYNC_FLUSH\n\
             kvConfigPath=/x/kv.json\ndiskSpaceWarningLevelRatio=50\nsendMessageThreadPoolNums=4",
        );
        settings.add_flag("fileReservedTime = 48").unwrap();
        let namesrv: NamesrvConfig = settings.read().unwrap();
        let store: rmq_store::Config = settings.read().unwrap();
        assert_eq!((namesrv.listen_port, namesrv.support_acting_master), (0, true));
        assert_eq!(namesrv.kv_config_path.as_deref(), Some(Path::new("/x/kv.json")));
        assert_eq!(store.flush_disk_type, rmq_store::FlushDiskType::Sync);
        assert_eq!((store.file_reserved_time, store.disk_space_warning_level_ratio), (48, 50));
        assert_eq!(settings.finish().unwrap(), ["sendMessageThreadPoolNums"]);
    }

    #[test]
    fn wrong_values_name_file_line_and_key() {
        for (text, expected) in [
            (
                "\nlistenPort=abc",
                "x.conf:2: listenPort: `abc` is not a whole number from 0 to 65535",
            ),
            (
                "listenPort=70000",
                "x.conf:1: listenPort: `70000` is not a whole number from 0 to 65535",
            ),
            ("enableTopicList=yes", "x.conf:1: enableTopicList: `yes` is not `true` or `false`"),
            (
                "flushDiskType=NOW",
                "x.conf:1: flushDiskType: `NOW` is not one of ASYNC_FLUSH, SYNC_FLUSH",
            ),
        ] {
            assert_eq!(problem(text), expected);
        }
    }

    #[test]
    fn unknown_key_names_the_nearest_right_one() {
        for (text, expected) in [
            (
                "#\nlistenport=1",
                "x.conf:2: there is no setting `listenport`; did you mean `listenPort`?",
            ),
            (
                "flushDiskTyp=1",
                "x.conf:1: there is no setting `flushDiskTyp`; did you mean `flushDiskType`?",
            ),
            (
                "brokerRole=SLAVE",
                "x.conf:1: brokerRole: `SLAVE` is not possible, this version has no replicas",
            ),
            ("quite=1", "x.conf:1: there is no setting `quite`"),
        ] {
            assert_eq!(problem(text), expected);
        }
        let mut settings = Settings::default();
        settings.add_flag("fielReservedTime=1").unwrap();
        settings.read::<rmq_store::Config>().unwrap();
        let error = settings.finish().unwrap_err().to_string();
        assert_eq!(
            error,
            "command line: there is no setting `fielReservedTime`; did you mean `fileReservedTime`?"
        );
        assert_eq!(
            settings.add_flag("x").unwrap_err().to_string(),
            "command line: `x` is not key=value"
        );
    }

    #[test]
    fn distance_counts_changes() {
        for (a, b, expected) in [("", "abc", 3), ("abc", "abc", 0), ("kitten", "sitting", 3)] {
            assert_eq!(distance(a, b), expected);
        }
    }
}
