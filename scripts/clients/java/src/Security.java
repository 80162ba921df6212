import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.SaslAuthenticationException;
import org.apache.kafka.common.errors.SslAuthenticationException;
import org.apache.kafka.common.errors.TopicAuthorizationException;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** The official Java client against brokers with TLS and SASL: the cases of security/cases.py, one a line, by tabs. */
public final class Security {
    private static final int RECORDS = 20;
    private static final long REFUSED_WITHIN_MS = 15_000;
    private static final String LOGIN = "org.apache.kafka.common.security.%sLoginModule required %s;";
    private static final Map<String, Class<? extends Exception>> WANTED = Map.of(
        "sasl", SaslAuthenticationException.class,
        "tls", SslAuthenticationException.class,
        "topic", TopicAuthorizationException.class);

    /** How a client connects, and what must come of it. */
    private record Case(String name, String address, String topic, String ca, String both, String mechanism, String user,
            String password, String client, String endpoint, String wanted) { }

    public static void main(String[] args) throws Exception {
        Harness harness = new Harness("");
        for (String line : Files.readAllLines(Path.of(args[0]))) {
            String[] at = line.split("\t", -1);
            Case each = new Case(at[0], at[1], at[2], at[3], at[4], at[5], at[6], at[7], at[8], at[9], at[10]);
            System.setProperty("org.apache.kafka.sasl.oauthbearer.allowed.urls", each.endpoint);
            harness.run(each.name, () -> run(each));
        }
        harness.end();
    }

    private static void run(Case each) throws Exception {
        if (each.wanted.isEmpty()) {
            List<String> values = values(each);
            List<String> found = exchange(each, values);
            Harness.check(found.size() >= RECORDS, found.size() + " records");
            Harness.equal(found.subList(found.size() - RECORDS, found.size()), values, "records");
            return;
        }
        long begun = System.nanoTime();
        Harness.expect(WANTED.get(each.wanted), () -> exchange(each, values(each)));
        long took = (System.nanoTime() - begun) / 1_000_000;
        Harness.check(took < REFUSED_WITHIN_MS, "it took " + took + " ms to say");
    }

    private static List<String> values(Case each) {
        List<String> values = new ArrayList<>();
        for (int number = 0; number < RECORDS; number++) {
            values.add(each.name + "-" + UUID.randomUUID());
        }
        return values;
    }

    private static Map<String, Object> config(Case each) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", each.address);
        config.put("security.protocol", each.mechanism.isEmpty() ? "SSL" : "SASL_SSL");
        config.put("ssl.truststore.type", "PEM");
        config.put("ssl.truststore.location", each.ca);
        if (!each.both.isEmpty()) {
            config.put("ssl.keystore.type", "PEM");
            config.put("ssl.keystore.location", each.both);
        }
        if (each.mechanism.isEmpty()) {
            return config;
        }
        config.put("sasl.mechanism", each.mechanism);
        String known = "username=\"" + each.user + "\" password=\"" + each.password + "\"";
        switch (each.mechanism) {
            case "PLAIN" -> config.put("sasl.jaas.config", LOGIN.formatted("plain.Plain", known));
            case "OAUTHBEARER" -> {
                config.put("sasl.jaas.config", LOGIN.formatted("oauthbearer.OAuthBearer",
                    "clientId=\"" + each.client + "\" clientSecret=\"s\" extension_traceId=\"seven\""));
                config.put("sasl.login.callback.handler.class",
                    "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler");
                config.put("sasl.oauthbearer.token.endpoint.url", each.endpoint);
            }
            default -> config.put("sasl.jaas.config", LOGIN.formatted("scram.Scram", known));
        }
        return config;
    }

    private static List<String> exchange(Case each, List<String> values) throws Exception {
        Map<String, Object> config = config(each);
        config.put("max.block.ms", 20_000);
        try (var producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            List<java.util.concurrent.Future<RecordMetadata>> sent = new ArrayList<>();
            for (String value : values) {
                sent.add(producer.send(new ProducerRecord<>(each.topic, 0, null, value)));
                // Where it is not let in, each send tells of one more try.
                if (sent.size() == 1) {
                    sent.get(0).get();
                }
            }
            for (var one : sent) {
                one.get();
            }
        } catch (ExecutionException failed) {
            throw (Exception) failed.getCause();
        }
        config = config(each);
        try (var consumer = new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer())) {
            TopicPartition partition = new TopicPartition(each.topic, 0);
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            List<String> found = new ArrayList<>();
            long end = System.nanoTime() + 20_000_000_000L;
            while (!found.contains(values.get(RECORDS - 1)) && System.nanoTime() < end) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(200))) {
                    found.add(record.value());
                }
            }
            return found;
        }
    }
}
