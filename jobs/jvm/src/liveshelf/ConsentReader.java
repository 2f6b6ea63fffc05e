package liveshelf;

import java.time.Duration;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.flink.kafka.shaded.org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.TopicPartition;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.errors.WakeupException;
import org.apache.flink.kafka.shaded.org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Reads topic {@code consent} to its end, then follows it on a thread of its own.
 *
 * <p>Partitions may be added while it follows. It hears them as soon as Kafka's client has refreshed its view of the topic.
 */
final class ConsentReader implements Runnable {

    private static final Duration POLL = Duration.ofMillis(100);
    private static final long AWAIT_PAUSE_MS = 1;
    private static final String VIEW_AGE_MS = "10000";      // Kafka's own five minutes are long for a withdrawal
    private static final long STALL_LIMIT_MS = 120_000;     // without a record, while there are some to read

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
        properties.putIfAbsent("metadata.max.age.ms", VIEW_AGE_MS);
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
        assignNew();
        Set<TopicPartition> places = consumer.assignment();
        if (places.isEmpty()) {
            throw new IllegalStateException("there is no topic " + topic + "; `liveshelf up` makes it");
        }
        Map<TopicPartition, Long> ends = consumer.endOffsets(places);
        long read = 0;
        long deadline = System.currentTimeMillis() + STALL_LIMIT_MS;
        while (places.stream().anyMatch(place -> consumer.position(place) < ends.get(place))) {
            poll();
            long now = places.stream().mapToLong(consumer::position).sum();
            if (now != read) {      // a long topic takes its time: only a standstill is an error
                read = now;
                deadline = System.currentTimeMillis() + STALL_LIMIT_MS;
            } else if (System.currentTimeMillis() > deadline) {
                throw new IllegalStateException("topic " + topic + " gave no record for " + STALL_LIMIT_MS
                    + " ms before its end: is each partition's leader there?");
            }
        }
    }

    /** Read new partitions from their beginning, too. The list of partitions is in memory: it costs no request. */
    private void assignNew() {
        Set<TopicPartition> places = new HashSet<>(consumer.assignment());
        List<TopicPartition> added = consumer.partitionsFor(topic).stream()
            .map(each -> new TopicPartition(topic, each.partition())).filter(places::add).toList();
        if (!added.isEmpty()) {
            consumer.assign(places);
            consumer.seekToBeginning(added);
        }
    }

    private void poll() {
        for (ConsumerRecord<byte[], byte[]> each : consumer.poll(POLL)) {
            target.apply(each.key(), each.value(), each.timestamp());
            next.put(each.partition(), each.offset() + 1);
        }
    }

    /**
     * Follow the topic until {@code stop}.
     *
     * <p>If reading fails, the job's next event fails, too: nobody is personalized on consents that may be out of date.
     */
    @Override
    public void run() {
        try {
            while (!stopped) {
                assignNew();
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

    /** Wait until a record has been read. It is in the topic: Flink has read it. */
    void await(int partition, long offset) {
        long deadline = System.currentTimeMillis() + STALL_LIMIT_MS;
        while (offset >= next.getOrDefault(partition, 0L)) {
            check();
            if (System.currentTimeMillis() > deadline) {
                throw new IllegalStateException("topic " + topic + " gave no record at " + partition + ":" + offset);
            }
            try {
                Thread.sleep(AWAIT_PAUSE_MS);
            } catch (InterruptedException cancelled) {
                Thread.currentThread().interrupt();
                throw new IllegalStateException("the job ends", cancelled);
            }
        }
    }

    void check() {
        if (failure != null) {
            throw new IllegalStateException("topic " + topic + " can't be followed any more", failure);
        }
    }
}
