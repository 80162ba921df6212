//! Consumer groups of the whole cluster: each coordinator is asked for its own. Lag is that of the groups that this
//! broker coordinates, as it was sampled last.

use std::collections::BTreeMap;

use client::{Client, ClientError};
use serde::Serialize;
use wire::messages::{DescribeGroupsRequest, ListGroupsRequest};

use super::{Paging, Question};
use crate::console::call::Refused;

/// Groups of one answer of a coordinator that are looked at.
const GROUPS_MAX: usize = 50_000;

/// Answer of `GET /api/v1/groups`.
#[derive(Debug, Serialize)]
pub(in crate::console) struct Groups {
    total: usize,
    matched: usize,
    page: usize,
    per: usize,
    /// How old a lag may be.
    lag_every_s: u64,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    group: String,
    state: String,
    protocol_type: String,
    coordinator: i32,
    members: Option<usize>,
    /// Records, over all its topics; none if another broker coordinates it, or it has committed nothing.
    lag: Option<u64>,
}

/// A group, as its coordinator lists it.
#[derive(Debug, Clone)]
struct Listed {
    group: String,
    state: String,
    protocol_type: String,
    node: i32,
}

pub(in crate::console) async fn list(question: &Question<'_>) -> Result<Groups, Refused> {
    let (service, query) = (question.service, question.query);
    let paging = Paging::of(query)?;
    let search = query.get("search").unwrap_or_default().to_lowercase();
    let listed = service.kafka.ask(list_all).await?;
    let may = |it: &Listed| {
        service
            .access
            .may_describe_group(question.viewer, &it.group)
    };
    let seen: Vec<Listed> = listed.into_iter().filter(may).collect();
    let total = seen.len();
    let finds = |it: &Listed| search.is_empty() || it.group.to_lowercase().contains(&search);
    let mut found: Vec<Listed> = seen.into_iter().filter(finds).collect();
    let lags = lags(question);
    let lag = |it: &Listed| lags.get(&it.group).copied();
    match query.get("sort") {
        Some("lag") => found.sort_by_key(|it| (std::cmp::Reverse(lag(it)), it.group.clone())),
        Some("state") => found.sort_by_key(|it| (it.state.clone(), it.group.clone())),
        _ => found.sort_by(|one, other| one.group.cmp(&other.group)),
    }
    if query.get("order") == Some("desc") && query.get("sort") != Some("lag") {
        found.reverse();
    }
    let matched = found.len();
    let shown = paging.cut(found);
    let asked = shown.clone();
    let members = service
        .kafka
        .ask(move |client| members(client, &asked))
        .await?;
    let rows = shown.into_iter().map(|it| Row {
        members: members.get(&it.group).copied(),
        lag: lag(&it),
        coordinator: it.node,
        group: it.group,
        state: it.state,
        protocol_type: it.protocol_type,
    });
    Ok(Groups {
        total,
        matched,
        page: paging.page,
        per: paging.per,
        lag_every_s: service.context.config.admin.lag_interval.as_secs(),
        rows: rows.collect(),
    })
}

/// The lag of the groups that this broker coordinates.
fn lags(question: &Question<'_>) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for lag in question.service.registry.group_lags() {
        *sums.entry(lag.group).or_default() += lag.records;
    }
    sums
}

/// Asks every broker for the groups that it coordinates.
fn list_all(client: &mut Client) -> Result<Vec<Listed>, ClientError> {
    let nodes: Vec<i32> = client.metadata().brokers.keys().copied().collect();
    let mut all = Vec::new();
    for node in nodes {
        let some = client.retry("list groups", |client| {
            let reply = client.call(node, &ListGroupsRequest::default())?;
            let response = reply.decode()?;
            ClientError::check(|| "list groups".to_owned(), response.error_code, None)?;
            let groups = response.groups.iter().take(GROUPS_MAX);
            let listed = groups.map(|group| Listed {
                group: group.group_id.to_owned(),
                state: group.group_state.to_owned(),
                protocol_type: group.protocol_type.to_owned(),
                node,
            });
            Ok(listed.collect::<Vec<_>>())
        })?;
        all.extend(some);
    }
    // Shards that are nodes of their own tell the same groups.
    all.sort_by(|one, other| (&one.group, one.node).cmp(&(&other.group, other.node)));
    all.dedup_by(|one, other| one.group == other.group);
    Ok(all)
}

/// Members of these groups, each asked of its coordinator. Those that have moved or gone meanwhile are left out.
fn members(client: &mut Client, of: &[Listed]) -> Result<BTreeMap<String, usize>, ClientError> {
    let mut by_node: BTreeMap<i32, Vec<&str>> = BTreeMap::new();
    for it in of {
        by_node.entry(it.node).or_default().push(&it.group);
    }
    let mut members = BTreeMap::new();
    for (node, groups) in by_node {
        let request = DescribeGroupsRequest {
            groups,
            ..DescribeGroupsRequest::default()
        };
        let reply = client.call(node, &request)?;
        for found in &reply.decode()?.groups {
            if found.error_code.is_none() {
                members.insert(found.group_id.to_owned(), found.members.len());
            }
        }
    }
    Ok(members)
}
