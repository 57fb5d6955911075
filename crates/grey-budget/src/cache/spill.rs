//! Where entries go that leave memory but are worth keeping, and how they are
//! encoded.
//!
//! Never opens a file: the target does.

use std::sync::Arc;

use grey_model::{Bytes, Priority};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::spill::Take;

/// A value could not be written, read or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpillError {
    /// The target has no room, or may not take more.
    #[error("failed to spill {bytes} bytes: the target is full")]
    Full {
        /// How many bytes were to be written.
        bytes: u64,
    },
    /// The target failed.
    #[error("failed to {what} a spilled value")]
    Target {
        /// `write`, `read` or `remove`.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The codec failed.
    #[error("failed to {what} a spilled value")]
    Codec {
        /// `encode` or `decode`.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It was written by something else.
    #[error("failed to decode a spilled value: {reason}")]
    Damaged {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The codec or the target panicked.
    #[error("failed to {what} a spilled value: a panic was caught")]
    Panicked {
        /// `write`, `read` or `remove`.
        what: &'static str,
    },
}

/// Something that keeps values outside of memory.
pub trait SpillTarget: Send + Sync {
    /// Writes `value` under `key`, in the place of an older one.
    ///
    /// # Errors
    /// [`SpillError`]; the value is then not kept.
    fn store(
        &self,
        key: &[u8],
        priority: Priority,
        project: Option<&str>,
        value: Arc<[u8]>,
    ) -> Result<(), SpillError>;

    /// Reads what was written last under `key`; `None` when there is nothing.
    ///
    /// # Errors
    /// [`SpillError`], when it cannot be read.
    fn load(&self, key: &[u8]) -> Result<Option<Arc<[u8]>>, SpillError>;

    /// Forgets `key`. Nothing happens when it is not there.
    ///
    /// # Errors
    /// [`SpillError`], when what is there could not be forgotten.
    fn remove(&self, key: &[u8]) -> Result<(), SpillError>;

    /// Whether [`Self::offer`] offers what is here. A cache whose target does
    /// not has its values back only when somebody asks for them.
    fn offers(&self) -> bool {
        false
    }

    /// Offers what was written of `priority`, what was written last first,
    /// until `taker` wants no more. What it takes is forgotten here, unless
    /// something newer was written under its key meanwhile.
    ///
    /// Hold no lock while `taker` is called: before it returns, it may call
    /// [`Self::store`], [`Self::load`] and [`Self::remove`] of this target, also
    /// for the key that is offered and in the same thread (what is expired is
    /// removed; a value that had to go for others is written), and other threads
    /// may do so at any time. It is asked for [`OfferTaker::room`] before the first
    /// value, and again when as many bytes were offered as it said, or 4 MiB if
    /// that is less; a target that asks less often is stopped when the level of
    /// memory says so all the same, but by the slice, and not at once.
    ///
    /// # Errors
    /// [`SpillError`], when nothing more can be offered. A value that cannot be
    /// read is passed over and counted instead.
    fn offer(&self, priority: Priority, taker: &mut dyn OfferTaker) -> Result<Offered, SpillError> {
        let _ = (priority, taker);
        Ok(Offered::default())
    }
}

/// A value that a target offers.
pub struct Offer<'a> {
    /// Its key, as it was written.
    pub key: &'a [u8],
    /// Itself, as it was written.
    pub value: Arc<[u8]>,
    /// Whether it is still what the target has under its key.
    pub is_current: &'a dyn Fn() -> bool,
}

impl std::fmt::Debug for Offer<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Offer")
            .field("key", &self.key)
            .field("bytes", &self.value.len())
            .finish_non_exhaustive()
    }
}

/// Whom a target offers values to.
pub trait OfferTaker {
    /// How many bytes, as they were written, may be offered before this is
    /// asked again; none to end it.
    fn room(&mut self) -> Bytes;

    /// What a value takes in memory beside its bytes as they were written.
    fn overhead(&self) -> Bytes {
        Bytes::ZERO
    }

