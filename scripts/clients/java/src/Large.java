import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** One large record in and out again: {@code Large bootstrap topic mib}. */
public final class Large {
    private static final int LIMIT = 1 << 30;

    public static void main(String[] args) throws Exception {
        TopicPartition partition = new TopicPartition(args[1], 0);
        byte[] value = new byte[Integer.parseInt(args[2]) << 20];
        new SplittableRandom(value.length).nextBytes(value);
        long begun = System.nanoTime();
        long offset = send(args[0], partition, value);
        long sent = System.nanoTime();
        byte[] found = read(args[0], partition, offset);
        long read = System.nanoTime();
        if (!Arrays.equals(value, found)) {
            throw new AssertionError("another value came back, of " + found.length + " bytes");
        }
        System.out.printf("sent in %.2f s, read in %.2f s%n", (sent - begun) / 1e9, (read - sent) / 1e9);
    }

    /**
     * Half a gigabyte takes this client more than a minute of processor time: for each piece that the socket takes, the
     * JDK copies all that is left of a buffer on the heap.
     */
    private static long send(String bootstrap, TopicPartition partition, byte[] value) throws Exception {
        Map<String, Object> settings = Map.of(
                "bootstrap.servers", bootstrap, "max.request.size", LIMIT, "buffer.memory", (long) LIMIT,
                "delivery.timeout.ms", 900_000, "request.timeout.ms", 300_000, "linger.ms", 0);
        var serializer = new ByteArraySerializer();
        try (var producer = new KafkaProducer<>(settings, serializer, serializer)) {
            ProducerRecord<byte[], byte[]> record =
                    new ProducerRecord<>(partition.topic(), partition.partition(), null, value);
            return producer.send(record).get().offset();
        }
    }

    /** With the limits of fetches as they are: one record that is larger comes all the same (KIP-74). */
    private static byte[] read(String bootstrap, TopicPartition partition, long offset) {
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "request.timeout.ms", 120_000);
        var deserializer = new ByteArrayDeserializer();
        try (var consumer = new KafkaConsumer<>(settings, deserializer, deserializer)) {
            consumer.assign(List.of(partition));
            consumer.seek(partition, offset);
            long end = System.nanoTime() + Duration.ofSeconds(120).toNanos();
            while (System.nanoTime() < end) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                    return record.value();
                }
            }
        }
        throw new AssertionError("the record did not come back within 120 s");
    }
}
