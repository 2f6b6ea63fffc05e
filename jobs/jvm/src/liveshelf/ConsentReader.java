package liveshelf;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.TopicPartition;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.errors.WakeupException;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** Reads topic {@code consent} to its end, then follows it on a thread of its own. */
final class ConsentReader implements Runnable {

    private static final Duration POLL = Duration.ofMillis(100);
    private static final long START_LIMIT_MS = 120_000;     // 1 M records take some 10 s

    private final String topic;
    private final Map<String, Object> kafka;
    private final Map<Integer, Long> next = new ConcurrentHashMap<>();
    private KafkaConsumer<byte[], byte[]> consumer;
    private Consents target;
    private volatile boolean stopped;
    private volatile RuntimeException failure;

    ConsentReader(String topic, Map<String, Object> kafka) {
        this.topic = topic;
        this.kafka = kafka;
    }

    void start(Consents target) {
        this.target = target;
        Map<String, Object> properties = new HashMap<>(kafka);
        properties.put("enable.auto.commit", "false");
        properties.put("allow.auto.create.topics", "false");
        properties.put("isolation.level", "read_committed");
        ClassLoader before = Thread.currentThread().getContextClassLoader();
        // Kafka looks up its classes by name, in the loader that holds it.
        Thread.currentThread().setContextClassLoader(KafkaConsumer.class.getClassLoader());
        try {
            consumer = new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
            readToTheEnd();
        } catch (RuntimeException error) {
            if (consumer != null) {
                consumer.close(Duration.ZERO);
            }
            throw error;
        } finally {
            Thread.currentThread().setContextClassLoader(before);
        }
        Thread thread = new Thread(this, "liveshelf-consent");
        thread.setDaemon(true);
        thread.start();
    }

    private void readToTheEnd() {
        List<TopicPartition> places = consumer.partitionsFor(topic).stream()
            .map(each -> new TopicPartition(topic, each.partition())).toList();
        if (places.isEmpty()) {
            throw new IllegalStateException("there is no topic " + topic + "; `liveshelf up` makes it");
        }
        consumer.assign(places);
        consumer.seekToBeginning(places);
        Map<TopicPartition, Long> ends = consumer.endOffsets(places);
        long deadline = System.currentTimeMillis() + START_LIMIT_MS;
        while (places.stream().anyMatch(place -> consumer.position(place) < ends.get(place))) {
            if (System.currentTimeMillis() > deadline) {
                throw new IllegalStateException("topic " + topic + " wasn't read to its end in " + START_LIMIT_MS + " ms");
            }
            poll();
        }
    }

    private void poll() {
        for (ConsumerRecord<byte[], byte[]> each : consumer.poll(POLL)) {
            String visitor = each.key() == null ? null : new String(each.key(), StandardCharsets.UTF_8);
            target.apply(visitor, each.value(), each.partition(), each.offset());
            next.put(each.partition(), each.offset() + 1);
        }
    }

    /** Follows the topic; what ends it ends the job's next event, too: nobody is personalized on what may be out of date. */
    @Override
    public void run() {
        try {
            while (!stopped) {
                poll();
            }
        } catch (WakeupException end) {
            // stop() asked for it
        } catch (RuntimeException error) {
            failure = error;
        } finally {
            consumer.close(Duration.ofSeconds(1));
        }
    }

    void stop() {
        stopped = true;
        consumer.wakeup();
    }

    boolean hasRead(int partition, long offset) {
        return offset < next.getOrDefault(partition, 0L);
    }

    void check() {
        if (failure != null) {
            throw new IllegalStateException("topic " + topic + " can't be followed any more", failure);
        }
    }
}
