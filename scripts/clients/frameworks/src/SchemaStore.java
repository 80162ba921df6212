import static java.util.concurrent.TimeUnit.SECONDS;

import java.time.Duration;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * A store of keys and values in the compacted topic _schemas of one partition, used as a schema registry does: a reader
 * follows the topic from its beginning, a write is done when the reader has seen its offset, and a start is done when
 * the reader has seen the offset of a record that was written for that.
 */
public final class SchemaStore implements AutoCloseable {
    private static final String TOPIC = "_schemas";
    private static final TopicPartition PART = new TopicPartition(TOPIC, 0);
    private static final String NOOP = "{\"keytype\":\"NOOP\",\"magic\":0}";

    private final KafkaProducer<String, String> producer;
    private final KafkaConsumer<String, String> consumer;
    private final Thread reader;
    private final Map<String, String> map = new ConcurrentSkipListMap<>();
    private final AtomicReference<Throwable> failed = new AtomicReference<>();
    private volatile boolean ending;
    private long seen = -1;
    private long records;

    SchemaStore(String bootstrap) throws Exception {
        producer = new KafkaProducer<>(Map.of("bootstrap.servers", bootstrap, "acks", "all", "retries", 0,
            "enable.idempotence", false), new StringSerializer(), new StringSerializer());
        consumer = new KafkaConsumer<>(Map.of("bootstrap.servers", bootstrap, "group.id", "schema-registry-127.0.0.1",
            "auto.offset.reset", "earliest", "enable.auto.commit", false, "isolation.level", "read_committed"),
            new StringDeserializer(), new StringDeserializer());
        consumer.assign(List.of(PART));
        consumer.seekToBeginning(List.of(PART));
        reader = new Thread(this::follow);
        reader.setDaemon(true);
        reader.start();
        put(NOOP, null);
    }

    private void follow() {
        try {
            while (!ending) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(500))) {
                    if (record.value() == null) {
                        map.remove(record.key());
                    } else if (!record.key().equals(NOOP)) {
                        map.put(record.key(), record.value());
                    }
                    synchronized (this) {
                        seen = record.offset();
                        records++;
                        notifyAll();
                    }
                }
            }
        } catch (Throwable error) {
            failed.set(error);
        }
    }

    /** Writes and waits until the reader has seen it; a value of null deletes. */
    void put(String key, String value) throws Exception {
        long offset = producer.send(new ProducerRecord<>(TOPIC, 0, key, value)).get(60, SECONDS).offset();
        long end = System.nanoTime() + 60_000_000_000L;
        synchronized (this) {
            while (seen < offset) {
                Harness.check(failed.get() == null, "the reader failed: " + failed.get());
                Harness.check(System.nanoTime() < end, "offset " + offset + " was not read within 60 s: " + seen);
                wait(100);
            }
        }
        if (!key.equals(NOOP)) {
            Harness.equal(map.get(key), value, "what was written");
        }
    }

    @Override
    public void close() throws Exception {
        ending = true;
        reader.join(10_000);
        consumer.close();
        producer.close();
    }

    private static String key(int subject, int version) {
        return "{\"keytype\":\"SCHEMA\",\"subject\":\"subject-" + subject + "\",\"version\":" + version + ",\"magic\":1}";
    }

    private static String value(int subject, int version) {
        return "{\"subject\":\"subject-" + subject + "\",\"version\":" + version + ",\"id\":" + (subject * 10 + version)
            + ",\"schema\":\"{\\\"type\\\":\\\"string\\\"}\",\"deleted\":false}";
    }

    private static void create(String bootstrap) throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            admin.createTopics(List.of(new NewTopic(TOPIC, 1, (short) 1).configs(Map.of("cleanup.policy", "compact"))))
                .all().get(30, SECONDS);
            TopicDescription found = admin.describeTopics(List.of(TOPIC)).allTopicNames().get(30, SECONDS).get(TOPIC);
            Harness.equal(found.partitions().size(), 1, "partitions");
            ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, TOPIC);
            Harness.equal(admin.describeConfigs(Collections.singleton(resource)).all().get(30, SECONDS).get(resource)
                .get("cleanup.policy").value(), "compact", "cleanup.policy");
        }
    }

    private static SchemaStore first;

    public static void main(String[] args) throws Exception {
        String only = "";
        boolean quick = false;
        for (int index = 1; index < args.length; index++) {
            switch (args[index]) {
                case "--quick" -> quick = true;
                case "--case" -> only = args[++index];
                default -> throw new IllegalArgumentException("unknown argument " + args[index]);
            }
        }
        String bootstrap = args[0];
        int subjects = quick ? 40 : 400;
        Map<String, String> wanted = new TreeMap<>();
        Harness harness = new Harness(only);
        harness.run("schemas/write", () -> {
            create(bootstrap);
            first = new SchemaStore(bootstrap);
            Harness.equal(first.map.size(), 0, "entries of a new topic");
            for (int subject = 0; subject < subjects; subject++) {
                for (int version = 1; version <= 2; version++) {
                    first.put(key(subject, version), value(subject, version));
                    wanted.put(key(subject, version), value(subject, version));
                }
            }
            for (int subject = 0; subject < subjects; subject += 4) {
                first.put(key(subject, 1), null);
                wanted.remove(key(subject, 1));
            }
            Harness.equal(new TreeMap<>(first.map), wanted, "what the writer has");
        });
        harness.run("schemas/read-again", () -> {
            try (SchemaStore second = new SchemaStore(bootstrap)) {
                Harness.equal(new TreeMap<>(second.map), wanted, "what a second reader has");
                Harness.equal(second.records, subjects * 2L + subjects / 4 + 2, "records of the topic");
                second.put(key(0, 3), value(0, 3));
                wanted.put(key(0, 3), value(0, 3));
                Harness.await(20, () -> first.map.equals(wanted), () -> "the first reader sees what the second wrote");
            }
        });
        harness.run("schemas/restart", () -> {
            Harness.restart();
            try (SchemaStore third = new SchemaStore(bootstrap)) {
                Harness.equal(new TreeMap<>(third.map), wanted, "what a reader has after a restart of the broker");
            }
            first.put(key(1, 3), value(1, 3));
            wanted.put(key(1, 3), value(1, 3));
            Harness.equal(new TreeMap<>(first.map), wanted, "what the first reader has after a restart of the broker");
            first.close();
        });
        harness.end();
    }
}
