import static java.util.concurrent.TimeUnit.SECONDS;

import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import java.util.ArrayList;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.Metric;
import org.apache.kafka.common.MetricName;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.quota.ClientQuotaAlteration;
import org.apache.kafka.common.quota.ClientQuotaEntity;
import org.apache.kafka.common.quota.ClientQuotaFilter;
import org.apache.kafka.common.quota.ClientQuotaFilterComponent;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** A producer and a consumer that are throttled by a quota of their client id. */
final class Quotas {
    private static final int RATE = 512 << 10;
    /** Seconds at its quota that a client may use at once. */
    private static final int BURST = 10;
    /** Seconds that it is to be throttled for. */
    private static final int BEYOND = 5;
    private static final int RECORD = 10_000;
    private static final int COUNT = RATE * (BURST + BEYOND) / RECORD;

    private Quotas() {
    }

    static void run(String bootstrap, Admin admin, String topic) throws Exception {
        String client = "slow-" + topic;
        ClientQuotaEntity entity = new ClientQuotaEntity(Map.of(ClientQuotaEntity.CLIENT_ID, client));
        alter(admin, entity, (double) RATE);
        var filter = ClientQuotaFilter.contains(
            List.of(ClientQuotaFilterComponent.ofEntity(ClientQuotaEntity.CLIENT_ID, client)));
        var wanted = Map.of("producer_byte_rate", (double) RATE, "consumer_byte_rate", (double) RATE);
        Harness.equal(admin.describeClientQuotas(filter).entities().get(30, SECONDS), Map.of(entity, wanted), "quotas");
        // Every broker has been told of it by now.
        Thread.sleep(2_000);
        Map<String, Object> settings = new HashMap<>(Map.of("bootstrap.servers", bootstrap, "client.id", client,
            "linger.ms", 5, "delivery.timeout.ms", 120_000, "request.timeout.ms", 60_000));
        produce(settings, topic);
        consume(settings, topic);
        alter(admin, entity, null);
        Harness.equal(admin.describeClientQuotas(filter).entities().get(30, SECONDS), Map.of(), "quotas");
    }

    private static void alter(Admin admin, ClientQuotaEntity entity, Double value) throws Exception {
        var ops = List.of(new ClientQuotaAlteration.Op("producer_byte_rate", value),
            new ClientQuotaAlteration.Op("consumer_byte_rate", value));
        admin.alterClientQuotas(List.of(new ClientQuotaAlteration(entity, ops))).all().get(30, SECONDS);
    }

    private static void produce(Map<String, Object> settings, String topic) throws Exception {
        var types = new ByteArraySerializer();
        try (var producer = new KafkaProducer<byte[], byte[]>(settings, types, types)) {
            long begun = System.nanoTime();
            List<Future<?>> sent = new ArrayList<>();
            for (int n = 0; n < COUNT; n++) {
                sent.add(producer.send(new ProducerRecord<>(topic, 0, null, new byte[RECORD])));
            }
            for (Future<?> one : sent) {
                one.get(120, SECONDS);
            }
            throttled("producer", begun, producer.metrics(), "produce-throttle-time-max");
        }
    }

    private static void consume(Map<String, Object> settings, String topic) {
        Map<String, Object> more = new HashMap<>(settings);
        more.put("auto.offset.reset", "earliest");
        more.put("enable.auto.commit", false);
        more.put("max.partition.fetch.bytes", 256 << 10);
        var types = new ByteArrayDeserializer();
        try (var consumer = new KafkaConsumer<byte[], byte[]>(more, types, types)) {
            consumer.assign(List.of(new TopicPartition(topic, 0)));
            long begun = System.nanoTime();
            int count = 0;
            while (count < COUNT) {
                Harness.check(System.nanoTime() - begun < 120_000_000_000L, "consumed " + count + " in two minutes");
                count += consumer.poll(Duration.ofSeconds(5)).count();
            }
            Harness.equal(count, COUNT, "records");
            throttled("consumer", begun, consumer.metrics(), "fetch-throttle-time-max");
        }
    }

    private static void throttled(String who, long begun, Map<MetricName, ? extends Metric> metrics, String name) {
        double seconds = (System.nanoTime() - begun) / 1e9;
        double throttle = metrics.entrySet().stream().filter(it -> it.getKey().name().equals(name))
            .mapToDouble(it -> ((Number) it.getValue().metricValue()).doubleValue()).max().orElse(0);
        Harness.check(throttle > 0, "the " + who + " was not told of a throttle");
        Harness.check(seconds > BEYOND * 0.7 && seconds < BEYOND * 4 + 10,
            "the " + who + " took " + seconds + " s for what its quota lets through in " + BEYOND + " s");
        System.out.printf("the %s took %.1f s, its longest throttle was %.0f ms%n", who, seconds, throttle);
    }
}
