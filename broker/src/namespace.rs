//! What a namespace may hold and use: bounds of a whole cluster, which is one namespace of its bucket.
//!
//! Off by default. Who creates what is beyond a bound is told so (POLICY_VIOLATION); what uses more bytes is slowed
//! down as by a quota. Topics and partitions are counted exactly by each broker, since all brokers know all of them;
//! of groups, connections and bytes each broker keeps to its share, so that no broker has to ask another.

use crate::config::NamespaceSettings;
use crate::metrics::ControlMetrics;

/// Topics, and the partitions of all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// Topics.
    pub topics: usize,
    /// Partitions.
    pub partitions: usize,
}

/// Why nothing more is created: POLICY_VIOLATION.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "The namespace may have {most} {what} (namespace.{what}_max): it has {held}, and {more} more were asked for. \
     Delete some that are not needed, or raise the bound."
)]
pub struct Full {
    what: &'static str,
    most: usize,
    held: usize,
    more: usize,
}

impl NamespaceSettings {
    /// Whether there is room for more topics and partitions beside those that are held.
    ///
    /// # Errors
    /// There is none.
    pub fn room_for(&self, more: Held, held: Held) -> Result<(), Full> {
        let check = |what, most: Option<usize>, held: usize, more: usize| match most {
            Some(most) if more > 0 && held.saturating_add(more) > most => Err(Full {
                what,
                most,
                held,
                more,
            }),
            _ => Ok(()),
        };
        check("topics", self.topics_max, held.topics, more.topics)?;
        let (held, more) = (held.partitions, more.partitions);
        check("partitions", self.partitions_max, held, more)
    }

    /// Whether topics or partitions have a bound, and are worth counting.
    pub fn bounds_topics(&self) -> bool {
        self.topics_max.is_some() || self.partitions_max.is_some()
    }

    /// Tells the bounds as metrics; 0 where there is none.
    pub fn tell(&self, metrics: &ControlMetrics) {
        let bounds = [
            (&metrics.namespace_topics, self.topics_max),
            (&metrics.namespace_partitions, self.partitions_max),
            (&metrics.namespace_groups, self.groups_max),
            (&metrics.namespace_connections, self.connections_max),
        ];
        for (gauge, most) in bounds {
            gauge.set_count(most.unwrap_or(0));
        }
    }
}

/// The share of one of so many live brokers, rounded up: all together may hold a little more than the bound, never less.
pub fn share(most: usize, brokers: usize) -> usize {
    most.div_ceil(brokers.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const fn held(topics: usize, partitions: usize) -> Held {
        Held { topics, partitions }
    }

    #[test]
    fn there_is_room_up_to_each_bound_and_without_one_always() {
        let none = Config::with(&[]).unwrap().namespace;
        assert_eq!(none.room_for(held(1, 1), held(1 << 40, 1 << 40)), Ok(()));
        assert!(!none.bounds_topics());
        let settings = [
            ("namespace.topics_max", "3"),
            ("namespace.partitions_max", "10"),
        ];
        let both = Config::with(&settings).unwrap().namespace;
        assert!(both.bounds_topics());
        assert_eq!(both.room_for(held(1, 5), held(2, 5)), Ok(()));
        let full = both.room_for(held(1, 1), held(3, 5)).unwrap_err();
        assert_eq!(
            full.to_string(),
            "The namespace may have 3 topics (namespace.topics_max): it has 3, and 1 more were asked for. Delete some \
             that are not needed, or raise the bound."
        );
        let full = both.room_for(held(1, 6), held(2, 5)).unwrap_err();
        assert!(full.to_string().contains("10 partitions"), "{full}");
        assert_eq!(
            both.room_for(held(0, 1), held(4, 9)),
            Ok(()),
            "a bound that was lowered keeps no topic from its partitions"
        );
    }

    #[test]
    fn brokers_share_a_bound() {
        assert_eq!([1, 2, 3].map(|brokers| share(10, brokers)), [10, 5, 4]);
        assert_eq!(share(1, 5), 1, "each may hold one");
        assert_eq!(share(7, 0), 7, "before any is known");
    }
}