    /// A value is larger than the room, and is not offered.
    fn is_too_large(&mut self);

    /// What becomes of this one.
    fn take(&mut self, offer: Offer<'_>) -> Take;
}

/// What a target offered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offered {
    /// Values that could not be read.
    pub damaged: u64,
}

/// Turns keys and values into bytes and back.
pub trait Codec<K, V>: Send + Sync {
    /// The key as bytes: the same for equal keys, different for others.
    ///
    /// # Errors
    /// [`SpillError`], when the key cannot be encoded.
    fn encode_key(&self, key: &K) -> Result<Vec<u8>, SpillError>;

    /// Appends the value to `out`.
    ///
    /// # Errors
    /// [`SpillError`], when the value cannot be encoded.
    fn encode(&self, value: &V, out: &mut Vec<u8>) -> Result<(), SpillError>;

    /// Makes a value of what [`Self::encode`] appended.
    ///
    /// # Errors
    /// [`SpillError`], when these are not the bytes of a value.
    fn decode(&self, bytes: &[u8]) -> Result<V, SpillError>;

    /// Whether [`Self::decode_key`] can. Without it the values of a cache come
    /// back only when somebody asks for them.
    fn decodes_keys(&self) -> bool {
        false
    }

    /// Makes a key of what [`Self::encode_key`] gave, so that a value can be
    /// loaded back although nobody asks for it. The bytes may be of another's
    /// key: what does not encode to them again is passed over.
    ///
    /// # Errors
    /// [`SpillError`], when these are not the bytes of a key.
    fn decode_key(&self, bytes: &[u8]) -> Result<K, SpillError> {
        let _ = bytes;
        Err(SpillError::Damaged {
            reason: "this codec does not decode keys",
        })
    }
}

/// serde and postcard, for keys and values.
#[derive(Debug, Clone, Copy, Default)]
pub struct PostcardCodec;

impl<K, V> Codec<K, V> for PostcardCodec
where
    K: Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    fn encode_key(&self, key: &K) -> Result<Vec<u8>, SpillError> {
        to_bytes(key)
    }

    fn encode(&self, value: &V, out: &mut Vec<u8>) -> Result<(), SpillError> {
        append(value, out)
    }

    fn decode(&self, bytes: &[u8]) -> Result<V, SpillError> {
        of_bytes(bytes)
    }

    fn decodes_keys(&self) -> bool {
        true
    }

    fn decode_key(&self, bytes: &[u8]) -> Result<K, SpillError> {
        of_bytes(bytes)
    }
}

/// The same for keys that can be written and not read, such as `&'static str`:
/// values come back only when somebody asks for them.
#[derive(Debug, Clone, Copy, Default)]
pub struct PostcardValueCodec;

impl<K, V> Codec<K, V> for PostcardValueCodec
where
    K: Serialize,
    V: Serialize + DeserializeOwned,
{
    fn encode_key(&self, key: &K) -> Result<Vec<u8>, SpillError> {
        to_bytes(key)
    }

    fn encode(&self, value: &V, out: &mut Vec<u8>) -> Result<(), SpillError> {
        append(value, out)
    }

    fn decode(&self, bytes: &[u8]) -> Result<V, SpillError> {
        of_bytes(bytes)
    }
}

fn to_bytes(key: &impl Serialize) -> Result<Vec<u8>, SpillError> {
    postcard::to_stdvec(key).map_err(|source| codec_error("encode", source))
}

fn append(value: &impl Serialize, out: &mut Vec<u8>) -> Result<(), SpillError> {
    let buffer = std::mem::take(out);
    *out = postcard::to_extend(value, buffer).map_err(|source| codec_error("encode", source))?;
    Ok(())
}

fn of_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, SpillError> {
    postcard::from_bytes(bytes).map_err(|source| codec_error("decode", source))
}

fn codec_error(what: &'static str, source: postcard::Error) -> SpillError {
    SpillError::Codec {
        what,
        source: Box::new(source),
    }
}

