// franz-go against a broker.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"kafscale/clients/gosuite"
)

var bg = context.Background()

type library struct {
	bootstrap string
	admin     *kadm.Client
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "--security" {
		gosuite.Security(os.Args[2], securely, aboutWhat)
	}
	gosuite.Main("franz-go", []string{"cooperative-sticky"}, func(bootstrap string) (gosuite.Library, error) {
		client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.MetadataMinAge(100*time.Millisecond))
		if err != nil {
			return nil, err
		}
		return &library{bootstrap, kadm.NewClient(client)}, nil
	})
}

func (l *library) client(options ...kgo.Opt) (*kgo.Client, error) {
	// A topic that is a moment old is asked for again soon, not after the default of 5 s.
	return kgo.NewClient(append(options, kgo.SeedBrokers(l.bootstrap), kgo.MetadataMinAge(100*time.Millisecond))...)
}

func (l *library) CreateTopic(name string, partitions int) error {
	answer, err := l.admin.CreateTopic(bg, int32(partitions), 1, nil, name)
	if err != nil {
		return err
	}
	if answer.Err != nil {
		return answer.Err
	}
	for range 500 {
		if l.leaders(name) == partitions {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("no leaders of %s", name)
}

func (l *library) leaders(topic string) (count int) {
	meta, err := l.admin.Metadata(bg, topic)
	if err != nil {
		return 0
	}
	for _, part := range meta.Topics[topic].Partitions {
		if part.Err == nil && part.Leader >= 0 {
			count++
		}
	}
	return count
}

type producer struct{ client *kgo.Client }

func (p producer) Send(topic string, rec gosuite.Rec, done func(error, int64)) {
	record := &kgo.Record{Topic: topic, Partition: rec.Partition, Timestamp: time.UnixMilli(rec.Time), Key: rec.Key,
		Value: rec.Value}
	for _, header := range rec.Headers {
		record.Headers = append(record.Headers, kgo.RecordHeader{Key: header.Key, Value: header.Value})
	}
	p.client.Produce(bg, record, func(record *kgo.Record, err error) { done(err, record.Offset) })
}

func (p producer) Close() {
	p.client.Flush(bg)
	p.client.Close()
}

func (l *library) DefaultProducer() (gosuite.Producer, error) {
	client, err := l.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	return producer{client}, err
}

func (l *library) Producer(codec, acks string, idempotent bool) (gosuite.Producer, error) {
	codecs := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(),
		"snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
	required := map[string]kgo.Acks{"0": kgo.NoAck(), "1": kgo.LeaderAck(), "all": kgo.AllISRAcks()}
	options := []kgo.Opt{kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(codecs[codec]),
		kgo.RequiredAcks(required[acks]), kgo.ProducerBatchMaxBytes(4000000)}
	if !idempotent {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	client, err := l.client(options...)
	return producer{client}, err
}

type reader struct{ client *kgo.Client }

func convert(record *kgo.Record) gosuite.Rec {
	rec := gosuite.Rec{Partition: record.Partition, Offset: record.Offset, Time: record.Timestamp.UnixMilli(),
		Key: record.Key, Value: record.Value}
	for _, header := range record.Headers {
		rec.Headers = append(rec.Headers, gosuite.Header{Key: header.Key, Value: header.Value})
	}
	return rec
}

func (r reader) Poll(wait time.Duration) (recs []gosuite.Rec, err error) {
	ctx, cancel := context.WithTimeout(bg, wait)
	defer cancel()
	fetches := r.client.PollFetches(ctx)
	fetches.EachError(func(topic string, part int32, failed error) {
		if !errors.Is(failed, context.DeadlineExceeded) {
			err = fmt.Errorf("fetch %s %d: %w", topic, part, failed)
		}
	})
	fetches.EachRecord(func(record *kgo.Record) { recs = append(recs, convert(record)) })
	return recs, err
}

func (r reader) Close() { r.client.Close() }

func (l *library) Reader(topic string, partitions int) (gosuite.Reader, error) {
	offsets := map[int32]kgo.Offset{}
	for part := range int32(partitions) {
		offsets[part] = kgo.NewOffset().At(0)
	}
	client, err := l.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: offsets}))
	return reader{client}, err
}

type member struct {
	client *kgo.Client
	stop   context.CancelFunc
	ended  chan struct{}
}

