package liveshelf;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.flink.metrics.Gauge;
import org.apache.flink.metrics.MetricGroup;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.table.functions.FunctionContext;
import org.apache.flink.table.functions.ProcessTableFunction;

/**
 * Holds all visitors' consents: one table for all functions of a job in one process.
 *
 * <p>The topic is read to its end before the first event, and followed from there ({@link ConsentReader}). So a replay of
 * events from offset 0 revives nobody. The table isn't Flink state: a checkpoint would keep the ids of those who were erased.
 */
final class Consents {

    private static final String TOPIC = "liveshelf.consent.topic";
    private static final String REQUIRED = "liveshelf.consent.required";
    private static final String KAFKA = "liveshelf.consent.kafka";
    private static final ObjectMapper JSON = new ObjectMapper();
    /** By topic, mode and address: on a cluster that has this class in its own lib, several jobs meet here. */
    private static final Map<List<String>, Consents> SHARED = new HashMap<>();

    final boolean required;
    private final Map<String, Person> persons = new ConcurrentHashMap<>();
    private final ConsentRecord.Reader records = new ConsentRecord.Reader();
    private volatile long unread;       // only the reader's thread counts
    private final ConsentReader reader;
    private int users;

    Consents(boolean required, ConsentReader reader) {
        this.required = required;
        this.reader = reader;
    }

    /** Return the job's table, read up to the topic's present end; null for a run without consents (a history from a file). */
    static synchronized Consents open(FunctionContext context) throws Exception {
        String topic = context.getJobParameter(TOPIC, "");
        if (topic.isEmpty()) {
            return null;
        }
        List<String> told = List.of(topic, context.getJobParameter(REQUIRED, "false"), context.getJobParameter(KAFKA, "{}"));
        Consents opened = SHARED.get(told);
        if (opened == null) {
            Map<String, Object> kafka = new HashMap<>();
            JSON.readTree(told.get(2)).fields().forEachRemaining(each -> kafka.put(each.getKey(), each.getValue().asText()));
            ConsentReader reader = new ConsentReader(topic, kafka);
            opened = new Consents(Boolean.parseBoolean(told.get(1)), reader);
            reader.start(opened);
            SHARED.put(told, opened);
        }
        opened.users++;
        return opened;
    }

    /** Each function that opened the table closes it. The last one ends the reading. */
    static synchronized void close(Consents opened) {
        if (opened != null && --opened.users == 0) {
            opened.reader.stop();
            SHARED.values().remove(opened);
        }
    }

    Person of(String visitor) {
        if (reader != null) {
            reader.check();
        }
        return persons.getOrDefault(visitor, Person.UNKNOWN);
    }

    Person.Verdict verdict(String visitor, int partition, long offset, long timeMs) {
        return of(visitor).verdict(required, partition, offset, timeMs);
    }

    /**
     * Return what a visitor has said, a record included that came through Flink.
     *
     * <p>The record isn't taken from there: the reader knows its Kafka timestamp, too. Mostly the reader has read it already.
     */
    Person take(String visitor, int partition, long offset) {
        if (reader != null) {
            reader.await(partition, offset);
        }
        return of(visitor);
    }

    /**
     * Obey what a visitor said: forget what no longer counts, with its timers, and clear a state of which nothing is left.
     *
     * <p>Returns the time before which what was stored of the visitor elsewhere must go, too: {@code Person.ALL} if the
     * whole state went, {@code Person.NEVER} if nothing must go.
     */
    long obey(ProcessTableFunction.Context context, Person person, Personal state) {
        boolean gone = state != null && state.forget(person, required);
        if (gone) {
            state.timers().forEach(time -> context.timeContext(Long.class).clearTimer(time));
        }
        if (gone || state == null) {
            context.clearAllState();     // not clearAll: in Flink 2.3.0 it takes the timers of all entities
        }
        return gone ? Person.ALL : person.goneBefore(required);
    }

    /** Take a record. Twice is as good as once. One without a value says nothing; one that can't be read is a withdrawal. */
    void apply(byte[] key, byte[] value, long recordedMs) {
        String visitor = records.visitor(key);
        if (visitor == null) {
            unread++;
        } else if (value != null) {
            ConsentRecord said = records.record(value, recordedMs);
            unread += said == null ? 1 : 0;
            ConsentRecord record = said == null ? ConsentRecord.unreadable(recordedMs) : said;
            persons.compute(visitor, (id, known) -> (known == null ? Person.UNKNOWN : known).with(record));
        }
    }

    /** Return how many records weren't understood. */
    long unread() {
        return unread;
    }

    /** Show how many visitors have said something, and how many records weren't understood. */
    void count(MetricGroup group) {
        group.gauge("consent_visitors", (Gauge<Integer>) persons::size);
        group.gauge("consents_unread", (Gauge<Long>) () -> unread);
    }
}
