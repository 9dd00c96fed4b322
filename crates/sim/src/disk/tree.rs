//! Directories: entries as they are, and as they are on the device.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path};
use std::time::SystemTime;

use rmq_runtime::Entropy;

use super::content::Content;
use crate::SimEntropy;

/// Number of a file or directory; never used again, so an open file outlives its entry.
pub(super) type Id = usize;

#[derive(Clone, Default)]
struct Directory {
    live: BTreeMap<String, Id>,
    synced: BTreeMap<String, Id>,
}

#[derive(Clone)]
enum Node {
    File(Box<Content>),
    Directory(Directory),
}

/// One change of entries: all of it is on the device or nothing. A rename has two parts.
#[derive(Clone)]
struct Change(Vec<(Id, String, Option<Id>)>);

#[derive(Clone)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    /// Changes that no sync of their directory has made durable, in their order.
    unsynced: Vec<Change>,
}

const ROOT: Id = 0;

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Tree {
    pub(super) fn new() -> Self {
        Self { nodes: vec![Node::Directory(Directory::default())], unsynced: Vec::new() }
    }

    pub(super) fn find(&self, path: &Path) -> Option<Id> {
        let names = path.components().filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
            _ => None,
        });
        names.into_iter().try_fold(ROOT, |at, name| self.directory(at)?.live.get(&name).copied())
    }

    fn directory(&self, id: Id) -> Option<&Directory> {
        match self.nodes.get(id) {
            Some(Node::Directory(directory)) => Some(directory),
            _ => None,
        }
    }

    fn directory_mut(&mut self, id: Id) -> Option<&mut Directory> {
        match self.nodes.get_mut(id) {
            Some(Node::Directory(directory)) => Some(directory),
            _ => None,
        }
    }

    pub(super) fn is_dir(&self, id: Id) -> bool {
        self.directory(id).is_some()
    }

    pub(super) fn file(&self, id: Id) -> io::Result<&Content> {
        match self.nodes.get(id) {
            Some(Node::File(content)) => Ok(content),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    pub(super) fn file_mut(&mut self, id: Id) -> io::Result<&mut Content> {
        match self.nodes.get_mut(id) {
            Some(Node::File(content)) => Ok(content),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    pub(super) fn entries(&self, dir: Id) -> impl Iterator<Item = (&String, Id)> {
        let entries = self.directory(dir).map(|directory| &directory.live);
        entries.into_iter().flatten().map(|(name, id)| (name, *id))
    }

    /// The directory that holds a path, and the name in it.
    fn place(&self, path: &Path) -> io::Result<(Id, String)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let dir = path.parent().and_then(|dir| self.find(dir)).filter(|id| self.is_dir(*id));
        Ok((dir.ok_or_else(not_found)?, name.to_string_lossy().into_owned()))
    }

    fn change(&mut self, parts: Vec<(Id, String, Option<Id>)>) {
        for (dir, name, to) in &parts {
            if let Some(directory) = self.directory_mut(*dir) {
                set(&mut directory.live, name, *to);
            }
        }
        self.unsynced.push(Change(parts));
    }

    pub(super) fn create(&mut self, path: &Path, content: Content) -> io::Result<Id> {
        let (dir, name) = self.place(path)?;
        if self.find(path).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.nodes.push(Node::File(Box::new(content)));
        let id = self.nodes.len() - 1;
        self.change(vec![(dir, name, Some(id))]);
        Ok(id)
    }

    pub(super) fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        let ancestors: Vec<_> = path.ancestors().collect();
        for path in ancestors.into_iter().rev().filter(|path| path.file_name().is_some()) {
            match self.find(path) {
                Some(id) if self.is_dir(id) => {}
                Some(_) => return Err(io::ErrorKind::AlreadyExists.into()),
                None => {
                    let (dir, name) = self.place(path)?;
                    self.nodes.push(Node::Directory(Directory::default()));
                    self.change(vec![(dir, name, Some(self.nodes.len() - 1))]);
                }
            }
        }
        Ok(())
    }

    /// Removes one entry, whatever it is.
    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        if self.find(path).is_some() {
            let (dir, name) = self.place(path)?;
            self.change(vec![(dir, name, None)]);
        }
        Ok(())
    }

    pub(super) fn remove_dir(&mut self, path: &Path) -> io::Result<()> {
        let Some(id) = self.find(path) else { return Ok(()) };
        let names: Vec<_> = self.entries(id).map(|(name, id)| (name.clone(), id)).collect();
        for (name, id) in names {
            let path = path.join(name);
            if self.is_dir(id) { self.remove_dir(&path)? } else { self.remove(&path)? }
        }
        self.remove(path)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let id = self.find(from).ok_or_else(not_found)?;
        let ((from_dir, from_name), (to_dir, to_name)) = (self.place(from)?, self.place(to)?);
        self.change(vec![(from_dir, from_name, None), (to_dir, to_name, Some(id))]);
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let dir = self.find(path).filter(|id| self.is_dir(*id)).ok_or_else(not_found)?;
        for change in std::mem::take(&mut self.unsynced) {
            if change.0.iter().any(|(of, ..)| *of == dir) {
                self.settle(&change);
            } else {
                self.unsynced.push(change);
            }
        }
        Ok(())
    }

    fn settle(&mut self, change: &Change) {
        for (dir, name, to) in &change.0 {
            if let Some(directory) = self.directory_mut(*dir) {
                set(&mut directory.synced, name, *to);
            }
        }
    }

    /// Makes everything durable.
    pub(super) fn settle_all(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            self.settle(&change);
        }
        for node in &mut self.nodes {
            if let Node::File(content) = node {
                content.sync();
            }
        }
    }

    /// The kernel forgets what was to be synced of all files.
    pub(super) fn fail_sync_all(&mut self, chance: &SimEntropy) {
        for node in &mut self.nodes {
            if let Node::File(content) = node {
                content.fail_sync(chance);
            }
        }
    }

    /// What the device holds when the power fails now. Of the changes of entries that are not
    /// synced either a front part is there, as a journal gives it, or any choice of them, as POSIX
    /// allows.
    pub(super) fn after_power_loss(&self, chance: &SimEntropy, now: SystemTime) -> Self {
        let mut left = self.clone();
        let unsynced = std::mem::take(&mut left.unsynced);
        let kept = chance.place(unsynced.len() + 1);
        let in_order = chance.one_in(2);
        for (number, change) in unsynced.iter().enumerate() {
            if if in_order { number < kept } else { chance.below(2) == 0 } {
                left.settle(change);
            }
        }
        for node in &mut left.nodes {
            match node {
                Node::File(content) => {
                    let modified = content.modified.min(now);
                    **content = Content::settled(content.after_power_loss(chance), modified);
                }
                Node::Directory(directory) => directory.live.clone_from(&directory.synced),
            }
        }
        left
    }
}

fn set(entries: &mut BTreeMap<String, Id>, name: &str, to: Option<Id>) {
    match to {
        Some(id) => drop(entries.insert(name.to_owned(), id)),
        None => drop(entries.remove(name)),
    }
}
