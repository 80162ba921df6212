import static java.util.concurrent.TimeUnit.SECONDS;

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.DescribeClusterResult;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.LogDirDescription;
import org.apache.kafka.clients.admin.MemberToRemove;
import org.apache.kafka.clients.admin.NewPartitionReassignment;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.ElectionNotNeededException;
import org.apache.kafka.common.errors.FencedInstanceIdException;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidReplicaAssignmentException;
import org.apache.kafka.common.errors.NoReassignmentInProgressException;
import org.apache.kafka.common.errors.SecurityDisabledException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The official Java client against a broker. */
public final class Suite {
    private static String bootstrap;
    private static boolean quick;
    private static Admin admin;

    public static void main(String[] args) throws Exception {
        bootstrap = args[0];
        String only = "";
        for (int index = 1; index < args.length; index++) {
            switch (args[index]) {
                case "--quick" -> quick = true;
                case "--case" -> only = args[++index];
                case "--member" -> {
                    new Member(args[index + 1], member(args[index + 2], null, null)).join();
                    return;
                }
                default -> throw new IllegalArgumentException("unknown argument " + args[index]);
            }
        }
        // What the client logs about its fetch sessions is the only sign of them.
        Path log = Path.of("java-fetch.log").toAbsolutePath();
        System.setProperty("org.slf4j.simpleLogger.logFile", log.toString());
        System.setProperty("org.slf4j.simpleLogger.defaultLogLevel", "warn");
        System.setProperty("org.slf4j.simpleLogger.log.org.apache.kafka.clients.FetchSessionHandler", "debug");
        admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
        Harness harness = new Harness(only);
        harness.run("topic", () -> topic("topic", 3));
        codecs(harness);
        harness.run("fetch-session", () -> fetchSession(log));
        harness.run("group/join-leave", Suite::joinLeave);
        harness.run("group/death", Suite::death);
        harness.run("group/resume", Suite::resume);
        harness.run("group/cooperative-sticky", Suite::cooperative);
        harness.run("group/static", Suite::staticMember);
        harness.run("admin/cluster", Suite::cluster);
        harness.run("admin/topics", Suite::topics);
        harness.run("admin/offsets", Suite::offsets);
        harness.run("admin/groups", Suite::groups);
        harness.run("admin/log-dirs", Suite::logDirs);
        harness.run("admin/elections", Suite::elections);
        harness.run("admin/reassign", Suite::reassign);
        harness.run("admin/acls", Suite::acls);
        harness.run("admin/quotas", () -> Quotas.run(bootstrap, admin, topic("quotas", 1)));
        harness.run("restart/idempotent", Suite::restartUnderLoad);
        harness.end();
    }

    // Topics, producers, consumers.

    private static String topic(String purpose, int partitions) throws Exception {
        String name = "java-" + purpose + "-" + UUID.randomUUID().toString().substring(0, 8);
        admin.createTopics(List.of(new NewTopic(name, partitions, (short) 1))).all().get(30, SECONDS);
        awaitLeaders(name, partitions);
        return name;
    }

    private static TopicDescription describe(String name) throws Exception {
        return admin.describeTopics(List.of(name)).allTopicNames().get(30, SECONDS).get(name);
    }

    private static void awaitLeaders(String name, int partitions) throws Exception {
        Harness.await(15, () -> {
            try {
                return describe(name).partitions().stream().filter(part -> part.leader() != null).count() == partitions;
            } catch (Exception notYet) {
                return false;
            }
        }, () -> "leaders of " + name);
    }

