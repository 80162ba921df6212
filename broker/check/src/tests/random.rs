//! Random histories over 2 partitions, 3 producers and a log that forgets, repeats and swaps now and
//! then: checker and oracle find the same.

use proptest::prelude::*;

use super::*;

type Step = (u8, u32, i32, i64);

fn step() -> impl Strategy<Value = Step> {
    (0..30_u8, 0..3_u32, 0..2_i32, 0..8_i64)
}

#[derive(Default)]
struct Random {
    writer: Writer,
    logs: [Vec<Value>; 2],
    pending: Vec<Sending>,
    observers: u32,
}

impl Random {
    fn step(&mut self, (what, producer, partition, number): Step) {
        let log = usize::try_from(partition).unwrap();
        let position = usize::try_from(number).unwrap();
        let length = self.logs[log].len();
        match what {
            0..=6 => {
                let sending = self.append(producer, partition, number);
                let base = i64::try_from(length).unwrap();
                self.writer.ok(&sending, (what > 0).then_some(base));
            }
            7..=8 => {
                let sending = self.append(producer, partition, number);
                self.pending.push(sending);
            }
            9..=12 => self.full(partition, 0, 0),
            13 => self.full(partition, number - 4, 0),
            14 => self.full(partition, 0, number),
            15 if position < length => {
                self.logs[log].remove(position);
            }
            16 if position < length => {
                let again = self.logs[log][position];
                self.logs[log].push(again);
            }
            17 if position + 1 < length => self.logs[log].swap(position, position + 1),
            18 => {
                if let Some(Sending { send, .. }) = self.pending.pop() {
                    self.writer.add(|at| Event::Fail { send, at });
                }
            }
            19 => {
                let owner = (producer.try_into().unwrap(), partition);
                self.writer.poll_as(Observer(producer), owner, &[], number);
            }
            20..=21 => self.commit(producer, partition, number),
            22 => self.expect(producer, position, number),
            23 => self.writer.add(|at| Event::LogStart {
                partition: Partition(partition),
                offset: number / 3,
                at,
            }),
            24 => self.writer.add(|at| Event::Seek {
                observer: Observer(producer),
                partition: HOME,
                offset: 0,
                at,
            }),
            25 => self.writer.add(|at| Event::Settled { at }),
            26 => self.epochs(producer, number),
            27 => self.key(partition, number),
            28 => self.astray(producer, number),
            _ => {
                let log = &self.logs[0];
                let to = (position + 2).min(log.len());
                let read = log.get(position..to).unwrap_or_default();
                let records: Vec<_> = (number..).zip(read.iter().copied()).collect();
                self.writer.poll(producer, &records);
            }
        }
    }

    /// Gives the records of a log one of two keys, and some of them away.
    fn key(&mut self, partition: i32, number: i64) {
        let log = &self.logs[usize::try_from(partition).unwrap()];
        let keyed = |value: &Value| Keyed {
            value: *value,
            key: Key(value.0 % 2),
            deletes: (value.0 + number.unsigned_abs()).is_multiple_of(5),
        };
        let records = log.iter().map(keyed).collect();
        self.writer.add(|at| Event::Keyed {
            partition: Partition(partition),
            records,
            at,
        });
    }

    fn astray(&mut self, observer: u32, high_watermark: i64) {
        let began = self.writer.tick();
        self.writer.add(|at| Event::Poll {
            observer: Observer(observer),
            partition: HOME,
            broker: Broker(1),
            epoch: Epoch(i32::try_from(high_watermark % 3).unwrap() - 1),
            astray: true,
            began,
            records: Vec::new(),
            high_watermark,
            at,
        });
    }

    fn append(&mut self, producer: u32, partition: i32, number: i64) -> Sending {
        let kind = match producer {
            0 => Kind::Plain,
            _ => Kind::Idempotent,
        };
        let count = 1 + number.unsigned_abs() / 5;
        let partition = Partition(partition);
        let sending = self.writer.send(producer, kind, partition, count);
        let log = usize::try_from(partition.0).unwrap();
        self.logs[log].extend(&sending.values);
        sending
    }

    fn full(&mut self, partition: i32, change: i64, start: i64) {
        self.observers += 1;
        let observer = Observer(1_000 + self.observers);
        let log = &self.logs[usize::try_from(partition).unwrap()];
        let end = (i64::try_from(log.len()).unwrap() + change).max(0);
        let records: Vec<_> = (0..)
            .zip(log.iter().copied())
            .filter(|(offset, _)| *offset >= start)
            .collect();
        self.writer
            .full_of(observer, Partition(partition), &records, start, end);
    }

    fn commit(&mut self, generation: u32, what: i32, number: i64) {
        let generation = i32::try_from(generation).unwrap() - 1;
        match (what, number) {
            (0, 0..=3) => self.writer.committing(generation, number),
            (0, _) => self.writer.committed(generation, number - 4),
            (_, 0..=5) => self.writer.committed_read(Some(number / 2)),
            _ => self.writer.committed_read(None),
        }
    }

    fn expect(&mut self, producer: u32, position: usize, number: i64) {
        let from = At(self.writer.now.saturating_sub(5_000));
        let until = At(from.0 + u64::from(producer) * 4_000);
        let within = number.unsigned_abs() * 1_000;
        let name = "random".to_owned();
        let expected = match position {
            0 => Event::ExpectFresh { within: 4_000 },
            1 | 2 => Event::ExpectLag {
                name,
                observers: vec![Observer(producer)],
                from,
                until,
                within,
            },
            _ => Event::Expect {
                name,
                progress: Progress::ALL[position % 3],
                partitions: 2,
                from,
                until,
                within,
            },
        };
        self.writer.events.push(expected);
    }

    /// Reads what stands at two places, with epochs.
    fn epochs(&mut self, observer: u32, number: i64) {
        let log = &self.logs[0];
        let records: Vec<Record> = (0..2)
            .zip(log.iter().copied())
            .map(|(offset, value)| Record {
                offset,
                value,
                epoch: Epoch(i32::try_from((number + offset) % 3).unwrap() - 1),
            })
            .collect();
        let began = self.writer.tick();
        self.writer.add(|at| Event::Poll {
            observer: Observer(observer),
            partition: HOME,
            broker: Broker(1),
            epoch: Epoch::NONE,
            astray: false,
            began,
            records,
            high_watermark: 2,
            at,
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_checker_agrees_with_the_oracle(steps in prop::collection::vec(step(), 0..40)) {
        let mut random = Random::default();
        for step in steps {
            random.step(step);
        }
        random.writer.kinds();
    }
}
