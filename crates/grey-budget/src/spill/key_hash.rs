//! What stands for a key in the index and in record headers: SipHash-2-4 of
//! 128 bits (Aumasson and Bernstein), under a secret of the store's own, so
//! that nobody can choose keys that collide.
//!
//! Never decides alone that two keys are equal: a record holds its key, and
//! every read compares it.

use std::hash::{BuildHasher, Hasher};

/// The secret of a store; every segment carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Salt(pub(super) [u64; 2]);

impl Salt {
    /// A new one. `RandomState` draws from the kernel.
    pub(super) fn random() -> Self {
        let draw = |turn: u64| {
            let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
            hasher.write_u64(turn);
            hasher.finish()
        };
        Self([draw(0), draw(1)])
    }
}

/// 128 bits that stand for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyHash(pub(super) [u64; 2]);

impl std::hash::Hash for KeyHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0]);
    }
}

/// A [`KeyHash`] is evenly spread already; its first half serves as it is.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

#[inline]
const fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[inline]
const fn absorb(v: &mut [u64; 4], word: u64) {
    v[3] ^= word;
    round(v);
    round(v);
    v[0] ^= word;
}

/// The hash of a key.
pub(super) fn hash_key(salt: Salt, key: &[u8]) -> KeyHash {
    let [k0, k1] = salt.0;
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d ^ 0xee,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let mut words = key.chunks_exact(8);
    for word in &mut words {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(word);
        absorb(&mut v, u64::from_le_bytes(bytes));
    }
    let mut last = [0; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    // The length modulo 256 ends the message.
    last[7] = key.len().to_le_bytes()[0];
    absorb(&mut v, u64::from_le_bytes(last));
    v[2] ^= 0xee;
    (0..4).for_each(|_| round(&mut v));
    let first = v[0] ^ v[1] ^ v[2] ^ v[3];
    v[1] ^= 0xdd;
    (0..4).for_each(|_| round(&mut v));
    KeyHash([first, v[0] ^ v[1] ^ v[2] ^ v[3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first two of the vectors that the authors publish.
    #[test]
    fn the_authors_vectors_are_met() {
        let salt = Salt([0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]);
        let bytes = |hash: KeyHash| hash.0.map(u64::to_le_bytes).concat();
        assert_eq!(
            bytes(hash_key(salt, b"")),
            [
                0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55,
                0x02, 0x93
            ]
        );
        assert_eq!(
            bytes(hash_key(salt, &[0])),
            [
                0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44, 0x34, 0x76, 0x59, 0x11, 0x9b, 0x22,
                0xfc, 0x45
            ]
        );
    }

    #[test]
    fn keys_that_share_a_prefix_or_a_length_differ() {
        let salt = Salt::random();
        let mut seen = std::collections::HashSet::new();
        for length in 0..600 {
            assert!(seen.insert(hash_key(salt, &vec![0; length]).0), "{length}");
        }
    }
}
