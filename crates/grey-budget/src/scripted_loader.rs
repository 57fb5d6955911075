//! A part of a program that loads back as a test tells it to.
//!
//! Never loads anything by itself, and holds nothing.

use std::sync::Arc;

use crate::reclaimer::Stop;
use crate::{
    Bytes, LoadBackRation, LoadBackReport, Priority, ReclaimMode, ReclaimRequest, Reclaimed,
    Reclaimer,
};

type Work = dyn Fn(Priority, &LoadBackRation) -> LoadBackReport + Send + Sync;

/// Does `work` when it is to load back, and says that it freed `frees` when it is
/// to give memory back.
pub(crate) struct ScriptedLoader {
    work: Box<Work>,
    frees: Bytes,
}

impl ScriptedLoader {
    pub(crate) fn new(
        frees: Bytes,
        work: impl Fn(Priority, &LoadBackRation) -> LoadBackReport + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            work: Box::new(work),
            frees,
        })
    }
}

impl Reclaimer for ScriptedLoader {
    fn name(&self) -> &'static str {
        "loader"
    }

    fn priority(&self) -> Priority {
        Priority::Low
    }

    fn reclaimable(&self, _mode: ReclaimMode) -> Bytes {
        self.frees
    }

    fn reclaim(&self, _request: &ReclaimRequest, _stop: &Stop) -> Reclaimed {
        Reclaimed {
            freed: self.frees,
            ..Reclaimed::default()
        }
    }

    fn loads_back(&self) -> bool {
        true
    }

    fn load_back(&self, priority: Priority, ration: &LoadBackRation) -> LoadBackReport {
        (self.work)(priority, ration)
    }
}
