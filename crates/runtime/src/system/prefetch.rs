//! Asks for memory before it is needed.
#![expect(unsafe_code, reason = "the processor's hint has no safe form")]

/// Bytes of a cache line.
const LINE: usize = 64;

/// Asks for the cache lines of `len` bytes at a place; a hint that goes on at once. Whatever the
/// pointer is, nothing is read through it.
#[inline]
pub fn prefetch<T>(place: *const T, len: usize) {
    let from = place.cast::<i8>();
    #[cfg(target_arch = "x86_64")]
    for line in (0..len).step_by(LINE).chain(len.checked_sub(1)) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch of any address is harmless: one that cannot be had is passed over.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(line)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (from, len, LINE);
}
