//! From texts to settings: keys and values of files and flags become the configurations of the parts,
//! whose field names are the keys. An unknown key is an error that names the nearest right one; one
//! that means something to Apache's servers but nothing here is collected.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::value::{SeqDeserializer, StrDeserializer};
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, IntoDeserializer as _, MapAccess, Visitor,
};
use serde::{Deserializer, forward_to_deserialize_any};
use thiserror::Error;

use crate::config_file::{self, SyntaxError};
use crate::foreign_keys;

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
        let entries = config_file::parse(text)
            .map_err(|source| SettingError::Syntax { path: path.to_owned(), source })?;
        for entry in entries {
            let place = Place::File { path: path.to_owned(), line: entry.line };
            self.entries.insert(entry.key, (entry.value, place));
        }
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

/// What a deserializer says, with the key.
#[derive(Debug)]
struct Problem {
    key: String,
    problem: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for Problem {}

impl de::Error for Problem {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { key: String::new(), problem: message.to_string() }
    }
}

/// Settings as serde sees them.
struct Source<'de>(&'de Settings);

impl<'de> Deserializer<'de> for Source<'de> {
    type Error = Problem;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.0.known.borrow_mut().extend(fields);
        let mut left = fields.iter();
        let rest = std::iter::from_fn(move || {
            left.find_map(|field| {
                self.0.entries.get(*field).map(|(value, _)| (*field, value.as_str()))
            })
        });
        visitor.visit_map(Fields { rest, current: None })
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Problem> {
        Err(de::Error::custom("settings are read into structs only"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Fields<'de, I> {
    rest: I,
    current: Option<(&'static str, &'de str)>,
}

impl<'de, I: Iterator<Item = (&'static str, &'de str)>> MapAccess<'de> for Fields<'de, I> {
    type Error = Problem;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Problem> {
        self.current = self.rest.next();
        let Some((key, _)) = self.current else { return Ok(None) };
        seed.deserialize(key.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Problem> {
        let (key, text) = self.current.unwrap_or_default();
        seed.deserialize(Text(text))
            .map_err(|Problem { problem, .. }| Problem { key: key.to_owned(), problem })
    }
}

/// One value.
struct Text<'de>(&'de str);

impl Text<'_> {
    fn parse<T: std::str::FromStr>(&self, wanted: &str) -> Result<T, Problem> {
        let shown: String = self.0.chars().take(64).collect();
        self.0.parse().map_err(|_| de::Error::custom(format!("`{shown}` is not {wanted}")))
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $number:ty => $wanted:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
            visitor.$visit(self.parse::<$number>($wanted)?)
        }
    )*};
}

impl<'de> Deserializer<'de> for Text<'de> {
    type Error = Problem;

    numbers! {
        deserialize_i8 visit_i8 i8 => "a whole number from -128 to 127";
        deserialize_i16 visit_i16 i16 => "a whole number from -32768 to 32767";
        deserialize_i32 visit_i32 i32 => "a whole number below 2^31";
        deserialize_i64 visit_i64 i64 => "a whole number";
        deserialize_u8 visit_u8 u8 => "a whole number from 0 to 255";
        deserialize_u16 visit_u16 u16 => "a whole number from 0 to 65535";
        deserialize_u32 visit_u32 u32 => "a whole number from 0 below 2^32";
        deserialize_u64 visit_u64 u64 => "a whole number from 0";
        deserialize_f32 visit_f32 f32 => "a number";
        deserialize_f64 visit_f64 f64 => "a number";
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let lower = self.0.to_ascii_lowercase();
        visitor.visit_bool(Text(&lower).parse::<bool>("`true` or `false`")?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        if self.0.is_empty() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        visitor.visit_newtype_struct(self)
    }

    /// Lists are written with `;` or `,` between their items.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let items = self.0.split([';', ',']).map(str::trim).filter(|item| !item.is_empty());
        visitor.visit_seq(SeqDeserializer::new(items))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        let known = variants.iter().find(|variant| variant.eq_ignore_ascii_case(self.0));
        let Some(variant) = known else {
            let shown: String = self.0.chars().take(64).collect();
            let problem = format!("`{shown}` is not one of {}", variants.join(", "));
            return Err(de::Error::custom(problem));
        };
        let variant: StrDeserializer<'_, Problem> = (*variant).into_deserializer();
        visitor.visit_enum(variant)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_borrowed_str(self.0)
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct
        identifier ignored_any
    }
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
             kvConfigPath=/x/kv.json\ndiskSpaceWarningLevelRatio=0.5\nsendMessageThreadPoolNums=4",
        );
        settings.add_flag("fileReservedTime = 48").unwrap();
        let namesrv: NamesrvConfig = settings.read().unwrap();
        let store: rmq_store::Config = settings.read().unwrap();
        assert_eq!((namesrv.listen_port, namesrv.support_acting_master), (0, true));
        assert_eq!(namesrv.kv_config_path.as_deref(), Some(Path::new("/x/kv.json")));
        assert_eq!(store.flush_disk_type, rmq_store::FlushDiskType::Sync);
        assert_eq!(store.file_reserved_time, 48);
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
