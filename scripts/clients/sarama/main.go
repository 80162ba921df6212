// Sarama against a broker.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"kafscale/clients/gosuite"
)

type library struct {
	bootstrap string
	client    sarama.Client
	admin     sarama.ClusterAdmin
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "--security" {
		gosuite.Security(os.Args[2], securely, aboutWhat)
	}
	// This library has no cooperative strategy.
	gosuite.Main("sarama", []string{"sticky"}, func(bootstrap string) (gosuite.Library, error) {
		l := &library{bootstrap: bootstrap}
		var err error
		if l.client, err = sarama.NewClient([]string{bootstrap}, config()); err != nil {
			return nil, err
		}
		l.admin, err = sarama.NewClusterAdminFromClient(l.client)
		return l, err
	})
}

func config() *sarama.Config {
	conf := sarama.NewConfig()
	conf.Version = sarama.MaxVersion
	conf.Producer.Partitioner = sarama.NewManualPartitioner
	conf.Producer.Return.Successes = true
	conf.Producer.Return.Errors = true
	conf.Producer.MaxMessageBytes = 4000000
	// The defaults (3 tries, 100 or 250 ms apart) give up long before a broker is back.
	conf.Producer.Retry.Max = 300
	conf.Metadata.Retry.Max = 300
	conf.Admin.Retry.Max = 100
	return conf
}

