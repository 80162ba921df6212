// Many consumers of one group in one process, all of them restarted one after the other.
package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"kafscale/clients/gosuite"
)

const (
	longestRebalance = 3 * time.Second
	// Partitions for each member.
	share          = 2
	sessionTimeout = 10 * time.Second
)

var bg = context.Background()

func main() {
	suite := gosuite.Begin("rolling")
	members, heartbeat := 200, 500*time.Millisecond
	if suite.Quick {
		members, heartbeat = 50, 250*time.Millisecond
	}
	for _, strategy := range []struct {
		name     string
		balancer kgo.GroupBalancer
	}{{"eager", kgo.RangeBalancer()}, {"cooperative-sticky", kgo.CooperativeStickyBalancer()}} {
		suite.Case("rolling/"+strategy.name, func() {
			g := &group{bootstrap: suite.Bootstrap, topic: gosuite.Unique("rolling"), name: gosuite.Unique("group"),
				balancer: strategy.balancer, heartbeat: heartbeat, partitions: members * share,
				owners: map[int32]*member{}, rebalances: map[int32]*rebalance{}, seen: map[string]bool{}}
			g.run(members)
		})
	}
	suite.End()
}

// What the callbacks of all members tell.
type group struct {
	bootstrap, topic, name string
	balancer               kgo.GroupBalancer
	heartbeat              time.Duration
	partitions             int

	mu         sync.Mutex
	owners     map[int32]*member
	rebalances map[int32]*rebalance // by generation
	seen       map[string]bool
	wrong      []string
}

// From the first member's JoinGroup to the moment at which the last one has its assignment.
type rebalance struct {
	begun, ended time.Time
	members      int
}

type member struct {
	group   *group
	number  int
	client  *kgo.Client
	stop    context.CancelFunc
	ended   chan struct{}
	joining time.Time // under the group's lock; zero outside of a rebalance
}

func (g *group) fault(format string, args ...any) {
	g.wrong = append(g.wrong, fmt.Sprintf(format, args...))
}

// OnBrokerWrite sees the member's JoinGroup go out: from there on it waits for its assignment.
func (m *member) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	if key != 11 {
		return
	}
	m.group.mu.Lock()
	defer m.group.mu.Unlock()
	if m.joining.IsZero() {
		m.joining = time.Now()
	}
}

// OnGroupManageError tells of a member that was thrown out or cannot go on.
func (m *member) OnGroupManageError(err error) {
	m.group.mu.Lock()
	defer m.group.mu.Unlock()
	m.group.fault("member %d: %v", m.number, err)
}

func (m *member) assigned(client *kgo.Client, parts []int32) {
	_, generation := client.GroupMetadata()
	g, now := m.group, time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, part := range parts {
		if owner := g.owners[part]; owner != nil && owner != m {
			g.fault("generation %d: partition %d is of member %d and of member %d", generation, part, owner.number, m.number)
		}
		g.owners[part] = m
	}
	at := g.rebalances[generation]
	if at == nil {
		at = &rebalance{begun: m.joining}
		g.rebalances[generation] = at
	}
	if m.joining.Before(at.begun) {
		at.begun = m.joining
	}
	at.ended = now
	at.members++
	m.joining = time.Time{}
}

func (m *member) gone(parts []int32) {
	g := m.group
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, part := range parts {
		if g.owners[part] == m {
			delete(g.owners, part)
		} else {
			g.fault("member %d gives up partition %d, which it does not own", m.number, part)
		}
	}
}

