//! Values of any type that can be serialized.
//!
//! Never says of which type a value was: who asks must know.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::SpillError;
use super::options::SpillTags;
use super::store::SpillStore;

impl SpillStore {
    /// Spills anything that can be serialized, under a name.
    ///
    /// # Errors
    /// [`SpillError`], as [`Self::write`].
    pub fn spill_to_disk(&self, key: &str, data: &impl Serialize) -> Result<(), SpillError> {
        let bytes = postcard::to_stdvec(data).map_err(|error| SpillError::Serialize {
            action: "serialize",
            key: key.to_owned(),
            reason: error.to_string(),
        })?;
        self.write(key.as_bytes(), SpillTags::default(), bytes.into())
    }

    /// Loads what [`Self::spill_to_disk`] spilled. It must be asked for as the
    /// type that it was: the bytes do not name it.
    ///
    /// # Errors
    /// [`SpillError`], as [`Self::read`], and when it is of another type.
    pub fn load_from_disk<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, SpillError> {
        let Some(value) = self.read(key.as_bytes())? else {
            return Ok(None);
        };
        let failed = |reason: String| SpillError::Serialize {
            action: "deserialize",
            key: key.to_owned(),
            reason,
        };
        let (data, rest) =
            postcard::take_from_bytes(&value).map_err(|error| failed(error.to_string()))?;
        if !rest.is_empty() {
            return Err(failed(format!("{} bytes are left over", rest.len())));
        }
        Ok(Some(data))
    }
}
