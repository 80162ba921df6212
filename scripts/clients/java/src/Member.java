import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentSkipListSet;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;

/** A consumer in a group, polled by a thread of its own. */
final class Member extends Thread implements ConsumerRebalanceListener {
    /** One consumed record, as far as the group cases look at it. */
    record Seen(int partition, long offset, int number) { }

    final Set<Integer> assigned = new ConcurrentSkipListSet<>();
    final List<String> events = Collections.synchronizedList(new ArrayList<>());
    final List<Integer> revoked = Collections.synchronizedList(new ArrayList<>());
    final List<Seen> seen = Collections.synchronizedList(new ArrayList<>());
    volatile Throwable error;
    private volatile boolean ending;
    private final String topic;
    private final Map<String, Object> config;
    private KafkaConsumer<byte[], byte[]> consumer;

    Member(String topic, Map<String, Object> config) {
        this.topic = topic;
        this.config = config;
        setDaemon(true);
        start();
    }

    @Override
    public void run() {
        // A failure of the end, which commits, goes with the failure before it and not in its place.
        try (KafkaConsumer<byte[], byte[]> opened = new KafkaConsumer<>(config)) {
            consumer = opened;
            consumer.subscribe(List.of(topic), this);
            long committed = System.nanoTime();
            while (!ending) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                    seen.add(new Seen(record.partition(), record.offset(),
                        Integer.parseInt(new String(record.value()))));
                }
                if (System.nanoTime() - committed > 1_000_000_000L) {
                    consumer.commitAsync();
                    committed = System.nanoTime();
                }
            }
            consumer.commitSync();
        } catch (Throwable caught) {
            error = caught;
            caught.printStackTrace();
        }
    }

    @Override
    public void onPartitionsAssigned(Collection<TopicPartition> parts) {
        parts.forEach(part -> assigned.add(part.partition()));
        events.add("assign " + parts);
    }

    @Override
    public void onPartitionsRevoked(Collection<TopicPartition> parts) {
        try {
            consumer.commitSync();
        } catch (org.apache.kafka.clients.consumer.CommitFailedException failed) {
            System.out.println("commit: " + failed.getMessage());
        }
        onPartitionsLost(parts);
        revoked.add(parts.size());
    }

    @Override
    public void onPartitionsLost(Collection<TopicPartition> parts) {
        parts.forEach(part -> assigned.remove(part.partition()));
        events.add("revoke " + parts);
    }

    void shut() throws InterruptedException {
        ending = true;
        join(30_000);
        Harness.check(!isAlive(), "a consumer did not close within 30 s");
        Harness.check(error == null, "a consumer failed: " + error);
    }

    /** All partitions are assigned, each to one member, evenly. */
    static boolean spread(int partitions, Member... members) {
        Set<Integer> all = new TreeSet<>();
        int sum = 0;
        int least = partitions;
        int most = 0;
        for (Member member : members) {
            if (member.error != null) {
                throw new AssertionError("a consumer failed: " + member.error);
            }
            all.addAll(member.assigned);
            int size = member.assigned.size();
            sum += size;
            least = Math.min(least, size);
            most = Math.max(most, size);
        }
        return all.size() == partitions && sum == partitions && most - least <= 1;
    }

    static void awaitSpread(int partitions, Member... members) throws InterruptedException {
        Harness.await(30, () -> spread(partitions, members), () -> {
            StringBuilder text = new StringBuilder("assignments");
            for (Member member : members) {
                text.append(' ').append(member.assigned);
            }
            return text.toString();
        });
    }

    static int total(Member... members) {
        int sum = 0;
        for (Member member : members) {
            sum += member.seen.size();
        }
        return sum;
    }

    static List<Integer> numbers(Member... members) {
        List<Integer> numbers = new ArrayList<>();
        for (Member member : members) {
            member.seen.forEach(seen -> numbers.add(seen.number()));
        }
        Collections.sort(numbers);
        return numbers;
    }
}
