// Package gosuite is what the Go suites share: cases, test records, waiting, restarting and the cases that every
// library runs. It is what common/harness.py is for the Python suites.
package gosuite

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	mrand "math/rand"
	"os"
	"os/exec"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// BaseTime is now, not a date in the past: a broker may delete what is older than its retention.
var BaseTime = time.Now().Unix() * 1000

// Header is one record header; Value may be nil.
type Header struct {
	Key   string
	Value []byte
}

// Rec is a record to produce, or a consumed one (then Offset counts).
type Rec struct {
	Partition int32
	Offset    int64
	Time      int64
	Key       []byte
	Value     []byte
	Headers   []Header
}

// Producer sends to explicit partitions and calls done for every record; offset is -1 where it is unknown.
type Producer interface {
	Send(topic string, rec Rec, done func(err error, offset int64))
	Close()
}

// Reader reads all partitions of a topic from the beginning.
type Reader interface {
	Poll(wait time.Duration) ([]Rec, error)
	Close()
}

// Member is a consumer in a group that runs by itself and tells Watch what it sees. Close commits and leaves.
type Member interface{ Close() }

// Watch is what a group member has seen.
type Watch struct {
	mu       sync.Mutex
	assigned map[int32]bool
	revoked  []int
	events   int
	recs     []Rec
	err      error
}

// Assigned, Revoked, Saw and Failed are called by a member.
func (w *Watch) Assigned(parts []int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, part := range parts {
		w.assigned[part] = true
	}
	w.events++
}

// Revoked tells of partitions given up or lost.
func (w *Watch) Revoked(parts []int32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, part := range parts {
		delete(w.assigned, part)
	}
	if len(parts) > 0 {
		w.events++
		w.revoked = append(w.revoked, len(parts))
	}
}

// Saw adds a consumed record.
func (w *Watch) Saw(rec Rec) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.recs = append(w.recs, rec)
}

// Failed ends the member.
func (w *Watch) Failed(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}

func (w *Watch) snapshot() (assigned []int32, recs []Rec, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for part := range w.assigned {
		assigned = append(assigned, part)
	}
	slices.Sort(assigned)
	return assigned, slices.Clone(w.recs), w.err
}

// Library is a client library under test.
type Library interface {
	CreateTopic(name string, partitions int) error
	Producer(codec, acks string, idempotent bool) (Producer, error)
	DefaultProducer() (Producer, error) // idempotent, else as it comes
	Reader(topic string, partitions int) (Reader, error)
	Member(topic, group, strategy string, watch *Watch) (Member, error)
	Commit(group, topic string, offsets map[int32]int64) error
	Committed(group, topic string, partitions int) (map[int32]int64, error)
	Admin(suite *Suite)
}

// Suite runs cases.
type Suite struct {
	Name, Bootstrap, Only string
	Quick                 bool
	Strategies            []string
	Codecs                []string
	ran, failed           int
}

// Begin reads the arguments of a suite that has cases of its own only.
func Begin(name string) *Suite {
	suite := &Suite{Name: name}
	suite.arguments(nil)
	return suite
}

// End ends the program: with 1 if a case failed or none ran.
func (s *Suite) End() {
	if s.ran == 0 {
		fmt.Println("no case matches")
	}
	if s.failed > 0 || s.ran == 0 {
		os.Exit(1)
	}
	os.Exit(0)
}

func (s *Suite) arguments(member func(topic, group string) error) {
	args := os.Args[1:]
	if len(args) == 0 {
		fmt.Println("usage: suite host:port [--quick] [--case text]")
		os.Exit(2)
	}
	s.Bootstrap = args[0]
	for index := 1; index < len(args); index++ {
		switch args[index] {
		case "--quick":
			s.Quick = true
		case "--case":
			index++
			s.Only = args[index]
		case "--member":
			if member == nil || member(args[index+1], args[index+2]) != nil {
				os.Exit(1)
			}
			select {}
		default:
			fmt.Println("unknown argument", args[index])
			os.Exit(2)
		}
	}
}

