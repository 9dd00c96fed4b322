//! The bits by which Apache's bit maps of a queue know a group: three of 112, from the hash of
//! `group#topic` (filter/util/BloomFilter with 20 % errors and 32 groups, Apache RocketMQ 5.5).

use serde::{Deserialize, Serialize};

/// Bits of a map.
const BITS: i32 = 112;
/// Bits of a group.
const POSITIONS: i32 = 3;

/// The bits of a group on a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Bloom {
    bit_num: i32,
    bit_pos: Vec<i32>,
}

impl Bloom {
    pub(super) fn of(group: &str, topic: &str) -> Self {
        let hash = murmur3(format!("{group}#{topic}").as_bytes());
        let [b0, b1, b2, b3, b4, b5, b6, b7] = hash.to_le_bytes();
        let first = i32::from_le_bytes([b0, b1, b2, b3]);
        let second = i32::from_le_bytes([b4, b5, b6, b7]);
        let position = |number: i32| {
            let mixed = first.wrapping_add(number.wrapping_mul(second));
            (if mixed < 0 { !mixed } else { mixed }) % BITS
        };
        Self { bit_num: BITS, bit_pos: (1..=POSITIONS).map(position).collect() }
    }
}

/// The first half of MurmurHash3 x64 128 with seed 0 (public domain, Austin Appleby).
fn murmur3(bytes: &[u8]) -> u64 {
    const C1: u64 = 0x87c3_7b91_1142_53d5;
    const C2: u64 = 0x4cf5_ad43_2745_937f;
    let low = |k: u64| k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2);
    let high = |k: u64| k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);
    let words = |chunk: &[u8]| {
        let mut block = [0; 16];
        block.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
        let block = u128::from_le_bytes(block);
        #[expect(clippy::cast_possible_truncation, reason = "the two halves of the block")]
        (block as u64, (block >> 64) as u64)
    };
    let (mut h1, mut h2) = (0_u64, 0_u64);
    let blocks = bytes.chunks_exact(16);
    let tail = blocks.remainder();
    for block in blocks {
        let (k1, k2) = words(block);
        h1 = (h1 ^ low(k1)).rotate_left(27).wrapping_add(h2);
        h1 = h1.wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 = (h2 ^ high(k2)).rotate_left(31).wrapping_add(h1);
        h2 = h2.wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    // Nothing mixes to nothing, so that a tail without a second half needs no case.
    let (k1, k2) = words(tail);
    let len = bytes.len() as u64;
    h1 ^= low(k1) ^ len;
    h2 ^= high(k2) ^ len;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    finish(h1).wrapping_add(finish(h2))
}

fn finish(mut k: u64) -> u64 {
    k = (k ^ (k >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    k = (k ^ (k >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    k ^ (k >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_those_that_apache_has_written() {
        assert_eq!(Bloom::of("GSql", "StoreA").bit_pos, [56, 43, 30]);
    }
}
