//! Words and types of the search in bodies, of instances, of the lakehouse and of the log filter.

use serde_json::json;

use super::Documented;
use super::schemas::{Schemas, schema};
use crate::operate::{
    InstanceList, LakeComparisonView, LakeQuestion, LakehouseView, LogFilterOrder, LogFilterView,
    SearchQuestion, SearchView,
};

pub(super) fn documented(types: &Schemas) -> Vec<Documented> {
    vec![
        Documented::get(
            "/api/v1/search",
            "Finds events by a text in their bodies, the newest first: in 10,000 events, 64 MiB and half of admin.timeout_ms at most. It is recorded who searches, without the text.",
            schema::<SearchView>(),
            "/api/v1/search?contains=evt_123&source=stripe",
        )
        .with::<SearchQuestion>(types),
        Documented::get(
            "/api/v1/instances",
            "Lists the instances that share the store, each with its lease.",
            schema::<InstanceList>(),
            "/api/v1/instances",
        ),
        Documented::get(
            "/api/v1/lakehouse",
            "Shows the lakehouse: its writer, its table, and what waits in the sink.",
            schema::<LakehouseView>(),
            "/api/v1/lakehouse",
        ),
        Documented::get(
            "/api/v1/lakehouse/compare",
            "Compares the accepted events of the last hours with the rows of the table, by source and hour: 100,000 events at most. `hookweir lakehouse compare` has no such bound.",
            schema::<LakeComparisonView>(),
            "/api/v1/lakehouse/compare?hours=2",
        )
        .with::<LakeQuestion>(types),
        Documented::get(
            "/api/v1/log-filter",
            "Shows the filter of log lines of this instance.",
            schema::<LogFilterView>(),
            "/api/v1/log-filter",
        ),
        Documented::post(
            "/api/v1/log-filter",
            "Logs by another filter for some minutes. It goes back by itself.",
            (
                schema::<LogFilterOrder>(),
                json!({ "filter": "hookweir=debug,info", "minutes": 10, "reason": "a provider reports 401" }),
            ),
            schema::<LogFilterView>(),
        ),
    ]
}