// Main reads the arguments and runs everything; connect makes the library.
func Main(name string, strategies []string, connect func(bootstrap string) (Library, error)) {
	suite := &Suite{Name: name, Strategies: strategies, Codecs: []string{"none", "gzip", "snappy", "lz4", "zstd"}}
	suite.arguments(func(topic, group string) error {
		library, err := connect(suite.Bootstrap)
		if err == nil {
			_, err = library.Member(topic, group, "range", newWatch())
		}
		return err
	})
	library, err := connect(suite.Bootstrap)
	if err != nil {
		fmt.Println("FAIL connect 0s:", err)
		os.Exit(1)
	}
	suite.library(library)
	suite.End()
}

type failure struct{ text string }

// Check, Equal, OK and Wait end the case when something is not as it should be.
func Check(condition bool, format string, args ...any) {
	if !condition {
		panic(failure{fmt.Sprintf(format, args...)})
	}
}

// OK wants no error.
func OK(err error, what string) {
	if err != nil {
		panic(failure{what + ": " + err.Error()})
	}
}

// Equal compares the printed forms; of long number lists it shows the first difference.
func Equal(found, wanted any, what string) {
	if left, ok := found.([]int); ok {
		if right, ok := wanted.([]int); ok && !slices.Equal(left, right) {
			at := 0
			for at < min(len(left), len(right)) && left[at] == right[at] {
				at++
			}
			Check(false, "%s: %d found, %d wanted, the first difference at %d: found %v, wanted %v", what, len(left),
				len(right), at, left[at:min(at+5, len(left))], right[at:min(at+5, len(right))])
		}
	}
	left, right := fmt.Sprintf("%v", found), fmt.Sprintf("%v", wanted)
	if left != right {
		panic(failure{fmt.Sprintf("%s: found %.300s, wanted %.300s", what, left, right)})
	}
}

// Wait polls a condition.
func Wait(limit time.Duration, what string, condition func() bool) {
	for end := time.Now().Add(limit); !condition(); time.Sleep(20 * time.Millisecond) {
		Check(time.Now().Before(end), "not within %v: %s", limit, what)
	}
}

// Case runs one case and prints its line.
func (s *Suite) Case(name string, body func()) {
	if !strings.Contains(name, s.Only) {
		return
	}
	fmt.Println("RUN", name)
	s.ran++
	begun := time.Now()
	defer func() {
		caught := recover()
		seconds := time.Since(begun).Seconds()
		if caught == nil {
			fmt.Printf("ok %s %.2fs\n", name, seconds)
			return
		}
		s.failed++
		text := fmt.Sprint(caught)
		if known, ok := caught.(failure); ok {
			text = known.text
		} else {
			fmt.Fprintf(os.Stderr, "%s\n", debug.Stack())
		}
		fmt.Printf("FAIL %s %.2fs: %.600s\n", name, seconds, strings.Join(strings.Fields(text), " "))
	}()
	body()
}

// Unique makes a name.
func Unique(name string) string {
	var raw [4]byte
	rand.Read(raw[:])
	return name + "-" + hex.EncodeToString(raw[:])
}

// Topic makes a topic.
func (s *Suite) Topic(library Library, purpose string, partitions int) string {
	name := Unique(s.Name + "-" + purpose)
	OK(library.CreateTopic(name, partitions), "create topic")
	return name
}

func restart() error {
	command := os.Getenv("RESTART_CMD")
	if command == "" {
		return errors.New("RESTART_CMD is not set: run this through scripts/run-clients")
	}
	out, err := exec.Command("sh", "-c", command).CombinedOutput()
	fmt.Print(string(out))
	if err != nil {
		return fmt.Errorf("restart: %w: %s", err, out)
	}
	return nil
}

