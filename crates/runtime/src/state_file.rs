//! Small files that are replaced whole, with the generation before kept as `<file>.bak`, as Apache
//! RocketMQ keeps its `config/*.json` (`common/ConfigManager`).
//!
//! The new text is written and synced beside the file first, so at every moment either the file or
//! its `.bak` is whole. A damaged file is set aside as `<file>.damaged` when it is loaded, so that
//! the next save does not put it into the place of the good `.bak`.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::Disk;

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Replaces the file; its former text becomes the `.bak`.
pub fn save(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    disk.create_dir(dir)?;
    let fresh = with_suffix(path, ".tmp");
    disk.write(&fresh, bytes)?;
    if disk.exists(path) {
        disk.rename(path, &with_suffix(path, ".bak"))?;
        disk.sync_dir(dir)?;
    }
    disk.rename(&fresh, path)?;
    disk.sync_dir(dir)
}

/// What was loaded.
#[derive(Debug, PartialEq, Eq)]
pub enum Loaded<T> {
    /// The file itself.
    Current(T),
    /// The generation before, because the file is missing, empty or damaged: `why` says which.
    Previous {
        /// What was in it.
        value: T,
        /// What is wrong with the newer one.
        why: String,
    },
    /// Neither is there.
    Missing,
}

impl<T> Loaded<T> {
    /// What was in the file, whichever generation.
    pub fn into_value(self) -> Option<T> {
        match self {
            Self::Current(value) | Self::Previous { value, .. } => Some(value),
            Self::Missing => None,
        }
    }
}

fn damaged(path: &Path) -> PathBuf {
    with_suffix(path, ".damaged")
}

/// Loads the file to go on with it: [looks](look), and sets a damaged one aside.
pub fn load<T, E: std::fmt::Display>(
    disk: &dyn Disk,
    path: &Path,
    parse: impl Fn(Bytes) -> Result<T, E>,
) -> io::Result<Loaded<T>> {
    let loaded = look(disk, path, parse)?;
    if matches!(loaded, Loaded::Previous { .. }) && disk.exists(path) {
        disk.rename(path, &damaged(path))?;
        disk.sync_dir(path.parent().unwrap_or_else(|| Path::new(".")))?;
    }
    Ok(loaded)
}

/// What is in the file, or in its `.bak` when the file is missing, empty or does not parse. An
/// error is only returned when something is there and neither generation can be read.
pub fn look<T, E: std::fmt::Display>(
    disk: &dyn Disk,
    path: &Path,
    parse: impl Fn(Bytes) -> Result<T, E>,
) -> io::Result<Loaded<T>> {
    let attempt = |path: &Path| -> Result<Option<T>, String> {
        match disk.read(path) {
            Ok(bytes) if bytes.is_empty() => Err(format!("{} is empty", path.display())),
            Ok(bytes) => parse(bytes).map(Some).map_err(|e| format!("{}: {e}", path.display())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e.to_string()),
        }
    };
    let why = match attempt(path) {
        Ok(Some(value)) => return Ok(Loaded::Current(value)),
        Ok(None) => None,
        Err(why) => Some(why),
    };
    match (attempt(&with_suffix(path, ".bak")), why) {
        (Ok(Some(value)), why) => {
            let why = why.unwrap_or_else(|| format!("{} is missing", path.display()));
            Ok(Loaded::Previous { value, why })
        }
        (Ok(None), None) => Ok(Loaded::Missing),
        (Ok(None), Some(why)) => Err(io::Error::new(io::ErrorKind::InvalidData, why)),
        (Err(worse), why) => {
            let text = why.map_or_else(|| worse.clone(), |why| format!("{why}; {worse}"));
            Err(io::Error::new(io::ErrorKind::InvalidData, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::SystemDisk;

    fn number(bytes: Bytes) -> Result<u32, String> {
        std::str::from_utf8(&bytes)
            .map_err(|e| e.to_string())?
            .parse()
            .map_err(|_| "no number".to_owned())
    }

    #[test]
    fn the_generation_before_serves_when_the_file_is_damaged_or_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config/x.json");
        let disk = SystemDisk;
        assert_eq!(load(&disk, &path, number).unwrap(), Loaded::Missing);
        save(&disk, &path, b"1").unwrap();
        assert_eq!(load(&disk, &path, number).unwrap(), Loaded::Current(1));
        save(&disk, &path, b"2").unwrap();
        assert_eq!(load(&disk, &path, number).unwrap(), Loaded::Current(2));
        disk.write(&path, b"2{").unwrap();
        assert!(matches!(
            load(&disk, &path, number).unwrap(),
            Loaded::Previous { value: 1, why } if why.contains("no number")
        ));
        disk.remove(&path).unwrap();
        assert_eq!(load(&disk, &path, number).unwrap().into_value(), Some(1));
    }

    #[test]
    fn a_damaged_file_never_takes_the_place_of_the_generation_before() {
        for damage in [&b"2{"[..], b""] {
            let dir = tempfile::tempdir().unwrap();
            let (path, disk) = (dir.path().join("x.json"), SystemDisk);
            save(&disk, &path, b"1").unwrap();
            save(&disk, &path, b"2").unwrap();
            disk.write(&path, damage).unwrap();
            assert_eq!(load(&disk, &path, number).unwrap().into_value(), Some(1));
            save(&disk, &path, b"3").unwrap();
            assert_eq!(&disk.read(&damaged(&path)).unwrap()[..], damage, "kept for a look");
            // A second fault, before anything else was saved.
            disk.write(&path, b"3{").unwrap();
            assert_eq!(load(&disk, &path, number).unwrap().into_value(), Some(1));
        }
    }

    #[test]
    fn who_only_looks_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (path, disk) = (dir.path().join("x.json"), SystemDisk);
        save(&disk, &path, b"1").unwrap();
        save(&disk, &path, b"2").unwrap();
        disk.write(&path, b"2{").unwrap();
        assert_eq!(look(&disk, &path, number).unwrap().into_value(), Some(1));
        assert_eq!(&disk.read(&path).unwrap()[..], b"2{");
        assert!(!disk.exists(&damaged(&path)));
    }

    #[test]
    fn damage_without_a_generation_before_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        SystemDisk.write(&path, b"{").unwrap();
        let error = load(&SystemDisk, &path, number).unwrap_err();
        assert!(error.to_string().contains("x.json"), "{error}");
    }
}
