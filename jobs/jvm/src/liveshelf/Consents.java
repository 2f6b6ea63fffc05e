package liveshelf;

import java.io.IOException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
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
    private static final List<String> STATES = List.of(Person.GRANTED, Person.WITHDRAWN, Person.ERASED);
    private static final ObjectMapper JSON = new ObjectMapper();
    /** By topic, mode and address: on a cluster that has this class in its own lib, several jobs meet here. */
    private static final Map<List<String>, Consents> SHARED = new HashMap<>();

    final boolean required;
    private final Map<String, Person> persons = new ConcurrentHashMap<>();
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

    /** Take a record that came through Flink, which may be ahead of the reader or behind it. Return its visitor. */
    Person take(String visitor, byte[] value, int partition, long offset) {
        if (reader == null || !reader.hasRead(partition, offset)) {
            apply(visitor, value, partition, offset);
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

    /** Take a record. Twice is as good as once. An empty value forgets the visitor; a value that can't be read is left out. */
    void apply(String visitor, byte[] value, int partition, long offset) {
        if (visitor == null) {
            return;
        }
        if (value == null || value.length == 0) {
            persons.remove(visitor);
            return;
        }
        Person.Entry entry = parse(value, partition, offset);
        if (entry != null) {
            persons.compute(visitor, (id, known) -> with(known == null ? Person.UNKNOWN : known, entry));
        }
    }

    private Person with(Person known, Person.Entry entry) {
        for (Person.Entry each : known.entries()) {
            if (each.partition() == entry.partition() && each.offset() >= entry.offset()) {
                return known;
            }
        }
        List<Person.Entry> entries = new ArrayList<>(known.entries());
        entries.add(entry);
        Person person = Person.of(entries);
        // Where consent is assumed, a grant says nothing new. Most records of such a topic are grants: they take no memory.
        return person.goneBefore(required) == Person.NEVER ? null : person;
    }

    private static Person.Entry parse(byte[] value, int partition, long offset) {
        try {
            JsonNode record = JSON.readTree(value);
            int known = STATES.indexOf(record.path("state").asText());
            JsonNode atMs = record.path("at_ms");
            if (known < 0 || !atMs.isIntegralNumber()) {
                return null;
            }
            String state = STATES.get(known);   // one string for all visitors
            Map<Integer, Long> before = new HashMap<>();
            record.path("before").fields()
                .forEachRemaining(each -> before.put(Integer.valueOf(each.getKey()), each.getValue().asLong()));
            String after = record.path("withdrawn").asBoolean() ? Person.WITHDRAWN : state;
            return new Person.Entry(state, after, atMs.asLong(), Map.copyOf(before), partition, offset);
        } catch (IOException | NumberFormatException broken) {
            return null;
        }
    }
}