func records(seed int64, tag string, count int) []Rec {
	noise := mrand.New(mrand.NewSource(seed))
	all := make([]byte, 256)
	for index := range all {
		all[index] = byte(index)
	}
	headers := [][]Header{nil, {{"trace", []byte("abc")}}, {{"same", []byte{}}, {"same", nil}, {"bytes", all}}}
	var recs []Rec
	for index := range count {
		random := make([]byte, 1000)
		noise.Read(random)
		keys := [][]byte{nil, {}, []byte(fmt.Sprintf("key-%s-%d", tag, index)), {0, 255, byte(index)}}
		values := [][]byte{nil, {}, []byte(fmt.Sprintf("value-%s-%d", tag, index)),
			bytes.Repeat([]byte("again and again "), 640), random}
		value := values[index%5]
		if index == count/2 {
			value = make([]byte, 1<<20)
			noise.Read(value[:1<<19])
		}
		recs = append(recs, Rec{int32(index % 3), 0, BaseTime + int64(index), keys[index%4], value, headers[index%3]})
	}
	return recs
}

func same(found, wanted []byte) bool {
	return (found == nil) == (wanted == nil) && bytes.Equal(found, wanted)
}

func compare(found, wanted Rec) {
	at := fmt.Sprintf("partition %d offset %d: ", found.Partition, found.Offset)
	Equal(found.Time, wanted.Time, at+"timestamp")
	Check(same(found.Key, wanted.Key), "%skey: found %.60q (nil %v), wanted %.60q (nil %v)", at, found.Key,
		found.Key == nil, wanted.Key, wanted.Key == nil)
	Check(same(found.Value, wanted.Value), "%svalue: found %.60q (nil %v), wanted %.60q (nil %v)", at, found.Value,
		found.Value == nil, wanted.Value, wanted.Value == nil)
	Equal(len(found.Headers), len(wanted.Headers), at+"headers")
	for index, header := range found.Headers {
		Equal(header.Key, wanted.Headers[index].Key, at+"header name")
		Check(same(header.Value, wanted.Headers[index].Value), "%sheader %s: found %q (nil %v), wanted %q",
			at, header.Key, header.Value, header.Value == nil, wanted.Headers[index].Value)
	}
}

func newWatch() *Watch { return &Watch{assigned: map[int32]bool{}} }

func (s *Suite) library(library Library) {
	s.Case("topic", func() { s.Topic(library, "topic", 3) })
	s.codecs(library)
	s.Case("group/join-leave", func() { s.joinLeave(library) })
	s.Case("group/death", func() { s.death(library) })
	s.Case("group/resume", func() { s.resume(library) })
	for _, strategy := range s.Strategies {
		s.Case("group/"+strategy, func() { s.cooperative(library, strategy) })
	}
	library.Admin(s)
	s.Case("restart/idempotent", func() { s.restart(library) })
}

