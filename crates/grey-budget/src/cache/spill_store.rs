//! The spill store as the place that a cache spills to.
//!
//! Never turns one error into silence: a full store and a broken one differ.

use std::sync::Arc;

use grey_model::{Bytes, Priority};

use super::spill::{Offer, OfferTaker, Offered, SpillError, SpillTarget};
use crate::spill::{self, SpillStore, SpillTags, Spilled, Take, Taker};

impl SpillTarget for SpillStore {
    fn store(
        &self,
        key: &[u8],
        priority: Priority,
        project: Option<&str>,
        value: Arc<[u8]>,
    ) -> Result<(), SpillError> {
        let bytes = u64::try_from(value.len()).unwrap_or(u64::MAX);
        let tags = SpillTags::new(priority);
        let tags = match project {
            Some(project) => tags.of_project(project),
            None => tags,
        };
        self.write(key, tags, value).map_err(|source| match source {
            spill::SpillError::DiskFull { .. }
            | spill::SpillError::QuotaExceeded { .. }
            | spill::SpillError::TooLittleFree { .. } => SpillError::Full { bytes },
            other => failed("write", other),
        })
    }

    fn load(&self, key: &[u8]) -> Result<Option<Arc<[u8]>>, SpillError> {
        self.read(key).map_err(|source| failed("read", source))
    }

    fn remove(&self, key: &[u8]) -> Result<(), SpillError> {
        Self::remove(self, key)
            .map(drop)
            .map_err(|source| failed("remove", source))
    }

    fn offers(&self) -> bool {
        true
    }

    fn offer(&self, priority: Priority, taker: &mut dyn OfferTaker) -> Result<Offered, SpillError> {
        let done = self
            .load_back_of(priority, &mut ToCache(taker))
            .map_err(|source| failed("read", source))?;
        Ok(Offered {
            damaged: done.damaged,
        })
    }
}

/// Shows the store a cache in the place of whoever else takes values.
struct ToCache<'a>(&'a mut dyn OfferTaker);

impl Taker for ToCache<'_> {
    fn room(&mut self) -> Bytes {
        self.0.room()
    }

    fn overhead(&self) -> Bytes {
        self.0.overhead()
    }

    fn is_too_large(&mut self) {
        self.0.is_too_large();
    }

    fn take(&mut self, spilled: Spilled<'_>) -> Take {
        let is_current = || spilled.is_current();
        self.0.take(Offer {
            key: spilled.key,
            value: Arc::clone(&spilled.value),
            is_current: &is_current,
        })
    }
}

fn failed(what: &'static str, source: spill::SpillError) -> SpillError {
    SpillError::Target {
        what,
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;
    use crate::cache::{CacheBuilder, EntryOptions, PostcardCodec};
    use crate::spill::SpillOptions;

    #[test]
    fn what_a_cache_cannot_hold_is_read_back_from_disk() {
        let directory = tempfile::tempdir().unwrap();
        let budget = Budget::new(Bytes::from_mib(64)).unwrap();
        let component = budget.component("spill").register().unwrap();
        let options = SpillOptions::new(directory.path(), component).free_floor(Bytes::ZERO);
        let store = SpillStore::open(options).unwrap();
        let cache = CacheBuilder::new(&budget, "cache", Bytes::from_mib(4))
            .largest_value(Bytes::from_kib(64))
            .spill(Arc::new(store.clone()), PostcardCodec)
            .build(|_: &u64, value: &Vec<u8>| Bytes(u64::try_from(value.capacity()).unwrap()))
            .unwrap();
        let value = |key: u64| vec![u8::try_from(key % 251).unwrap(); 32 << 10];
        for key in 0..400 {
            cache
                .insert_with(key, value(key), EntryOptions::new())
                .unwrap();
        }
        store.flush().unwrap();
        assert!(cache.weight() <= Bytes::from_mib(4));
        assert!(store.bytes_on_disk() > Bytes::ZERO);
        let found = (0..400)
            .filter(|key| cache.get(key) == Some(value(*key)))
            .count();
        assert_eq!(found, 400);
    }
}
