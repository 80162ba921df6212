//! What has happened to this broker: moves, faults, rebalances.

use serde::Serialize;

use super::Question;
use crate::control::events::{EventKind, Severity};
use crate::shard::{Rebalance, Shard};

/// Answer of `GET /api/v1/events`: the newest first.
#[derive(Debug, Serialize)]
pub(in crate::console) struct Shown {
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    at_ms: i64,
    kind: EventKind,
    severity: Severity,
    text: String,
}

pub(in crate::console) async fn show(question: &Question<'_>) -> Shown {
    let (service, viewer) = (question.service, question.viewer);
    let asked = service
        .context
        .shards
        .iter()
        .map(|shard| shard.call(|shard: &std::rc::Rc<Shard>| shard.rebalances()));
    let answers = futures_util::future::join_all(asked).await;
    let rebalances = answers.into_iter().flatten().flatten();
    let may_see = |it: &Rebalance| service.access.may_describe_group(viewer, &it.group);
    let rebalances = rebalances.filter(may_see).map(|it| Row {
        at_ms: it.at_ms,
        kind: EventKind::Rebalance,
        severity: Severity::Info,
        text: format!(
            "group {}: generation {}, members: {}",
            it.group, it.generation, it.members
        ),
    });
    // Names of segments and users are for those who may know the cluster.
    let sees_all = service.access.may_describe_cluster(viewer);
    let events = service.context.events.all().into_iter();
    let events = events
        .filter(|event| sees_all || !matches!(event.kind, EventKind::Damage | EventKind::Console))
        .map(|event| Row {
            at_ms: event.at_ms,
            kind: event.kind,
            severity: event.severity,
            text: event.text,
        });
    let mut rows: Vec<Row> = events.chain(rebalances).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.at_ms));
    Shown { rows }
}