// One reader stays on through all codecs, so that its fetch session, if the library has them, is incremental.
func (s *Suite) codecs(library Library) {
	var topic string
	var reader Reader
	var wanted [3][]Rec
	var next [3]int
	readAll := func() {
		end := time.Now().Add(60 * time.Second)
		for next[0] < len(wanted[0]) || next[1] < len(wanted[1]) || next[2] < len(wanted[2]) {
			recs, err := reader.Poll(200 * time.Millisecond)
			OK(err, "read")
			for _, rec := range recs {
				part := rec.Partition
				Check(next[part] < len(wanted[part]), "partition %d: a record too many at %d", part, rec.Offset)
				Equal(rec.Offset, next[part], "offset")
				compare(rec, wanted[part][next[part]])
				next[part]++
			}
			Check(time.Now().Before(end), "records did not arrive within 60 s: %v", next)
		}
	}
	one := func(codec, acks string, idempotent bool) {
		done := false
		defer func() {
			if !done {
				topic = ""
			}
		}()
		if topic == "" {
			topic, wanted, next = s.Topic(library, "codecs", 3), [3][]Rec{}, [3]int{}
			var err error
			reader, err = library.Reader(topic, 3)
			OK(err, "reader")
		}
		producer, err := library.Producer(codec, acks, idempotent)
		OK(err, "producer")
		recs := records(int64(s.ran), codec+acks, 60)
		var mu sync.Mutex
		var failed error
		reports := 0
		for _, rec := range recs {
			wanted[rec.Partition] = append(wanted[rec.Partition], rec)
			producer.Send(topic, rec, func(err error, _ int64) {
				mu.Lock()
				defer mu.Unlock()
				reports++
				if err != nil && failed == nil {
					failed = err
				}
			})
		}
		producer.Close()
		OK(failed, "produce")
		Equal(reports, len(recs), "delivery reports")
		readAll()
		done = true
	}
	for _, codec := range s.Codecs {
		// acks=0 last: it may lose what a leader that has just been elected does not take yet.
		for _, acks := range []string{"all", "1", "0"} {
			s.Case("codec/"+codec+"/acks-"+acks, func() { one(codec, acks, false) })
		}
		s.Case("codec/"+codec+"/idempotent", func() { one(codec, "all", true) })
	}
	s.Case("codec/read-again", func() {
		Check(topic != "", "no topic: the codec cases failed")
		reader.Close()
		var err error
		reader, err = library.Reader(topic, 3)
		OK(err, "reader")
		next = [3]int{}
		readAll()
		reader.Close()
	})
}

// Numbers produces count numbered records, number n to partition n % partitions with timestamp BaseTime + n.
func Numbers(library Library, topic string, first, count, partitions int) {
	producer, err := library.Producer("none", "all", false)
	OK(err, "producer")
	var mu sync.Mutex
	var failed error
	for number := first; number < first+count; number++ {
		producer.Send(topic, Rec{Partition: int32(number % partitions), Time: BaseTime + int64(number),
			Value: []byte(strconv.Itoa(number))}, func(err error, _ int64) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = err
			}
		})
	}
	producer.Close()
	OK(failed, "produce")
}

// Join starts a member of a group.
func Join(library Library, topic, group, strategy string) (Member, *Watch) {
	watch := newWatch()
	member, err := library.Member(topic, group, strategy, watch)
	OK(err, "join")
	return member, watch
}

// AwaitSpread waits until all partitions are assigned, each to one member, evenly.
func AwaitSpread(partitions int, watches ...*Watch) {
	state := ""
	defer func() {
		if caught := recover(); caught != nil {
			panic(failure{fmt.Sprint(caught, " assignments", state)})
		}
	}()
	Wait(30*time.Second, "an even assignment", func() bool {
		all, sum, least, most := map[int32]bool{}, 0, math.MaxInt, 0
		state = ""
		for _, watch := range watches {
			assigned, _, err := watch.snapshot()
			OK(err, "member")
			for _, part := range assigned {
				all[part] = true
			}
			sum += len(assigned)
			least, most = min(least, len(assigned)), max(most, len(assigned))
			state += fmt.Sprint(" ", assigned)
		}
		return len(all) == partitions && sum == partitions && most-least <= 1
	})
}

func numbers(watches ...*Watch) []int {
	var found []int
	for _, watch := range watches {
		_, recs, err := watch.snapshot()
		OK(err, "member")
		for _, rec := range recs {
			number, err := strconv.Atoi(string(rec.Value))
			OK(err, "number")
			found = append(found, number)
		}
	}
	slices.Sort(found)
	return found
}

// AwaitNumbers waits for that many records in all.
func AwaitNumbers(count int, watches ...*Watch) {
	Wait(30*time.Second, fmt.Sprintf("%d records", count), func() bool { return len(numbers(watches...)) >= count })
}

func upTo(count int) []int {
	wanted := make([]int, count)
	for index := range wanted {
		wanted[index] = index
	}
	return wanted
}