func (l *library) Member(topic, group, strategy string, watch *gosuite.Watch) (gosuite.Member, error) {
	balancer := kgo.RangeBalancer()
	if strategy == "cooperative-sticky" {
		balancer = kgo.CooperativeStickyBalancer()
	}
	gone := func(_ context.Context, _ *kgo.Client, parts map[string][]int32) { watch.Revoked(parts[topic]) }
	client, err := l.client(kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.Balancers(balancer),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(time.Second),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
			watch.Assigned(parts[topic])
		}),
		kgo.OnPartitionsLost(gone),
		kgo.OnPartitionsRevoked(func(ctx context.Context, client *kgo.Client, parts map[string][]int32) {
			if err := client.CommitUncommittedOffsets(ctx); err != nil {
				fmt.Println("commit:", err)
			}
			gone(ctx, client, parts)
		}))
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(bg)
	m := &member{client, stop, make(chan struct{})}
	go func() {
		defer close(m.ended)
		committed := time.Now()
		for ctx.Err() == nil {
			short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			fetches := client.PollFetches(short)
			cancel()
			fetches.EachRecord(func(record *kgo.Record) { watch.Saw(convert(record)) })
			client.AllowRebalance()
			if time.Since(committed) > time.Second {
				committed = time.Now()
				short, cancel := context.WithTimeout(ctx, 10*time.Second)
				if err := client.CommitUncommittedOffsets(short); err != nil {
					fmt.Println("commit:", err)
				}
				cancel()
			}
		}
	}()
	return m, nil
}

func (m *member) Close() {
	m.stop()
	<-m.ended
	if err := m.client.CommitUncommittedOffsets(bg); err != nil {
		fmt.Println("commit:", err)
	}
	m.client.CloseAllowingRebalance()
}

func (l *library) Commit(group, topic string, offsets map[int32]int64) error {
	all := kadm.Offsets{}
	for part, offset := range offsets {
		all.AddOffset(topic, part, offset, -1)
	}
	return l.admin.CommitAllOffsets(bg, group, all)
}

func (l *library) Committed(group, topic string, partitions int) (map[int32]int64, error) {
	answer, err := l.admin.FetchOffsets(bg, group)
	if err != nil {
		return nil, err
	}
	found := map[int32]int64{}
	for part, offset := range answer[topic] {
		if offset.Err != nil {
			return nil, offset.Err
		}
		found[part] = offset.At
	}
	return found, nil
}

// Admin cases.

func (l *library) Admin(s *gosuite.Suite) {
	s.Case("admin/cluster", func() { l.cluster(s) })
	s.Case("admin/topics", func() { l.topics(s) })
	s.Case("admin/offsets", func() { l.offsets(s) })
	s.Case("admin/groups", func() { l.groups(s) })
}

func (l *library) cluster(s *gosuite.Suite) {
	meta, err := l.admin.BrokerMetadata(bg)
	gosuite.OK(err, "metadata")
	gosuite.Check(meta.Cluster != "", "no cluster id")
	gosuite.Check(slices.ContainsFunc(meta.Brokers, func(broker kadm.BrokerDetail) bool {
		return fmt.Sprintf("%s:%d", broker.Host, broker.Port) == s.Bootstrap
	}), "the broker is not listed")
	versions, err := l.admin.ApiVersions(bg)
	gosuite.OK(err, "API versions")
	for _, broker := range versions {
		gosuite.OK(broker.Err, "API versions")
	}
}

func (l *library) topics(s *gosuite.Suite) {
	name := s.Topic(l, "admin", 3)
	listed, err := l.admin.ListTopics(bg)
	gosuite.OK(err, "list topics")
	gosuite.Check(listed.Has(name), "the topic is not listed")
	gosuite.Check(listed[name].ID != kadm.TopicID{}, "the topic has no id")
	config := func() map[string]string {
		answer, err := l.admin.DescribeTopicConfigs(bg, name)
		gosuite.OK(err, "describe configs")
		one, err := answer.On(name, nil)
		gosuite.OK(err, "describe configs")
		gosuite.OK(one.Err, "describe configs")
		found := map[string]string{}
		for _, entry := range one.Configs {
			found[entry.Key] = entry.MaybeValue()
		}
		return found
	}
	for _, key := range []string{"cleanup.policy", "retention.ms", "max.message.bytes"} {
		_, ok := config()[key]
		gosuite.Check(ok, "no config %s", key)
	}
	value := "86400000"
	change := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &value}}
	_, err = l.admin.AlterTopicConfigs(bg, change, name)
	gosuite.OK(err, "alter configs")
	gosuite.Wait(10*time.Second, "the changed config", func() bool { return config()["retention.ms"] == value })
	more, err := l.admin.CreatePartitions(bg, 2, name)
	gosuite.OK(err, "create partitions")
	gosuite.OK(more.Error(), "create partitions")
	gosuite.Wait(15*time.Second, "five partitions", func() bool { return l.leaders(name) == 5 })
	err = l.CreateTopic(name, 3)
	gosuite.Check(errors.Is(err, kerr.TopicAlreadyExists), "creating it again: %v", err)
	deleted, err := l.admin.DeleteTopic(bg, name)
	gosuite.OK(err, "delete topic")
	gosuite.OK(deleted.Err, "delete topic")
	gosuite.Wait(15*time.Second, "the topic is still listed", func() bool {
		listed, err := l.admin.ListTopics(bg)
		return err == nil && !listed.Has(name)
	})
	deleted, err = l.admin.DeleteTopic(bg, "no-such-topic")
	gosuite.Check(errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(deleted.Err, kerr.UnknownTopicOrPartition),
		"deleting an unknown topic: %v %v", err, deleted.Err)
}

