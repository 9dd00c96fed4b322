//! Maps of whole files, and the system calls that have no safe form. With the hint of
//! [`prefetch`](super::prefetch) the only unsafe code of the workspace.
#![expect(unsafe_code, reason = "maps and system calls without a safe form live here")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use bytes::Bytes;

/// Maps a file read-only, whole. The map lives as long as any slice of the returned bytes.
pub(super) fn map(file: &File) -> io::Result<Bytes> {
    // SAFETY: the file is only changed through `DiskFile::write_at` of this process, which writes
    // bytes that nobody was told of yet, and it is never cut while slices are out (the contract of
    // `DiskFile::slice`); another process is kept out by the store's lock file.
    let map = unsafe { memmap2::Mmap::map(file)? };
    Ok(Bytes::from_owner(map))
}

/// Begins to write a range to the device; a hint, so its result does not matter.
#[cfg(target_os = "linux")]
pub(super) fn write_back(file: &File, offset: u64, len: u64) {
    let (Ok(offset), Ok(len)) = (i64::try_from(offset), i64::try_from(len)) else { return };
    // SAFETY: the descriptor is open as long as `file` is borrowed; the call takes no pointers.
    let _hint = unsafe {
        libc::sync_file_range(file.as_raw_fd(), offset, len, libc::SYNC_FILE_RANGE_WRITE)
    };
}

#[cfg(not(target_os = "linux"))]
pub(super) fn write_back(_file: &File, _offset: u64, _len: u64) {}

/// How far local time is ahead of UTC now.
pub(super) fn utc_offset_seconds() -> i64 {
    // SAFETY: both calls only write to the values they are given, which live on this stack.
    unsafe {
        let now = libc::time(std::ptr::null_mut());
        let mut local: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&raw const now, &raw mut local).is_null() {
            0
        } else {
            local.tm_gmtoff
        }
    }
}