func (s *Suite) joinLeave(library Library) {
	topic, group := s.Topic(library, "group", 4), Unique("group")
	first, one := Join(library, topic, group, "range")
	AwaitSpread(4, one)
	Numbers(library, topic, 0, 200, 4)
	AwaitNumbers(200, one)
	second, two := Join(library, topic, group, "range")
	AwaitSpread(4, one, two)
	Numbers(library, topic, 200, 200, 4)
	AwaitNumbers(400, one, two)
	Equal(len(numbers(two)), 100, "records of the second consumer")
	second.Close()
	AwaitSpread(4, one)
	Numbers(library, topic, 400, 200, 4)
	AwaitNumbers(600, one, two)
	time.Sleep(300 * time.Millisecond)
	first.Close()
	Equal(numbers(one, two), upTo(600), "each record once across rebalances")
}

func (s *Suite) death(library Library) {
	topic, group := s.Topic(library, "death", 4), Unique("group")
	first, one := Join(library, topic, group, "range")
	AwaitSpread(4, one)
	self, err := os.Executable()
	OK(err, "executable")
	child := exec.Command(self, s.Bootstrap, "--member", topic, group)
	OK(child.Start(), "start a member")
	func() {
		defer func() {
			child.Process.Kill()
			child.Wait()
		}()
		Wait(30*time.Second, "the other process did not join", func() bool {
			assigned, _, _ := one.snapshot()
			return len(assigned) == 2
		})
	}()
	begun := time.Now()
	AwaitSpread(4, one)
	Check(time.Since(begun) > 3*time.Second, "the dead member was dropped after %v already", time.Since(begun))
	Numbers(library, topic, 0, 100, 4)
	AwaitNumbers(100, one)
	first.Close()
}

