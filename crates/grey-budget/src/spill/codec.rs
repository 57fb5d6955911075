//! How values are made smaller: block by block, so that the room this needs
//! does not depend on the value, and not at all where it does not pay.
//!
//! A value that is compressed is stored as blocks of [`BLOCK`] bytes of it
//! (the last one is shorter), each with its stored length before it.
//!
//! Never allocates while it works, but for what the codecs keep themselves.

use std::io;

use super::format::Codec;
use super::options::Compression;

/// How much of a value is compressed at once.
pub(super) const BLOCK: usize = 64 << 10;

/// The stored length of a block.
pub(super) const BLOCK_PREFIX: usize = 4;

/// The most that a stored block takes, with its prefix. Both codecs need less
/// than 1/16 more than the block for what cannot be compressed.
pub(super) const STORED_BLOCK: usize = BLOCK_PREFIX + BLOCK + BLOCK / 16;

/// zstd's level: on text it writes as fast as lz4 and is half again as dense.
const ZSTD_LEVEL: i32 = 1;

/// After compression did not pay, this many values of the stream are stored as
/// they are before it is tried again; doubled each time it does not pay again.
const FIRST_PAUSE: u16 = 16;
const LONGEST_PAUSE: u16 = 1024;

/// What a value takes at most when it is stored.
pub(super) const fn worst_stored(length: usize) -> usize {
    let blocks = length.div_ceil(BLOCK);
    length + length / 16 + 256 + blocks * BLOCK_PREFIX
}

/// Whether storing `stored` instead of `raw` bytes saves a tenth at least.
pub(super) const fn pays(raw: usize, stored: usize) -> bool {
    stored <= raw - raw / 10
}

/// Whether compression paid for a stream of values.
#[derive(Debug, Clone, Copy, Default)]
struct Stream {
    left: u16,
    pause: u16,
}

/// Compresses, and remembers for which streams that pays. A stream is what
/// belongs to one project.
pub(super) struct Encoder {
    wanted: Codec,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    streams: Vec<Stream>,
}

impl Encoder {
    /// # Errors
    /// The codec's, when it gets no memory.
    pub(super) fn new(compression: Compression) -> io::Result<Self> {
        let (wanted, zstd) = match compression {
            Compression::None => (Codec::Raw, None),
            Compression::Lz4 => (Codec::Lz4, None),
            Compression::Zstd => (Codec::Zstd, Some(zstd::bulk::Compressor::new(ZSTD_LEVEL)?)),
        };
        Ok(Self {
            wanted,
            zstd,
            streams: Vec::new(),
        })
    }

    /// How values are stored where it pays.
    pub(super) const fn wanted(&self) -> Codec {
        self.wanted
    }

    /// How the next value of a stream is to be stored.
    pub(super) fn choose(&mut self, stream: u16) -> Codec {
        let stream = usize::from(stream);
        if self.streams.len() <= stream {
            self.streams.resize(stream + 1, Stream::default());
        }
        let stream = &mut self.streams[stream];
        if stream.left > 0 {
            stream.left -= 1;
            return Codec::Raw;
        }
        self.wanted
    }

    /// Remembers whether the first block of a value became smaller.
    pub(super) fn remember(&mut self, stream: u16, paid: bool) {
        let Some(stream) = self.streams.get_mut(usize::from(stream)) else {
            return;
        };
        if paid {
            *stream = Stream::default();
        } else {
            stream.pause = (stream.pause.max(FIRST_PAUSE / 2) * 2).min(LONGEST_PAUSE);
            stream.left = stream.pause;
        }
    }