    private static KafkaProducer<byte[], byte[]> producer(Map<String, Object> more) {
        Map<String, Object> config = new HashMap<>(Map.of("bootstrap.servers", bootstrap, "max.request.size", 4000000));
        config.putAll(more);
        return new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private static Map<String, Object> consumer(Map<String, Object> more) {
        Map<String, Object> config = new HashMap<>(Map.of("bootstrap.servers", bootstrap,
            "key.deserializer", ByteArrayDeserializer.class, "value.deserializer", ByteArrayDeserializer.class,
            "enable.auto.commit", false, "auto.offset.reset", "none"));
        config.putAll(more);
        return config;
    }

    private static Map<String, Object> member(String group, Class<?> assignor, String instance) {
        Map<String, Object> config = consumer(Map.of("group.id", group, "auto.offset.reset", "earliest",
            "session.timeout.ms", 6000, "heartbeat.interval.ms", 1000));
        if (assignor != null) {
            config.put("partition.assignment.strategy", List.of(assignor));
        }
        if (instance != null) {
            config.put("group.instance.id", instance);
        }
        return config;
    }

    private static List<TopicPartition> parts(String topic, int count) {
        return IntStream.range(0, count).mapToObj(index -> new TopicPartition(topic, index)).toList();
    }

    private static KafkaConsumer<byte[], byte[]> reader(String topic, int partitions) {
        KafkaConsumer<byte[], byte[]> reader = new KafkaConsumer<>(consumer(Map.of()));
        reader.assign(parts(topic, partitions));
        reader.seekToBeginning(reader.assignment());
        return reader;
    }

    private static void numbers(String topic, int first, int count, int partitions) throws Exception {
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
            AtomicReference<Exception> error = new AtomicReference<>();
            for (int number = first; number < first + count; number++) {
                producer.send(new ProducerRecord<>(topic, number % partitions, Harness.BASE_TIME + number, null,
                    String.valueOf(number).getBytes()), (meta, failed) -> error.compareAndSet(null, failed));
            }
            producer.flush();
            Harness.check(error.get() == null, "produce: " + error.get());
        }
    }

    // Codecs. One reader stays on through all of them, so that its fetch session is incremental.

    private static String codecTopic;
    private static KafkaConsumer<byte[], byte[]> codecReader;
    private static List<List<Harness.Rec>> wanted;
    private static int[] next;