func (s *Suite) resume(library Library) {
	topic, group := s.Topic(library, "resume", 3), Unique("group")
	Numbers(library, topic, 0, 300, 3)
	OK(library.Commit(group, topic, map[int32]int64{0: 10, 1: 57, 2: 100}), "commit")
	committed := func(what string, wanted map[int32]int64) {
		// A coordinator that still loads is asked again: not every library does that by itself.
		var found map[int32]int64
		var err error
		for range 100 {
			if found, err = library.Committed(group, topic, 3); err == nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		OK(err, "offset fetch")
		Equal(found, wanted, what)
	}
	committed("committed offsets", map[int32]int64{0: 10, 1: 57, 2: 100})
	OK(restart(), "restart")
	committed("committed offsets after a restart", map[int32]int64{0: 10, 1: 57, 2: 100})
	member, watch := Join(library, topic, group, "range")
	AwaitNumbers(133, watch)
	time.Sleep(300 * time.Millisecond)
	member.Close()
	var wanted []int
	for number := range 300 {
		if number%3 == 0 && number/3 >= 10 || number%3 == 1 && number/3 >= 57 {
			wanted = append(wanted, number)
		}
	}
	Equal(numbers(watch), wanted, "records resumed")
	committed("offsets committed on close", map[int32]int64{0: 100, 1: 100, 2: 100})
}

func (s *Suite) cooperative(library Library, strategy string) {
	topic, group := s.Topic(library, "cooperative", 6), Unique("group")
	first, one := Join(library, topic, group, strategy)
	AwaitSpread(6, one)
	second, two := Join(library, topic, group, strategy)
	AwaitSpread(6, one, two)
	if strategy == "cooperative-sticky" {
		one.mu.Lock()
		revoked := slices.Clone(one.revoked)
		one.mu.Unlock()
		for _, count := range revoked {
			Check(count <= 3, "the first consumer lost more than its share: %v", revoked)
		}
	}
	Numbers(library, topic, 0, 300, 6)
	AwaitNumbers(300, one, two)
	second.Close()
	AwaitSpread(6, one)
	first.Close()
	Equal(numbers(one, two), upTo(300), "each record once")
}

// An idempotent producer and a group under a broker that is killed and started again.
func (s *Suite) restart(library Library) {
	count, rate, restarts := 24000, 1000, 3
	if s.Quick {
		count, rate, restarts = 3000, 1000, 1
	}
	const partitions = 3
	topic := s.Topic(library, "restart", partitions)
	member, watch := Join(library, topic, Unique("group"), "range")
	AwaitSpread(partitions, watch)
	producer, err := library.DefaultProducer()
	OK(err, "producer")
	var mu sync.Mutex
	acked, failures := map[int]int64{}, []string{}
	size := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(acked)
	}
	failing := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(failures) > 0
	}
	restarted := make(chan error, 1)
	go func() {
		for turn := range restarts {
			mark, end := count*(turn+1)/(restarts+2), time.Now().Add(120*time.Second)
			for size() < mark {
				if time.Now().After(end) {
					restarted <- errors.New("no progress before a restart")
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
			if err := restart(); err != nil {
				restarted <- err
				return
			}
		}
		restarted <- nil
	}()
	begun := time.Now()
	for number := range count {
		producer.Send(topic, Rec{Partition: int32(number % partitions), Time: BaseTime + int64(number),
			Value: []byte(strconv.Itoa(number))}, func(err error, offset int64) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failures = append(failures, fmt.Sprintf("record %d: %v", number, err))
			} else {
				acked[number] = offset
			}
		})
		due := begun.Add(time.Duration(number) * time.Second / time.Duration(rate))
		if ahead := time.Until(due); ahead > 20*time.Millisecond {
			time.Sleep(ahead)
		}
		// Not all at once into the client's buffer while the broker is away: the later restarts need load too.
		for number-size() > 3000 && !failing() {
			time.Sleep(10 * time.Millisecond)
		}
	}
	producer.Close()
	OK(<-restarted, "restart")
	if len(failures) > 0 {
		Check(false, "%d errors, the first: %s", len(failures), failures[0])
	}
	Equal(len(acked), count, "acknowledged records")
	reader, err := library.Reader(topic, partitions)
	OK(err, "reader")
	var log [partitions][]int
	end, last := time.Now().Add(60*time.Second), time.Now()
	for time.Now().Before(end) && (len(log[0])+len(log[1])+len(log[2]) < count || time.Since(last) < time.Second) {
		recs, err := reader.Poll(200 * time.Millisecond)
		OK(err, "read")
		for _, rec := range recs {
			Equal(rec.Offset, len(log[rec.Partition]), fmt.Sprintf("offset in partition %d", rec.Partition))
			number, err := strconv.Atoi(string(rec.Value))
			OK(err, "number")
			log[rec.Partition] = append(log[rec.Partition], number)
			last = time.Now()
		}
	}
	reader.Close()
	for part := range log {
		seen := map[int]int{}
		for _, number := range log[part] {
			seen[number]++
		}
		for number := part; number < count; number += partitions {
			Check(seen[number] == 1, "record %d is in partition %d %d times", number, part, seen[number])
		}
		Check(slices.IsSorted(log[part]), "partition %d is out of order", part)
	}
	for number, offset := range acked {
		Check(offset < 0 || log[number%partitions][offset] == number, "record %d was acknowledged at offset %d",
			number, offset)
	}
	unique := func() int { return len(slices.Compact(numbers(watch))) }
	Wait(60*time.Second, "the group to see all records", func() bool { return unique() == count })
	highest := [partitions]int64{-1, -1, -1}
	_, recs, _ := watch.snapshot()
	for _, rec := range recs {
		Check(rec.Offset <= highest[rec.Partition]+1, "the group skipped from %d to %d of partition %d",
			highest[rec.Partition], rec.Offset, rec.Partition)
		highest[rec.Partition] = max(highest[rec.Partition], rec.Offset)
	}
	fmt.Printf("the group saw %d records twice\n", len(recs)-count)
	member.Close()
}