func (l *library) offsets(s *gosuite.Suite) {
	topic := s.Topic(l, "offsets", 3)
	gosuite.Numbers(l, topic, 0, 90, 3)
	ask := func(what string, wanted [3]int64, list func(context.Context, ...string) (kadm.ListedOffsets, error)) {
		answer, err := list(bg, topic)
		gosuite.OK(err, what)
		var found [3]int64
		for part, offset := range answer[topic] {
			gosuite.OK(offset.Err, what)
			found[part] = offset.Offset
		}
		gosuite.Equal(found, wanted, what)
	}
	ask("earliest", [3]int64{}, l.admin.ListStartOffsets)
	ask("latest", [3]int64{30, 30, 30}, l.admin.ListEndOffsets)
	ask("max timestamp", [3]int64{29, 29, 29}, l.admin.ListMaxTimestampOffsets)
	ask("by timestamp", [3]int64{11, 10, 10}, func(ctx context.Context, topics ...string) (kadm.ListedOffsets, error) {
		return l.admin.ListOffsetsAfterMilli(ctx, gosuite.BaseTime+31, topics...)
	})
	before := kadm.Offsets{}
	before.AddOffset(topic, 0, 7, -1)
	answer, err := l.admin.DeleteRecords(bg, before)
	gosuite.OK(err, "delete records")
	gosuite.OK(answer.Error(), "delete records")
	ask("earliest after deletion", [3]int64{7, 0, 0}, l.admin.ListStartOffsets)
}

func (l *library) groups(s *gosuite.Suite) {
	topic, group := s.Topic(l, "groups", 3), gosuite.Unique("group")
	gosuite.Numbers(l, topic, 0, 30, 3)
	member, watch := gosuite.Join(l, topic, group, "range")
	gosuite.AwaitNumbers(30, watch)
	listed := func() bool {
		all, err := l.admin.ListGroups(bg)
		gosuite.OK(err, "list groups")
		_, ok := all[group]
		return ok
	}
	describe := func() kadm.DescribedGroup {
		all, err := l.admin.DescribeGroups(bg, group)
		gosuite.OK(err, "describe group")
		return all[group]
	}
	gosuite.Check(listed(), "the group is not listed")
	gosuite.Equal(describe().State, "Stable", "group state")
	gosuite.Equal(len(describe().Members), 1, "members")
	described := describe()
	gosuite.Equal(described.AssignedPartitions().Sorted()[0].Partitions, []int32{0, 1, 2}, "assignment described")
	_, err := l.admin.DeleteGroup(bg, group)
	gosuite.Check(errors.Is(err, kerr.NonEmptyGroup), "deleting a live group: %v", err)
	member.Close()
	found, err := l.Committed(group, topic, 3)
	gosuite.OK(err, "offset fetch")
	gosuite.Equal(found, map[int32]int64{0: 10, 1: 10, 2: 10}, "offsets of the group")
	gosuite.Equal(describe().State, "Empty", "state of the closed group")
	lags, err := l.admin.Lag(bg, group)
	gosuite.OK(err, "lag")
	gosuite.Equal(lags[group].Lag.Total(), 0, "lag")
	_, err = l.admin.DeleteGroup(bg, group)
	gosuite.OK(err, "delete group")
	gosuite.Check(!listed(), "the deleted group is still listed")
	_, err = l.admin.DeleteGroup(bg, group)
	gosuite.Check(errors.Is(err, kerr.GroupIDNotFound), "deleting it again: %v", err)
}