func (l *library) CreateTopic(name string, partitions int) error {
	err := l.admin.CreateTopic(name, &sarama.TopicDetail{NumPartitions: int32(partitions), ReplicationFactor: 1}, false)
	if err != nil {
		return err
	}
	for range 500 {
		if l.leaders(name) == partitions && l.answers(name, partitions) {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("no leaders of %s", name)
}

func (l *library) leaders(topic string) (count int) {
	found, err := l.admin.DescribeTopics([]string{topic})
	if err != nil || len(found) != 1 || found[0].Err != sarama.ErrNoError {
		return 0
	}
	for _, part := range found[0].Partitions {
		if part.Err == sarama.ErrNoError && part.Leader >= 0 {
			count++
		}
	}
	return count
}

// answers tells whether the leaders answer: Apache Kafka names a leader a moment before that, and this library's
// consumer does not try again.
func (l *library) answers(topic string, partitions int) bool {
	if err := l.client.RefreshMetadata(topic); err != nil {
		return false
	}
	for part := range int32(partitions) {
		if _, err := l.client.GetOffset(topic, part, sarama.OffsetOldest); err != nil {
			return false
		}
	}
	return true
}

type producer struct {
	inner   sarama.AsyncProducer
	pending sync.WaitGroup
	done    sync.WaitGroup
}

func start(bootstrap string, conf *sarama.Config) (gosuite.Producer, error) {
	inner, err := sarama.NewAsyncProducer([]string{bootstrap}, conf)
	if err != nil {
		return nil, err
	}
	p := &producer{inner: inner}
	known := conf.Producer.RequiredAcks != sarama.NoResponse
	p.done.Add(2)
	go func() {
		defer p.done.Done()
		for message := range inner.Successes() {
			offset := int64(-1)
			if known {
				offset = message.Offset
			}
			message.Metadata.(func(error, int64))(nil, offset)
			p.pending.Done()
		}
	}()
	go func() {
		defer p.done.Done()
		for failed := range inner.Errors() {
			failed.Msg.Metadata.(func(error, int64))(failed.Err, -1)
			p.pending.Done()
		}
	}()
	return p, nil
}

// bytesOrNull keeps null apart from empty: a nil Encoder is null.
func bytesOrNull(data []byte) sarama.Encoder {
	if data == nil {
		return nil
	}
	return sarama.ByteEncoder(data)
}

func (p *producer) Send(topic string, rec gosuite.Rec, done func(error, int64)) {
	message := &sarama.ProducerMessage{Topic: topic, Partition: rec.Partition, Timestamp: time.UnixMilli(rec.Time),
		Key: bytesOrNull(rec.Key), Value: bytesOrNull(rec.Value), Metadata: done}
	for _, header := range rec.Headers {
		message.Headers = append(message.Headers, sarama.RecordHeader{Key: []byte(header.Key), Value: header.Value})
	}
	p.pending.Add(1)
	p.inner.Input() <- message
}

// Close waits for every report first: a closing producer fails what it would otherwise send again.
func (p *producer) Close() {
	p.pending.Wait()
	p.inner.AsyncClose()
	p.done.Wait()
}

func idempotent(conf *sarama.Config) *sarama.Config {
	conf.Producer.Idempotent = true
	conf.Producer.RequiredAcks = sarama.WaitForAll
	conf.Net.MaxOpenRequests = 1
	return conf
}

func (l *library) DefaultProducer() (gosuite.Producer, error) {
	return start(l.bootstrap, idempotent(config()))
}

func (l *library) Producer(codec, acks string, exact bool) (gosuite.Producer, error) {
	conf := config()
	conf.Producer.Compression = map[string]sarama.CompressionCodec{"none": sarama.CompressionNone,
		"gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy, "lz4": sarama.CompressionLZ4,
		"zstd": sarama.CompressionZSTD}[codec]
	conf.Producer.RequiredAcks = map[string]sarama.RequiredAcks{"0": sarama.NoResponse, "1": sarama.WaitForLocal,
		"all": sarama.WaitForAll}[acks]
	if exact {
		conf = idempotent(conf)
	}
	return start(l.bootstrap, conf)
}

type reader struct {
	consumer sarama.Consumer
	parts    []sarama.PartitionConsumer
	records  chan *sarama.ConsumerMessage
	failures chan error
	done     sync.WaitGroup
	closing  chan struct{}
}

func convert(message *sarama.ConsumerMessage) gosuite.Rec {
	rec := gosuite.Rec{Partition: message.Partition, Offset: message.Offset, Time: message.Timestamp.UnixMilli(),
		Key: message.Key, Value: message.Value}
	for _, header := range message.Headers {
		rec.Headers = append(rec.Headers, gosuite.Header{Key: string(header.Key), Value: header.Value})
	}
	return rec
}

func (l *library) Reader(topic string, partitions int) (gosuite.Reader, error) {
	conf := config()
	conf.Consumer.Return.Errors = true
	consumer, err := sarama.NewConsumer([]string{l.bootstrap}, conf)
	if err != nil {
		return nil, err
	}
	r := &reader{consumer: consumer, records: make(chan *sarama.ConsumerMessage, 100), failures: make(chan error, 100),
		closing: make(chan struct{})}
	for part := range int32(partitions) {
		one, err := consumer.ConsumePartition(topic, part, 0)
		if err != nil {
			return nil, err
		}
		r.parts = append(r.parts, one)
		r.done.Add(1)
		go func() {
			defer r.done.Done()
			for {
				select {
				case message, ok := <-one.Messages():
					if !ok {
						return
					}
					select {
					case r.records <- message:
					case <-r.closing:
						return
					}
				case failed, ok := <-one.Errors():
					if ok {
						r.failures <- failed
					}
				case <-r.closing:
					return
				}
			}
		}()
	}
	return r, nil
}

func (r *reader) Poll(wait time.Duration) (recs []gosuite.Rec, err error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case message := <-r.records:
			recs = append(recs, convert(message))
			if len(recs) == 500 {
				return recs, nil
			}
		case err := <-r.failures:
			return recs, err
		case <-timer.C:
			return recs, nil
		}
	}
}

func (r *reader) Close() {
	close(r.closing)
	r.done.Wait()
	for _, part := range r.parts {
		part.AsyncClose()
	}
	for _, part := range r.parts {
		for range part.Messages() {
		}
		for range part.Errors() {
		}
	}
	r.consumer.Close()
}