/// What stands before every value: the layout's number, the priority, the cost,
/// the time of day at which it expires (milliseconds since 1970, 0 for never)
/// and the project's name after its length; numbers are little endian.
const HEADER: usize = 1 + 1 + 4 + 8 + 2;

/// The layout that this version writes.
const LAYOUT: u8 = 1;

/// What is known of a spilled value beside the value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Header {
    pub(super) priority: Priority,
    pub(super) cost: f32,
    /// Milliseconds since 1970; 0 for never.
    pub(super) expires_ms: u64,
    pub(super) project: Option<String>,
}

/// Starts a spilled value. A project's name of more than 64 KiB is cut.
pub(super) fn write_header(
    priority: Priority,
    cost: f32,
    expires_ms: u64,
    project: Option<&str>,
) -> Vec<u8> {
    let project = project.unwrap_or_default();
    let mut end = project.len().min(usize::from(u16::MAX));
    while !project.is_char_boundary(end) {
        end -= 1;
    }
    let name = &project.as_bytes()[..end];
    let length = u16::try_from(name.len()).unwrap_or(u16::MAX);
    let mut out = Vec::with_capacity(HEADER + name.len());
    out.push(LAYOUT);
    out.push(u8::try_from(priority.index()).unwrap_or_default());
    out.extend_from_slice(&cost.to_le_bytes());
    out.extend_from_slice(&expires_ms.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(name);
    out
}

/// The header, and the bytes of the value after it.
pub(super) fn read_header(bytes: &[u8]) -> Result<(Header, &[u8]), SpillError> {
    let damaged = |reason| SpillError::Damaged { reason };
    let (header, rest) = bytes
        .split_first_chunk::<HEADER>()
        .ok_or_else(|| damaged("it is too short"))?;
    let [layout, priority, c0, c1, c2, c3, expires @ .., l0, l1] = *header;
    if layout != LAYOUT {
        return Err(damaged("it is of another layout"));
    }
    let priority = Priority::ALL
        .get(usize::from(priority))
        .copied()
        .ok_or_else(|| damaged("its priority is none"))?;
    let length = usize::from(u16::from_le_bytes([l0, l1]));
    let (name, value) = rest
        .split_at_checked(length)
        .ok_or_else(|| damaged("it is too short"))?;
    let name = std::str::from_utf8(name).map_err(|_| damaged("its project is no text"))?;
    let header = Header {
        priority,
        cost: f32::from_le_bytes([c0, c1, c2, c3]),
        expires_ms: u64::from_le_bytes(expires),
        project: (!name.is_empty()).then(|| name.to_owned()),
    };
    Ok((header, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_comes_back_as_it_was() {
        let mut bytes = write_header(Priority::High, 2.5, 77, Some("docs"));
        bytes.extend_from_slice(b"value");
        let (header, value) = read_header(&bytes).unwrap();
        assert_eq!(header.priority, Priority::High);
        assert_eq!(header.cost.to_bits(), 2.5f32.to_bits());
        assert_eq!(header.project.as_deref(), Some("docs"));
        assert_eq!(header.expires_ms, 77);
        assert_eq!(value, b"value");
    }

    #[test]
    fn a_header_that_was_cut_is_an_error() {
        let bytes = write_header(Priority::Low, 0.0, 0, Some("docs"));
        for length in 0..bytes.len() {
            assert!(read_header(&bytes[..length]).is_err(), "{length}");
        }
        assert!(read_header(&bytes).is_ok());
    }

    #[test]
    fn a_long_project_is_cut_between_letters() {
        let long = "ä".repeat(40_000);
        let bytes = write_header(Priority::Low, 0.0, 0, Some(&long));
        let (header, rest) = read_header(&bytes).unwrap();
        assert!(long.starts_with(&header.project.unwrap()));
        assert!(rest.is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let _ = read_header(&bytes);
        }
    }
}