func (g *group) join(number int) *member {
	m := &member{group: g, number: number, ended: make(chan struct{})}
	gone := func(ctx context.Context, client *kgo.Client, parts map[string][]int32) { m.gone(parts[g.topic]) }
	client, err := kgo.NewClient(kgo.SeedBrokers(g.bootstrap), kgo.ConsumerGroup(g.name), kgo.ConsumeTopics(g.topic),
		kgo.Balancers(g.balancer), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(),
		kgo.HeartbeatInterval(g.heartbeat), kgo.SessionTimeout(sessionTimeout), kgo.WithHooks(m),
		kgo.OnPartitionsAssigned(func(_ context.Context, client *kgo.Client, parts map[string][]int32) {
			m.assigned(client, parts[g.topic])
		}),
		kgo.OnPartitionsRevoked(gone), kgo.OnPartitionsLost(gone))
	gosuite.OK(err, "client")
	ctx, stop := context.WithCancel(bg)
	m.client, m.stop = client, stop
	go func() {
		defer close(m.ended)
		for ctx.Err() == nil {
			client.PollFetches(ctx).EachRecord(func(record *kgo.Record) {
				g.mu.Lock()
				g.seen[string(record.Value)] = true
				g.mu.Unlock()
			})
		}
	}()
	return m
}

func (m *member) close() {
	m.stop()
	<-m.ended
	m.client.Close()
}

func (g *group) check() {
	g.mu.Lock()
	defer g.mu.Unlock()
	gosuite.Check(len(g.wrong) == 0, "%d faults, the first: %s", len(g.wrong), slices.Concat(g.wrong, []string{""})[0])
}

// whole waits until every partition has an owner, every member its share, and none waits for an assignment.
func (g *group) whole(members []*member) {
	gosuite.Wait(60*time.Second, "every partition has an owner and every member its share", func() bool {
		g.check()
		g.mu.Lock()
		defer g.mu.Unlock()
		held := map[*member]int{}
		for _, owner := range g.owners {
			held[owner]++
		}
		for _, m := range members {
			if held[m] != share || !m.joining.IsZero() {
				return false
			}
		}
		return len(g.owners) == g.partitions
	})
}

func (g *group) report(what string) (longest time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all time.Duration
	for _, at := range g.rebalances {
		all += at.ended.Sub(at.begun)
		longest = max(longest, at.ended.Sub(at.begun))
	}
	fmt.Printf("%s: %d rebalances, the longest %.2f s, %.2f s on average\n", what, len(g.rebalances), longest.Seconds(),
		(all / time.Duration(max(1, len(g.rebalances)))).Seconds())
	return longest
}

func (g *group) produce(tag string) {
	client, err := kgo.NewClient(kgo.SeedBrokers(g.bootstrap), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	gosuite.OK(err, "client")
	defer client.Close()
	var records []*kgo.Record
	for part := range g.partitions {
		records = append(records, &kgo.Record{Topic: g.topic, Partition: int32(part), Value: fmt.Appendf(nil, "%s %d", tag, part)})
	}
	gosuite.OK(client.ProduceSync(bg, records...).FirstErr(), "produce")
	gosuite.Wait(30*time.Second, "a record of each partition", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		for part := range g.partitions {
			if !g.seen[fmt.Sprintf("%s %d", tag, part)] {
				return false
			}
		}
		return true
	})
}

func (g *group) run(count int) {
	client, err := kgo.NewClient(kgo.SeedBrokers(g.bootstrap))
	gosuite.OK(err, "client")
	defer client.Close()
	admin := kadm.NewClient(client)
	answer, err := admin.CreateTopic(bg, int32(g.partitions), 1, nil, g.topic)
	gosuite.OK(err, "create topic")
	gosuite.OK(answer.Err, "create topic")
	var members []*member
	for number := range count {
		members = append(members, g.join(number))
	}
	defer func() {
		var all sync.WaitGroup
		for _, m := range members {
			all.Go(m.close)
		}
		all.Wait()
	}()
	g.whole(members)
	joined := g.report("start")
	g.produce("before")
	g.mu.Lock()
	g.rebalances = map[int32]*rebalance{}
	g.mu.Unlock()
	begun := time.Now()
	for index := range members {
		members[index].close()
		members[index] = g.join(count + index)
		g.whole(members)
	}
	longest := g.report("restart")
	fmt.Printf("%d members restarted in %.1f s\n", count, time.Since(begun).Seconds())
	g.produce("after")
	g.check()
	gosuite.Check(max(joined, longest) < longestRebalance, "a rebalance took %.2f s", max(joined, longest).Seconds())
}