type member struct {
	group sarama.ConsumerGroup
	stop  context.CancelFunc
	ended chan struct{}
	watch *gosuite.Watch
	topic string
}

func (m *member) Setup(session sarama.ConsumerGroupSession) error {
	m.watch.Assigned(session.Claims()[m.topic])
	return nil
}

func (m *member) Cleanup(session sarama.ConsumerGroupSession) error {
	m.watch.Revoked(session.Claims()[m.topic])
	return nil
}

func (m *member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, ok := <-claim.Messages():
			if !ok {
				return nil
			}
			m.watch.Saw(convert(message))
			session.MarkMessage(message, "")
		case <-session.Context().Done():
			return nil
		}
	}
}

func (l *library) Member(topic, group, strategy string, watch *gosuite.Watch) (gosuite.Member, error) {
	conf := config()
	conf.Consumer.Offsets.Initial = sarama.OffsetOldest
	conf.Consumer.Group.Session.Timeout = 6 * time.Second
	conf.Consumer.Group.Heartbeat.Interval = time.Second
	balance := sarama.NewBalanceStrategyRange()
	if strategy == "sticky" {
		balance = sarama.NewBalanceStrategySticky()
	}
	conf.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{balance}
	consumer, err := sarama.NewConsumerGroup([]string{l.bootstrap}, group, conf)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	m := &member{consumer, stop, make(chan struct{}), watch, topic}
	go func() {
		defer close(m.ended)
		for ctx.Err() == nil {
			if err := consumer.Consume(ctx, []string{topic}, m); err != nil && ctx.Err() == nil {
				// A broker that is being restarted: join again.
				fmt.Println("consume:", err)
				time.Sleep(200 * time.Millisecond)
			}
		}
	}()
	return m, nil
}

func (m *member) Close() {
	m.stop()
	<-m.ended
	gosuite.OK(m.group.Close(), "close of a consumer")
}

func (l *library) Commit(group, topic string, offsets map[int32]int64) error {
	manager, err := sarama.NewOffsetManagerFromClient(group, l.client)
	if err != nil {
		return err
	}
	var parts []sarama.PartitionOffsetManager
	for part, offset := range offsets {
		one, err := manager.ManagePartition(topic, part)
		if err != nil {
			return err
		}
		one.MarkOffset(offset, "noted")
		parts = append(parts, one)
	}
	manager.Commit()
	for _, part := range parts {
		if err := part.Close(); err != nil {
			return err
		}
	}
	return manager.Close()
}

func (l *library) Committed(group, topic string, partitions int) (map[int32]int64, error) {
	var parts []int32
	for part := range int32(partitions) {
		parts = append(parts, part)
	}
	answer, err := l.admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: parts})
	if err != nil {
		return nil, err
	}
	if answer.Err != sarama.ErrNoError {
		return nil, answer.Err
	}
	found := map[int32]int64{}
	for part, block := range answer.Blocks[topic] {
		if block.Err != sarama.ErrNoError {
			return nil, block.Err
		}
		found[part] = block.Offset
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
	brokers, _, err := l.admin.DescribeCluster()
	gosuite.OK(err, "describe cluster")
	gosuite.Check(slices.ContainsFunc(brokers, func(b *sarama.Broker) bool { return b.Addr() == s.Bootstrap }),
		"the broker is not listed")
}