    private static void codecs(Harness harness) {
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            // acks=0 last: it may lose what a leader that has just been elected does not take yet.
            for (String acks : List.of("all", "1", "0")) {
                harness.run("codec/" + codec + "/acks-" + acks, () -> codec(codec, acks, false));
            }
            harness.run("codec/" + codec + "/idempotent", () -> codec(codec, "all", true));
        }
        harness.run("codec/read-again", () -> {
            Harness.check(codecTopic != null, "no topic: the codec cases failed");
            next = new int[3];
            codecReader.close();
            codecReader = reader(codecTopic, 3);
            compareAll();
            codecReader.close();
        });
    }

    private static void codec(String codec, String acks, boolean idempotent) throws Exception {
        if (codecTopic == null) {
            codecTopic = topic("codecs", 3);
            codecReader = reader(codecTopic, 3);
            wanted = List.of(new ArrayList<>(), new ArrayList<>(), new ArrayList<>());
            next = new int[3];
        }
        try {
            List<Harness.Rec> records = Harness.records(codec + acks + idempotent, 60);
            AtomicReference<Exception> error = new AtomicReference<>();
            try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("compression.type", codec, "acks", acks,
                    "enable.idempotence", idempotent))) {
                for (Harness.Rec rec : records) {
                    wanted.get(rec.partition()).add(rec);
                    ProducerRecord<byte[], byte[]> record =
                        new ProducerRecord<>(codecTopic, rec.partition(), rec.timestamp(), rec.key(), rec.value());
                    for (int index = 0; index < rec.names().length; index++) {
                        record.headers().add(rec.names()[index], rec.headers()[index]);
                    }
                    producer.send(record, (meta, failed) -> error.compareAndSet(null, failed));
                }
            }
            Harness.check(error.get() == null, "produce: " + error.get());
            compareAll();
        } catch (Exception | AssertionError failed) {
            codecTopic = null;
            throw failed;
        }
    }

    private static void compareAll() {
        long end = System.nanoTime() + 60_000_000_000L;
        while (IntStream.range(0, 3).anyMatch(part -> next[part] < wanted.get(part).size())) {
            for (ConsumerRecord<byte[], byte[]> got : codecReader.poll(Duration.ofMillis(200))) {
                int part = got.partition();
                String at = "partition " + part + " offset " + got.offset() + ": ";
                Harness.check(next[part] < wanted.get(part).size(), at + "a record too many");
                Harness.Rec rec = wanted.get(part).get(next[part]);
                Harness.equal(got.offset(), (long) next[part], at + "offset");
                Harness.equal(got.timestamp(), rec.timestamp(), at + "timestamp");
                Harness.equal(got.key(), rec.key(), at + "key");
                Harness.equal(got.value(), rec.value(), at + "value");
                Header[] headers = got.headers().toArray();
                Harness.equal(headers.length, rec.names().length, at + "headers");
                for (int index = 0; index < headers.length; index++) {
                    Harness.equal(headers[index].key(), rec.names()[index], at + "header name");
                    Harness.equal(headers[index].value(), rec.headers()[index], at + "header value");
                }
                next[part]++;
            }
            Harness.check(System.nanoTime() < end, "records did not arrive within 60 s: " + Arrays.toString(next));
        }
    }

    /** Every round writes to four other partitions of twenty; some partitions are let go and taken back. */
    private static void fetchSession(Path log) throws Exception {
        String topic = topic("session", 20);
        long before = incremental(log);
        try (KafkaConsumer<byte[], byte[]> reader = reader(topic, 20);
             KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
            int[] sent = new int[20];
            int[] got = new int[20];
            for (int round = 0; round < 10; round++) {
                int first = round % 5 * 4;
                for (int part = first; part < first + 4; part++) {
                    for (int count = 0; count < 5; count++, sent[part]++) {
                        producer.send(new ProducerRecord<>(topic, part, null, String.valueOf(sent[part]).getBytes()));
                    }
                }
                producer.flush();
                // From the sixth round on the written partitions are first forgotten, then taken back.
                if (round >= 5) {
                    Map<TopicPartition, Long> at = parts(topic, 20).stream()
                        .collect(Collectors.toMap(part -> part, reader::position));
                    Collection<TopicPartition> others = parts(topic, 20).stream()
                        .filter(part -> part.partition() < first || part.partition() >= first + 4).toList();
                    reader.assign(others);
                    others.forEach(part -> reader.seek(part, at.get(part)));
                    Harness.equal(reader.poll(Duration.ofMillis(700)).count(), 0, "records of forgotten partitions");
                    reader.assign(at.keySet());
                    at.forEach(reader::seek);
                }
                long end = System.nanoTime() + 20_000_000_000L;
                while (!Arrays.equals(sent, got)) {
                    for (ConsumerRecord<byte[], byte[]> record : reader.poll(Duration.ofMillis(100))) {
                        Harness.equal(record.offset(), (long) got[record.partition()]++, "offset in a session");
                    }
                    Harness.check(System.nanoTime() < end, "round " + round + ": sent " + Arrays.toString(sent)
                        + ", got " + Arrays.toString(got));
                }
            }
        }
        long built = incremental(log) - before;
        Harness.check(built >= 10, "the client built " + built + " incremental fetches: no fetch session?");
    }

    private static long incremental(Path log) throws Exception {
        try (var lines = Files.lines(log)) {
            return lines.filter(line -> line.contains("sent an incremental fetch response")).count();
        }
    }

    // Groups.

    private static String group() {
        return "java-group-" + UUID.randomUUID().toString().substring(0, 8);
    }

    private static void joinLeave() throws Exception {
        String topic = topic("group", 4);
        String group = group();
        Member first = new Member(topic, member(group, null, null));
        Member.awaitSpread(4, first);
        numbers(topic, 0, 200, 4);
        Harness.await(20, () -> Member.total(first) >= 200, () -> Member.total(first) + " of 200 records");
        Member second = new Member(topic, member(group, null, null));
        Member.awaitSpread(4, first, second);
        numbers(topic, 200, 200, 4);
        Harness.await(20, () -> Member.total(first, second) >= 400, () -> "400 records by two");
        Harness.equal(second.seen.size(), 100, "records of the second consumer");
        second.shut();
        Member.awaitSpread(4, first);
        numbers(topic, 400, 200, 4);
        Harness.await(20, () -> Member.total(first, second) >= 600, () -> "600 records");
        Thread.sleep(300);
        first.shut();
        Harness.equal(Member.numbers(first, second), IntStream.range(0, 600).boxed().toList(),
            "each record once across rebalances");
    }

    private static void death() throws Exception {
        String topic = topic("death", 4);
        String group = group();
        Member first = new Member(topic, member(group, null, null));
        Member.awaitSpread(4, first);
        Process child = new ProcessBuilder(Path.of(System.getProperty("java.home"), "bin", "java").toString(),
            "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", System.getProperty("java.class.path"),
            "Suite", bootstrap, "--member", topic, group)
            .redirectOutput(ProcessBuilder.Redirect.DISCARD).redirectError(ProcessBuilder.Redirect.DISCARD).start();
        try {
            Harness.await(30, () -> first.assigned.size() == 2, () -> "the other process did not join");
        } finally {
            child.destroyForcibly().waitFor();
        }
        long begun = System.nanoTime();
        Member.awaitSpread(4, first);
        double took = (System.nanoTime() - begun) / 1e9;
        Harness.check(took > 3, "the dead member was dropped after " + took + " s already");
        numbers(topic, 0, 100, 4);
        Harness.await(20, () -> Member.total(first) >= 100, () -> Member.total(first) + " of 100 records");
        first.shut();
    }

    private static Map<Integer, Long> committed(String group) throws Exception {
        return admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get(30, SECONDS)
            .entrySet().stream().collect(Collectors.toMap(e -> e.getKey().partition(), e -> e.getValue().offset()));
    }

    private static void resume() throws Exception {
        String topic = topic("resume", 3);
        String group = group();
        numbers(topic, 0, 300, 3);
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(member(group, null, null))) {
            List<TopicPartition> parts = parts(topic, 3);
            consumer.commitSync(Map.of(parts.get(0), new OffsetAndMetadata(10, "noted"),
                parts.get(1), new OffsetAndMetadata(57), parts.get(2), new OffsetAndMetadata(100)));
            Harness.equal(consumer.committed(Set.copyOf(parts)).get(parts.get(0)).metadata(), "noted", "metadata");
        }
        Harness.equal(committed(group), Map.of(0, 10L, 1, 57L, 2, 100L), "committed offsets");
        Harness.restart();
        Harness.equal(committed(group), Map.of(0, 10L, 1, 57L, 2, 100L), "committed offsets after a restart");
        Member member = new Member(topic, member(group, null, null));
        Harness.await(30, () -> Member.total(member) >= 133, () -> Member.total(member) + " of 133 records");
        Thread.sleep(300);
        member.shut();
        Harness.equal(Member.numbers(member), IntStream.range(0, 300)
            .filter(n -> n % 3 == 0 && n / 3 >= 10 || n % 3 == 1 && n / 3 >= 57).boxed().toList(), "records resumed");
        Harness.equal(committed(group), Map.of(0, 100L, 1, 100L, 2, 100L), "offsets committed on close");
    }

    private static void cooperative() throws Exception {
        String topic = topic("cooperative", 6);
        String group = group();
        Member first = new Member(topic, member(group, CooperativeStickyAssignor.class, null));
        Member.awaitSpread(6, first);
        Member second = new Member(topic, member(group, CooperativeStickyAssignor.class, null));
        Member.awaitSpread(6, first, second);
        Harness.check(first.revoked.stream().allMatch(count -> count <= 3),
            "the first consumer lost more than its share: " + first.events);
        numbers(topic, 0, 300, 6);
        Harness.await(20, () -> Member.total(first, second) >= 300, () -> "300 records by two");
        second.shut();
        Member.awaitSpread(6, first);
        first.shut();
        Harness.equal(Member.numbers(first, second), IntStream.range(0, 300).boxed().toList(), "each record once");
    }

    private static void staticMember() throws Exception {
        String topic = topic("static", 4);
        String group = group();
        Member first = new Member(topic, member(group, null, "one"));
        Member second = new Member(topic, member(group, null, "two"));
        Member.awaitSpread(4, first, second);
        Thread.sleep(1000);
        Set<Integer> kept = new TreeSet<>(second.assigned);
        int events = first.events.size();
        second.shut();
        Member again = new Member(topic, member(group, null, "two"));
        Harness.await(15, () -> again.assigned.equals(kept), () -> "assignment of the returned " + again.assigned);
        Thread.sleep(1500);
        Harness.equal(first.events.size(), events, "rebalances seen by the other member");
        numbers(topic, 0, 200, 4);
        Harness.await(20, () -> Member.total(first, again) >= 200, () -> "200 records by two");
        Member usurper = new Member(topic, member(group, null, "two"));
        Harness.await(20, () -> again.error != null, () -> "the older of two equal instance ids was not fenced");
        Harness.check(again.error instanceof FencedInstanceIdException, "wanted a fenced error, found " + again.error);
        Harness.await(15, () -> usurper.assigned.equals(kept), () -> "assignment of the third " + usurper.assigned);
        usurper.shut();
        first.shut();
        admin.removeMembersFromConsumerGroup(group, new RemoveMembersFromConsumerGroupOptions(
            List.of(new MemberToRemove("one"), new MemberToRemove("two")))).all().get(30, SECONDS);
        Harness.equal(describeGroup(group).groupState(), GroupState.EMPTY, "state after removal of static members");
    }

    // Admin.

    private static void cluster() throws Exception {
        DescribeClusterResult cluster = admin.describeCluster();
        Harness.check(!cluster.clusterId().get(30, SECONDS).isEmpty(), "no cluster id");
        Harness.check(cluster.controller().get(30, SECONDS) != null, "no controller");
        Harness.check(cluster.nodes().get(30, SECONDS).stream()
            .anyMatch(node -> (node.host() + ":" + node.port()).equals(bootstrap)), "the broker is not listed");
    }

    private static Map<String, String> config(ConfigResource resource) throws Exception {
        return admin.describeConfigs(List.of(resource)).all().get(30, SECONDS).get(resource).entries().stream()
            .filter(entry -> entry.value() != null)
            .collect(Collectors.toMap(ConfigEntry::name, ConfigEntry::value));
    }

    private static void topics() throws Exception {
        String name = topic("admin", 3);
        Harness.check(admin.listTopics().names().get(30, SECONDS).contains(name), "the topic is not listed");
        TopicDescription described = describe(name);
        Harness.equal(described.partitions().size(), 3, "partitions described");
        Harness.check(!described.topicId().toString().equals("AAAAAAAAAAAAAAAAAAAAAA"), "the topic has no id");
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, name);
        for (String key : List.of("cleanup.policy", "retention.ms", "max.message.bytes")) {
            Harness.check(config(resource).containsKey(key), "no config " + key);
        }
        admin.incrementalAlterConfigs(Map.of(resource, List.of(new AlterConfigOp(
            new ConfigEntry("retention.ms", "86400000"), AlterConfigOp.OpType.SET)))).all().get(30, SECONDS);
        Harness.await(10, () -> {
            try {
                return "86400000".equals(config(resource).get("retention.ms"));
            } catch (Exception error) {
                throw new AssertionError(error);
            }
        }, () -> "the changed config");
        int node = admin.describeCluster().nodes().get(30, SECONDS).iterator().next().id();
        Harness.check(!config(new ConfigResource(ConfigResource.Type.BROKER, String.valueOf(node))).isEmpty(),
            "no broker configs");
        admin.createPartitions(Map.of(name, NewPartitions.increaseTo(5))).all().get(30, SECONDS);
        awaitLeaders(name, 5);
        Harness.expect(TopicExistsException.class, () ->
            admin.createTopics(List.of(new NewTopic(name, 3, (short) 1))).all().get(30, SECONDS));
        Harness.expect(InvalidPartitionsException.class, () ->
            admin.createPartitions(Map.of(name, NewPartitions.increaseTo(2))).all().get(30, SECONDS));
        admin.deleteTopics(List.of(name)).all().get(30, SECONDS);
        Harness.await(15, () -> {
            try {
                return !admin.listTopics().names().get(30, SECONDS).contains(name);
            } catch (Exception error) {
                throw new AssertionError(error);
            }
        }, () -> "the topic is still listed");
        Harness.expect(UnknownTopicOrPartitionException.class, () ->
            admin.deleteTopics(List.of("no-such-topic")).all().get(30, SECONDS));
        // The same name again is a new topic: nothing of the old one shows.
        admin.createTopics(List.of(new NewTopic(name, 3, (short) 1))).all().get(30, SECONDS);
        awaitLeaders(name, 3);
        Harness.check(!describe(name).topicId().equals(described.topicId()), "a re-created topic has the old id");
        Harness.equal(ask(name, OffsetSpec.latest()), List.of(0L, 0L, 0L), "end offsets of a re-created topic");
    }

    private static List<Long> ask(String topic, OffsetSpec spec) throws Exception {
        Map<TopicPartition, ListOffsetsResultInfo> found = admin.listOffsets(parts(topic, 3).stream()
            .collect(Collectors.toMap(part -> part, part -> spec))).all().get(30, SECONDS);
        return parts(topic, 3).stream().map(part -> found.get(part).offset()).toList();
    }

    private static void offsets() throws Exception {
        String topic = topic("offsets", 3);
        numbers(topic, 0, 90, 3);
        Harness.equal(ask(topic, OffsetSpec.earliest()), List.of(0L, 0L, 0L), "earliest");
        Harness.equal(ask(topic, OffsetSpec.latest()), List.of(30L, 30L, 30L), "latest");
        Harness.equal(ask(topic, OffsetSpec.maxTimestamp()), List.of(29L, 29L, 29L), "max timestamp");
        // Record n has timestamp base + n and lies in partition n % 3 at offset n / 3.
        Harness.equal(ask(topic, OffsetSpec.forTimestamp(Harness.BASE_TIME + 31)), List.of(11L, 10L, 10L), "by time");
        Harness.equal(ask(topic, OffsetSpec.forTimestamp(Harness.BASE_TIME + 1_000_000_000L)),
            List.of(-1L, -1L, -1L), "by a time after the end");
        TopicPartition part = new TopicPartition(topic, 0);
        Harness.equal(admin.deleteRecords(Map.of(part, RecordsToDelete.beforeOffset(7))).lowWatermarks().get(part)
            .get(30, SECONDS).lowWatermark(), 7L, "low watermark after deletion");
        Harness.equal(ask(topic, OffsetSpec.earliest()), List.of(7L, 0L, 0L), "earliest after deletion");
        try (KafkaConsumer<byte[], byte[]> reader = reader(topic, 3)) {
            Harness.equal(reader.endOffsets(parts(topic, 3)).get(part), 30L, "end offset of the consumer");
            Harness.equal(reader.beginningOffsets(parts(topic, 3)).get(part), 7L, "beginning of the consumer");
            Harness.equal(reader.offsetsForTimes(Map.of(part, Harness.BASE_TIME + 31)).get(part).timestamp(),
                Harness.BASE_TIME + 33, "timestamp of the record found");
        }
    }

    private static ConsumerGroupDescription describeGroup(String group) throws Exception {
        return admin.describeConsumerGroups(List.of(group)).all().get(30, SECONDS).get(group);
    }

    private static boolean listed(String group) throws Exception {
        return admin.listGroups().all().get(30, SECONDS).stream().anyMatch(entry -> entry.groupId().equals(group));
    }

    private static void groups() throws Exception {
        String topic = topic("groups", 3);
        String group = group();
        numbers(topic, 0, 30, 3);
        Member member = new Member(topic, member(group, null, null));
        Harness.await(20, () -> Member.total(member) == 30, () -> "30 records");
        Harness.check(listed(group), "the group is not listed");
        Harness.equal(describeGroup(group).groupState(), GroupState.STABLE, "group state");
        Harness.equal(describeGroup(group).members().iterator().next().assignment().topicPartitions(),
            Set.copyOf(parts(topic, 3)), "assignment described");
        Harness.expect(GroupNotEmptyException.class, () ->
            admin.deleteConsumerGroups(List.of(group)).all().get(30, SECONDS));
        member.shut();
        Harness.equal(committed(group), Map.of(0, 10L, 1, 10L, 2, 10L), "offsets of the group");
        admin.alterConsumerGroupOffsets(group, Map.of(new TopicPartition(topic, 1), new OffsetAndMetadata(4)))
            .all().get(30, SECONDS);
        Harness.equal(committed(group), Map.of(0, 10L, 1, 4L, 2, 10L), "changed offsets of the group");
        admin.deleteConsumerGroupOffsets(group, Set.of(new TopicPartition(topic, 1))).all().get(30, SECONDS);
        Harness.equal(committed(group), Map.of(0, 10L, 2, 10L), "offsets after deletion of one");
        Harness.equal(describeGroup(group).groupState(), GroupState.EMPTY, "state of the closed group");
        admin.deleteConsumerGroups(List.of(group)).all().get(30, SECONDS);
        Harness.check(!listed(group), "the deleted group is still listed");
        Harness.expect(GroupIdNotFoundException.class, () ->
            admin.deleteConsumerGroups(List.of(group)).all().get(30, SECONDS));
    }

    private static List<Integer> nodes() throws Exception {
        return admin.describeCluster().nodes().get(30, SECONDS).stream().map(Node::id).toList();
    }

    private static void logDirs() throws Exception {
        String topic = topic("logdirs", 3);
        numbers(topic, 0, 90, 3);
        Map<TopicPartition, Long> sizes = new HashMap<>();
        for (Map<String, LogDirDescription> dirs :
                admin.describeLogDirs(nodes()).allDescriptions().get(30, SECONDS).values()) {
            Harness.equal(dirs.size(), 1, "log directories of a broker");
            LogDirDescription dir = dirs.values().iterator().next();
            Harness.check(dir.error() == null, "log directory: " + dir.error());
            Harness.equal(dir.totalBytes().isPresent(), dir.usableBytes().isPresent(), "the size of the volume");
            dir.replicaInfos().forEach((part, info) -> {
                Harness.check(!info.isFuture() && info.offsetLag() == 0, "replica " + part + ": " + info);
                if (part.topic().equals(topic)) {
                    Harness.check(sizes.put(part, info.size()) == null, part + " is in two directories");
                }
            });
        }
        Harness.equal(sizes.keySet(), Set.copyOf(parts(topic, 3)), "partitions in log directories");
        sizes.forEach((part, size) -> Harness.check(size > 30 * 7, part + " takes " + size + " bytes"));
    }

    private static void elections() throws Exception {
        String topic = topic("elections", 3);
        for (ElectionType type : ElectionType.values()) {
            var found = admin.electLeaders(type, Set.copyOf(parts(topic, 3))).partitions().get(30, SECONDS);
            Harness.equal(found.keySet(), Set.copyOf(parts(topic, 3)), "partitions of the election");
            found.values().forEach(failed -> Harness.check(failed.orElseThrow() instanceof ElectionNotNeededException,
                type + ": " + failed));
            found = admin.electLeaders(type, null).partitions().get(30, SECONDS);
            Harness.check(found.keySet().stream().noneMatch(part -> part.topic().equals(topic)), "not left out: " + found);
        }
        TopicPartition none = new TopicPartition(topic, 7);
        var found = admin.electLeaders(ElectionType.PREFERRED, Set.of(none)).partitions().get(30, SECONDS);
        Harness.check(found.get(none).orElseThrow() instanceof UnknownTopicOrPartitionException, "unknown: " + found);
    }

    private static void reassign(TopicPartition part, List<Integer> replicas) throws Exception {
        Optional<NewPartitionReassignment> wanted = Optional.ofNullable(replicas).map(NewPartitionReassignment::new);
        admin.alterPartitionReassignments(Map.of(part, wanted)).all().get(30, SECONDS);
    }

    /** A partition goes to every broker in turn, and takes its records along. */
    private static void reassign() throws Exception {
        String topic = topic("reassign", 1);
        TopicPartition part = new TopicPartition(topic, 0);
        int sent = 0;
        List<Integer> nodes = nodes();
        if ("direct".equals(System.getenv("TARGET"))) {
            // The nodes are shards of one broker: a partition stays on the one that its hash names.
            int own = describe(topic).partitions().get(0).leader().id();
            for (int other : nodes) {
                if (other != own) {
                    Harness.expect(InvalidReplicaAssignmentException.class, () -> { reassign(part, List.of(other)); return null; });
                }
            }
            nodes = List.of(own);
        }
        for (int node : nodes) {
            numbers(topic, sent, 20, 1);
            sent += 20;
            reassign(part, List.of(node));
            Harness.await(30, () -> {
                try {
                    Node leader = describe(topic).partitions().get(0).leader();
                    return leader != null && leader.id() == node
                        && admin.listPartitionReassignments(Set.of(part)).reassignments().get(30, SECONDS).isEmpty();
                } catch (Exception notYet) {
                    return false;
                }
            }, () -> "the partition is on broker " + node);
            Harness.equal(describe(topic).partitions().get(0).replicas().stream().map(Node::id).toList(),
                List.of(node), "replicas");
        }
        int read = 0;
        try (KafkaConsumer<byte[], byte[]> reader = reader(topic, 1)) {
            long end = System.nanoTime() + 30_000_000_000L;
            while (read < sent && System.nanoTime() < end) {
                for (ConsumerRecord<byte[], byte[]> got : reader.poll(Duration.ofMillis(200))) {
                    Harness.equal(new String(got.value()), String.valueOf(read++), "record after the moves");
                }
            }
        }
        Harness.equal(read, sent, "records after the moves");
        int first = nodes().get(0);
        if (!"kafka".equals(System.getenv("TARGET"))) {
            // A choice holds when it has been carried out, and can be taken back then too.
            reassign(part, null);
        }
        Harness.expect(NoReassignmentInProgressException.class, () -> { reassign(part, null); return null; });
        for (List<Integer> wrong : List.of(List.of(99999), List.of(first, first))) {
            Harness.expect(InvalidReplicaAssignmentException.class, () -> { reassign(part, wrong); return null; });
        }
        Harness.expect(UnknownTopicOrPartitionException.class, () -> {
            reassign(new TopicPartition(topic, 7), List.of(first));
            return null;
        });
    }

    private static void acls() {
        AclBinding acl = new AclBinding(new ResourcePattern(ResourceType.TOPIC, "t", PatternType.LITERAL),
            new AccessControlEntry("User:u", "*", AclOperation.READ, AclPermissionType.ALLOW));
        Harness.expect(SecurityDisabledException.class, () ->
            admin.describeAcls(AclBindingFilter.ANY).values().get(30, SECONDS));
        Harness.expect(SecurityDisabledException.class, () -> admin.createAcls(List.of(acl)).all().get(30, SECONDS));
        Harness.expect(SecurityDisabledException.class, () ->
            admin.deleteAcls(List.of(acl.toFilter())).all().get(30, SECONDS));
    }

    // Restart under load: a producer with default settings (idempotent) and a group that reads along.

    private static void restartUnderLoad() throws Exception {
        int count = quick ? 3000 : 24000;
        int rate = 1000;
        int restarts = quick ? 1 : 3;
        int partitions = 3;
        String topic = topic("restart", partitions);
        Member member = new Member(topic, member(group(), null, null));
        Member.awaitSpread(partitions, member);
        Map<Integer, Long> acked = new ConcurrentHashMap<>();
        ConcurrentLinkedQueue<Object> errors = new ConcurrentLinkedQueue<>();
        Thread restarter = new Thread(() -> {
            try {
                for (int turn = 0; turn < restarts; turn++) {
                    int mark = count * (turn + 1) / (restarts + 2);
                    Harness.await(120, () -> acked.size() >= mark, () -> "no progress before a restart");
                    Harness.restart();
                }
            } catch (Throwable error) {
                errors.add(error);
            }
        });
        restarter.setDaemon(true);
        restarter.start();
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(Map.of("bootstrap.servers", bootstrap),
                new ByteArraySerializer(), new ByteArraySerializer())) {
            long begun = System.nanoTime();
            for (int number = 0; number < count; number++) {
                int sent = number;
                producer.send(new ProducerRecord<>(topic, number % partitions, null, String.valueOf(number).getBytes()),
                    (RecordMetadata meta, Exception failed) -> {
                        if (failed != null) {
                            errors.add("record " + sent + ": " + failed);
                        } else {
                            acked.put(sent, meta.offset());
                        }
                    });
                long ahead = begun + number * 1_000_000_000L / rate - System.nanoTime();
                if (ahead > 20_000_000) {
                    Thread.sleep(ahead / 1_000_000);
                }
                // Not all at once into the client's buffer while the broker is away: later restarts need load too.
                while (number - acked.size() > 3000 && errors.isEmpty()) {
                    Thread.sleep(10);
                }
            }
        }
        restarter.join(180_000);
        Harness.check(!restarter.isAlive(), "the broker did not restart");
        Harness.check(errors.isEmpty(), errors.size() + " errors, the first: " + errors.peek());
        Harness.equal(acked.size(), count, "acknowledged records");
        List<List<Integer>> log = List.of(new ArrayList<>(), new ArrayList<>(), new ArrayList<>());
        try (KafkaConsumer<byte[], byte[]> reader = reader(topic, partitions)) {
            long end = System.nanoTime() + 60_000_000_000L;
            long last = System.nanoTime();
            while (System.nanoTime() < end && (log.stream().mapToInt(List::size).sum() < count
                    || System.nanoTime() - last < 1_000_000_000L)) {
                for (ConsumerRecord<byte[], byte[]> got : reader.poll(Duration.ofMillis(200))) {
                    List<Integer> part = log.get(got.partition());
                    Harness.equal(got.offset(), (long) part.size(), "offset in partition " + got.partition());
                    part.add(Integer.parseInt(new String(got.value())));
                    last = System.nanoTime();
                }
            }
        }
        for (int part = 0; part < partitions; part++) {
            int first = part;
            Harness.equal(log.get(part),
                IntStream.range(0, count).filter(n -> n % partitions == first).boxed().toList(),
                "partition " + part + ": each record once, in order");
        }
        acked.forEach((number, offset) -> Harness.equal(log.get(number % partitions).get((int) (long) offset), number,
            "record at the acknowledged offset " + offset));
        Harness.await(60, () -> Set.copyOf(Member.numbers(member)).size() == count || member.error != null,
            () -> "the group saw " + Set.copyOf(Member.numbers(member)).size() + " of " + count + " records");
        long[] highest = {-1, -1, -1};
        for (Member.Seen seen : List.copyOf(member.seen)) {
            Harness.check(seen.offset() <= highest[seen.partition()] + 1, "the group skipped from offset "
                + highest[seen.partition()] + " to " + seen.offset() + " of partition " + seen.partition());
            highest[seen.partition()] = Math.max(highest[seen.partition()], seen.offset());
        }
        System.out.println("the group saw " + (member.seen.size() - count) + " records twice");
        member.shut();
    }
}
