//! Compiles the events of a scheme: their ids, types and batches.

use super::compiler::Compiler;
use super::error::scheme;
use super::problems::{Reported, all};
use crate::IdClass;
use crate::check::event::{BatchRule, EventRule, Varies};
use crate::json_pointers::{PathSet, Slot};
use crate::language::spec::BatchSpec;
use crate::language::syntax::{JsonPointer, TemplateText};
use crate::language::template::Template;
use crate::scheme::SourceKey;

impl Compiler<'_> {
    pub(super) fn event(&mut self) -> Result<EventRule, Reported> {
        let spec = &self.spec.event;
        let mut paths = PathSet::default();
        let ids = self.ids(&scheme(["event", "id"]), &spec.id, &mut paths);
        let event_type = self.template(&scheme(["event", "type"]), &spec.event_type, &mut paths);
        let slots = self.varies(&scheme(["event", "varies"]), &spec.varies, &mut paths);
        let outer = paths.clone();
        let batch = match &spec.batch {
            Some(batch) => self.batch(batch, &mut paths).map(Some),
            None => Ok(None),
        };
        let inside = self.varies_inside(spec.batch.as_ref());
        if self.source.split == Some(true) && spec.batch.is_none() {
            return Err(self.error(
                SourceKey::Batch,
                "\"split\" has no meaning here, since this provider sends one event per request; remove batch",
            ));
        }
        Ok(EventRule {
            ids: ids?,
            event_type: event_type?,
            missing: spec.missing_id,
            class: IdClass::Unsigned,
            replays: false,
            batch: batch?,
            paths,
            outer,
            varies: Varies {
                slots: slots?,
                inside: inside?,
            },
        })
    }

    fn ids(
        &mut self,
        key: &SourceKey,
        texts: &[TemplateText],
        paths: &mut PathSet,
    ) -> Result<Vec<Template>, Reported> {
        let ids: Vec<_> = texts
            .iter()
            .map(|id| self.template(key, id, paths))
            .collect();
        all(ids)
    }

    fn varies(
        &mut self,
        key: &SourceKey,
        pointers: &[JsonPointer],
        paths: &mut PathSet,
    ) -> Result<Vec<Slot>, Reported> {
        let slots: Vec<_> = pointers
            .iter()
            .map(|pointer| self.ok(key, paths.add(pointer)))
            .collect();
        all(slots)
    }

    /// Kept whole, a batch is compared without what its elements may change.
    fn varies_inside(&mut self, batch: Option<&BatchSpec>) -> Result<PathSet, Reported> {
        let mut inside = PathSet::default();
        if let Some(batch) = batch {
            for pointer in &batch.varies {
                let added = inside.add(&batch.array.each().join(pointer));
                self.ok(&scheme(["event", "batch", "varies"]), added)?;
            }
        }
        Ok(inside)
    }

    fn batch(&mut self, spec: &BatchSpec, paths: &mut PathSet) -> Result<BatchRule, Reported> {
        let added = paths
            .add(&spec.array.each())
            .and_then(|element| Ok((element, paths.add_array(&spec.array)?)));
        let places = self.ok(&scheme(["event", "batch", "array"]), added);
        let mut inner = PathSet::default();
        let ids = self.ids(&scheme(["event", "batch", "id"]), &spec.id, &mut inner);
        let event_type = self.template(
            &scheme(["event", "batch", "type"]),
            &spec.event_type,
            &mut inner,
        );
        let slots = self.varies(
            &scheme(["event", "batch", "varies"]),
            &spec.varies,
            &mut inner,
        );
        let (element, array) = places?;
        Ok(BatchRule {
            element,
            array,
            ids: ids?,
            event_type: event_type?,
            empty: spec.empty,
            paths: inner,
            split: self.source.split.unwrap_or(spec.split),
            max: self.max_events,
            varies: Varies {
                slots: slots?,
                inside: PathSet::default(),
            },
        })
    }
}