func (l *library) topics(s *gosuite.Suite) {
	name := s.Topic(l, "admin", 3)
	listed := func() bool {
		all, err := l.admin.ListTopics()
		gosuite.OK(err, "list topics")
		_, ok := all[name]
		return ok
	}
	gosuite.Check(listed(), "the topic is not listed")
	config := func() map[string]string {
		entries, err := l.admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: name})
		gosuite.OK(err, "describe configs")
		found := map[string]string{}
		for _, entry := range entries {
			found[entry.Name] = entry.Value
		}
		return found
	}
	for _, key := range []string{"cleanup.policy", "retention.ms", "max.message.bytes"} {
		_, ok := config()[key]
		gosuite.Check(ok, "no config %s", key)
	}
	value := "86400000"
	gosuite.OK(l.admin.IncrementalAlterConfig(sarama.TopicResource, name, map[string]sarama.IncrementalAlterConfigsEntry{
		"retention.ms": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value}}, false), "alter configs")
	gosuite.Wait(10*time.Second, "the changed config", func() bool { return config()["retention.ms"] == value })
	gosuite.OK(l.admin.CreatePartitions(name, 5, nil, false), "create partitions")
	gosuite.Wait(15*time.Second, "five partitions", func() bool { return l.leaders(name) == 5 })
	err := l.CreateTopic(name, 3)
	gosuite.Check(errors.Is(err, sarama.ErrTopicAlreadyExists), "creating it again: %v", err)
	gosuite.OK(l.admin.DeleteTopic(name), "delete topic")
	gosuite.Wait(15*time.Second, "the topic is still listed", func() bool { return !listed() })
	err = l.admin.DeleteTopic("no-such-topic")
	gosuite.Check(errors.Is(err, sarama.ErrUnknownTopicOrPartition), "deleting an unknown topic: %v", err)
}

func (l *library) offsets(s *gosuite.Suite) {
	topic := s.Topic(l, "offsets", 3)
	gosuite.Numbers(l, topic, 0, 90, 3)
	ask := func(what string, when int64, wanted [3]int64) {
		var found [3]int64
		for part := range int32(3) {
			offset, err := l.client.GetOffset(topic, part, when)
			gosuite.OK(err, what)
			found[part] = offset
		}
		gosuite.Equal(found, wanted, what)
	}
	ask("earliest", sarama.OffsetOldest, [3]int64{})
	ask("latest", sarama.OffsetNewest, [3]int64{30, 30, 30})
	ask("by timestamp", gosuite.BaseTime+31, [3]int64{11, 10, 10})
	gosuite.OK(l.admin.DeleteRecords(topic, map[int32]int64{0: 7}), "delete records")
	ask("earliest after deletion", sarama.OffsetOldest, [3]int64{7, 0, 0})
}

func (l *library) groups(s *gosuite.Suite) {
	topic, group := s.Topic(l, "groups", 3), gosuite.Unique("group")
	gosuite.Numbers(l, topic, 0, 30, 3)
	member, watch := gosuite.Join(l, topic, group, "range")
	gosuite.AwaitNumbers(30, watch)
	listed := func() bool {
		all, err := l.admin.ListConsumerGroups()
		gosuite.OK(err, "list groups")
		_, ok := all[group]
		return ok
	}
	describe := func() *sarama.GroupDescription {
		all, err := l.admin.DescribeConsumerGroups([]string{group})
		gosuite.OK(err, "describe group")
		gosuite.Equal(len(all), 1, "groups described")
		return all[0]
	}
	gosuite.Check(listed(), "the group is not listed")
	gosuite.Equal(describe().State, "Stable", "group state")
	gosuite.Equal(len(describe().Members), 1, "members")
	err := l.admin.DeleteConsumerGroup(group)
	gosuite.Check(errors.Is(err, sarama.ErrNonEmptyGroup), "deleting a live group: %v", err)
	member.Close()
	found, err := l.Committed(group, topic, 3)
	gosuite.OK(err, "offset fetch")
	gosuite.Equal(found, map[int32]int64{0: 10, 1: 10, 2: 10}, "offsets of the group")
	gosuite.Equal(describe().State, "Empty", "state of the closed group")
	gosuite.OK(l.admin.DeleteConsumerGroup(group), "delete group")
	gosuite.Check(!listed(), "the deleted group is still listed")
	err = l.admin.DeleteConsumerGroup(group)
	gosuite.Check(errors.Is(err, sarama.ErrGroupIDNotFound), "deleting it again: %v", err)
}