    /// Compresses one block into `out` behind its length; tells how much of
    /// `out` that took.
    ///
    /// # Errors
    /// The codec's.
    pub(super) fn block(&mut self, raw: &[u8], out: &mut [u8]) -> io::Result<usize> {
        let (prefix, room) = out.split_at_mut(BLOCK_PREFIX);
        let stored = match (self.wanted, &mut self.zstd) {
            (Codec::Zstd, Some(zstd)) => zstd.compress_to_buffer(raw, room)?,
            _ => lz4_flex::block::compress_into(raw, room).map_err(io::Error::other)?,
        };
        let length = u32::try_from(stored).map_err(io::Error::other)?;
        prefix.copy_from_slice(&length.to_le_bytes());
        Ok(BLOCK_PREFIX + stored)
    }
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Encoder")
            .field("wanted", &self.wanted)
            .finish_non_exhaustive()
    }
}

/// Makes blocks whole again.
pub(super) struct Decoder {
    zstd: zstd::bulk::Decompressor<'static>,
}

impl Decoder {
    /// # Errors
    /// The codec's, when it gets no memory.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            zstd: zstd::bulk::Decompressor::new()?,
        })
    }

    /// Fills `out`, which is as long as the block was, from a stored block
    /// without its prefix. `None` when the bytes make no such block.
    pub(super) fn block(&mut self, codec: Codec, stored: &[u8], out: &mut [u8]) -> Option<()> {
        let length = match codec {
            Codec::Raw => return None,
            Codec::Lz4 => lz4_flex::block::decompress_into(stored, out).ok()?,
            Codec::Zstd => self.zstd.decompress_to_buffer(stored, &mut *out).ok()?,
        };
        (length == out.len()).then_some(())
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Decoder").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn compression_pauses_where_it_does_not_pay_and_is_tried_again() {
        let mut encoder = Encoder::new(Compression::Zstd).unwrap();
        assert_eq!(encoder.choose(3), Codec::Zstd);
        encoder.remember(3, false);
        for _ in 0..FIRST_PAUSE {
            assert_eq!(encoder.choose(3), Codec::Raw);
            assert_eq!(encoder.choose(0), Codec::Zstd);
        }
        assert_eq!(encoder.choose(3), Codec::Zstd);
        encoder.remember(3, false);
        let pause = (0..)
            .take_while(|_| encoder.choose(3) == Codec::Raw)
            .count();
        assert_eq!(pause, usize::from(FIRST_PAUSE) * 2);
        encoder.remember(3, true);
        assert_eq!(encoder.choose(3), Codec::Zstd);
    }

    #[test]
    fn a_pause_never_overflows() {
        let mut encoder = Encoder::new(Compression::Lz4).unwrap();
        encoder.choose(0);
        (0..100).for_each(|_| encoder.remember(0, false));
        assert_eq!(encoder.streams[0].pause, LONGEST_PAUSE);
    }

    proptest! {
        #[test]
        fn a_block_comes_back_with_either_codec(
            bytes in proptest::collection::vec(any::<u8>(), 1..3000),
            repeats in 1_usize..20,
        ) {
            let mut raw = bytes.repeat(repeats);
            raw.truncate(BLOCK);
            for (compression, codec) in
                [(Compression::Lz4, Codec::Lz4), (Compression::Zstd, Codec::Zstd)]
            {
                let mut out = vec![0; STORED_BLOCK];
                let stored = Encoder::new(compression).unwrap().block(&raw, &mut out).unwrap();
                prop_assert!(stored <= worst_stored(raw.len()));
                let mut back = vec![0; raw.len()];
                let whole = Decoder::new().unwrap().block(codec, &out[BLOCK_PREFIX..stored], &mut back);
                prop_assert_eq!(whole, Some(()));
                prop_assert_eq!(back, raw.clone());
            }
        }

        #[test]
        fn no_bytes_make_it_panic(
            stored in proptest::collection::vec(any::<u8>(), 0..200),
            length in 0_usize..300,
        ) {
            let mut decoder = Decoder::new().unwrap();
            let mut out = vec![0; length];
            let _ = decoder.block(Codec::Lz4, &stored, &mut out);
            let _ = decoder.block(Codec::Zstd, &stored, &mut out);
        }
    }
}
