//! Traffic by topic: series for the busiest, and one for the rest.
//!
//! Off unless the settings name a number of topics. Counters must not fall, nor count twice: what a topic did while it
//! had no series of its own stays in `other`, and what it does while it has one goes to that one alone. A topic keeps
//! its series until another one without has twice its traffic, so that series do not come and go; one that comes back
//! goes on where its topic is.

use std::collections::HashMap;

use segment::TopicId;

/// How much of a topic's weight is left with each look: its traffic of the last minute or so.
const DECAY: f64 = 0.9;

/// What went through a topic since this broker's session began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicTraffic {
    /// The topic.
    pub id: TopicId,
    /// Its name.
    pub topic: String,
    /// Bytes of batches acknowledged.
    pub bytes_in: u64,
    /// Bytes of batches sent to consumers.
    pub bytes_out: u64,
    /// Records acknowledged.
    pub records_in: u64,
}

/// In the order of the metrics: bytes in, bytes out, records in.
pub(super) type Counts = [u64; 3];

#[derive(Debug, Default)]
struct Known {
    name: String,
    last: Counts,
    /// Since it is known; goes on over sessions of the broker.
    total: Counts,
    weight: f64,
    is_named: bool,
}

/// The series.
#[derive(Debug, Default)]
pub(super) struct TopicSeries {
    most: usize,
    known: HashMap<TopicId, Known>,
    other: Counts,
}

impl TopicSeries {
    /// At most so many, beside `other`.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            ..Self::default()
        }
    }

    /// Whether there are any.
    pub(super) fn is_on(&self) -> bool {
        self.most > 0
    }

    /// Takes over what went through each topic. Topics that are not among them are gone.
    pub(super) fn set(&mut self, all: Vec<TopicTraffic>) {
        let mut seen = HashMap::with_capacity(all.len());
        for traffic in all {
            let mut known = self.known.remove(&traffic.id).unwrap_or_default();
            let now = [traffic.bytes_in, traffic.bytes_out, traffic.records_in];
            let mut more = 0;
            for (place, now) in now.into_iter().enumerate() {
                // A counter that fell has begun anew.
                let step = now.checked_sub(known.last[place]).unwrap_or(now);
                known.total[place] = known.total[place].saturating_add(step);
                if !known.is_named {
                    self.other[place] = self.other[place].saturating_add(step);
                }
                more += if place < 2 { step } else { 0 };
            }
            known.last = now;
            known.weight = known.weight * DECAY + more as f64;
            known.name = traffic.topic;
            seen.insert(traffic.id, known);
        }
        self.known = seen;
        self.choose();
    }

    /// Gives places to the busiest.
    fn choose(&mut self) {
        let mut unnamed: Vec<(f64, TopicId)> = Vec::new();
        let mut named: Vec<(f64, TopicId)> = Vec::new();
        for (id, known) in &self.known {
            match known.is_named {
                true => named.push((known.weight, *id)),
                false if known.weight > 0.0 => unnamed.push((known.weight, *id)),
                false => {}
            }
        }
        unnamed.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
        named.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
        let mut leaving = named.iter();
        let mut room = self.most.saturating_sub(named.len());
        for (weight, id) in unnamed {
            if room > 0 {
                room -= 1;
            } else {
                let Some((least, leaves)) = leaving.next() else {
                    return;
                };
                if weight <= 2.0 * least {
                    return;
                }
                self.name(*leaves, false);
            }
            self.name(id, true);
        }
    }

    fn name(&mut self, id: TopicId, is_named: bool) {
        if let Some(known) = self.known.get_mut(&id) {
            known.is_named = is_named;
        }
    }

    /// The series by name, and what goes to `other`.
    pub(super) fn rows(&self) -> (Vec<(&str, Counts)>, Counts) {
        let named = self.known.values().filter(|known| known.is_named);
        let mut rows: Vec<_> = named.map(|it| (it.name.as_str(), it.total)).collect();
        rows.sort_unstable();
        (rows, self.other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(topic: u8, bytes_in: u64) -> TopicTraffic {
        TopicTraffic {
            id: TopicId::new([topic; 16]),
            topic: format!("t{topic}"),
            bytes_in,
            bytes_out: 0,
            records_in: bytes_in / 10,
        }
    }

    fn bytes(series: &TopicSeries) -> (Vec<(String, u64)>, u64) {
        let (rows, other) = series.rows();
        let rows = rows
            .into_iter()
            .map(|(name, counts)| (name.to_owned(), counts[0]));
        (rows.collect(), other[0])
    }

    #[test]
    fn the_busiest_have_series_and_the_rest_is_other() {
        let mut series = TopicSeries::new(2);
        series.set(vec![traffic(1, 100), traffic(2, 300), traffic(3, 200)]);
        let named = |names: &[(&str, u64)]| -> Vec<(String, u64)> {
            names
                .iter()
                .map(|(name, n)| ((*name).to_owned(), *n))
                .collect()
        };
        // What came before anybody was chosen is in `other`, whoever it was.
        assert_eq!(bytes(&series), (named(&[("t2", 300), ("t3", 200)]), 600));
        series.set(vec![traffic(1, 150), traffic(2, 400), traffic(3, 300)]);
        assert_eq!(bytes(&series), (named(&[("t2", 400), ("t3", 300)]), 650));
        // Twice the traffic takes the place of the least.
        series.set(vec![traffic(1, 5_150), traffic(2, 400), traffic(3, 300)]);
        assert_eq!(bytes(&series).0[0], ("t1".to_owned(), 5_150));
        assert_eq!(bytes(&series).0.len(), 2);
        assert_eq!(bytes(&series).1, 5_650);
    }

    #[test]
    fn counters_never_fall_and_topics_that_are_gone_go() {
        let mut series = TopicSeries::new(5);
        series.set(vec![traffic(1, 100), traffic(2, 100)]);
        series.set(vec![traffic(1, 40), traffic(2, 200)]);
        let (rows, other) = bytes(&series);
        assert_eq!(rows, [("t1".to_owned(), 140), ("t2".to_owned(), 200)]);
        assert_eq!(other, 200);
        series.set(vec![traffic(2, 200)]);
        assert_eq!(bytes(&series), (vec![("t2".to_owned(), 200)], 200));
        assert!(series.is_on() && !TopicSeries::new(0).is_on());
    }

    #[test]
    fn an_idle_topic_has_no_series() {
        let mut series = TopicSeries::new(5);
        series.set((0..100).map(|topic| traffic(topic, 0)).collect());
        assert_eq!(bytes(&series), (Vec::new(), 0));
    }
}
