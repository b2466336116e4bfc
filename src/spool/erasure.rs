//! Erasure of events in the spool, while the drain moves nothing.

use super::{Spool, locked};
use crate::store::{SpoolErasure, SpoolPage, SpooledEvents, StoreError};

impl SpooledEvents for Spool {
    fn erase(&self, asked: &SpoolErasure<'_>) -> Result<SpoolPage, StoreError> {
        let file = self.file()?;
        let _moving = locked(&self.0.moving);
        let mut page = SpoolPage::default();
        let numbers = file.numbers(asked.after, asked.limit)?;
        for number in &numbers {
            if let Some(stored) = file.event(*number)?
                && (asked.chooses)(&stored.event)
            {
                page.events.push((*number, stored.event));
            }
        }
        page.next = numbers
            .last()
            .copied()
            .filter(|_| numbers.len() == asked.limit);
        if page.next.is_none() {
            page.others = file.others(asked.chooses)?;
        }
        let Some(keep_keys) = asked.keep_keys else {
            return Ok(page);
        };
        if !page.events.is_empty() || !page.others.is_empty() {
            keep_keys(&page)?;
            let _writing = locked(&self.0.writing);
            file.erase(&page.events, &page.others)?;
            let (usage, keys) = (file.usage()?, file.keys()?);
            self.contents().recount(usage, &keys);
        }
        if page.next.is_none() {
            let _writing = locked(&self.0.writing);
            file.wipe_free_space()?;
        }
        self.count_parked()?;
        self.report();
        Ok(page)
    }
}
