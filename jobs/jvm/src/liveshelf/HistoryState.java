package liveshelf;

import java.io.IOException;
import java.util.ArrayDeque;
import java.util.Collection;
import java.util.Comparator;
import java.util.List;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/** One visitor's last events in order of arrival. The ranker reads them packed ({@code jobs/rankings/session.py}). */
public final class HistoryState implements Durable<HistoryState>, Personal {

    /** An event: its place in the topic, its time, and its packed fields. */
    record Visit(int partition, long offset, long timeMs, String packed) {}

    private static final char RECORD_SEPARATOR = '\u001e';
    private static final Comparator<Visit> BY_PLACE =
        Comparator.comparingInt(Visit::partition).thenComparingLong(Visit::offset);
    private static final int MOST = 50;     // the longest sequence that the model was trained on

    final ArrayDeque<Visit> visits;

    public HistoryState() {
        this(new ArrayDeque<>());
    }

    private HistoryState(ArrayDeque<Visit> visits) {
        this.visits = visits;
    }

    void add(Visit visit) {
        if (visits.size() == MOST) {
            visits.removeFirst();
        }
        visits.addLast(visit);
    }

    /** Forget each event by its own time and place: on a replay, events that came after the record may be here already. */
    @Override
    public boolean forget(Person person, boolean required) {
        visits.removeIf(visit ->
            person.verdict(required, visit.partition, visit.offset, visit.timeMs) != Person.Verdict.COUNTS);
        return visits.isEmpty();
    }

    @Override
    public List<Long> timers() {
        return List.of();
    }

    /**
     * Return the events as one string, by partition and offset.
     *
     * <p>That is the order of arrival, but for a visitor whose events lie in several partitions: what comes first from
     * them changes from one run to the next.
     */
    String packed() {
        StringBuilder text = new StringBuilder();
        for (Visit visit : byPlace()) {
            if (text.length() > 0) {
                text.append(RECORD_SEPARATOR);
            }
            text.append(visit.packed);
        }
        return text.toString();
    }

    private Collection<Visit> byPlace() {
        Visit before = null;
        for (Visit visit : visits) {
            if (before != null && BY_PLACE.compare(before, visit) > 0) {
                return visits.stream().sorted(BY_PLACE).toList();
            }
            before = visit;
        }
        return visits;
    }

    @Override
    public HistoryState copy() {
        return new HistoryState(visits.clone());
    }

    @Override
    public void write(DataOutputView out) throws IOException {
        Values.writeLong(out, visits.size());
        for (Visit visit : visits) {
            Values.writeLong(out, visit.partition);
            Values.writeLong(out, visit.offset);
            Values.writeLong(out, visit.timeMs);
            Values.write(out, visit.packed);
        }
    }

    /** Writes and reads it. */
    public static final class Serializer extends Durable.Serializer<HistoryState> {

        private static final long serialVersionUID = -8387187080294110101L;

        @Override
        int version() {
            return 2;
        }

        @Override
        int oldest() {
            return 2;
        }

        @Override
        public HistoryState createInstance() {
            return new HistoryState();
        }

        @Override
        HistoryState read(int version, DataInputView in) throws IOException {
            HistoryState state = new HistoryState();
            for (long left = Values.readLong(in); left > 0; left--) {
                int partition = (int) Values.readLong(in);
                long offset = Values.readLong(in);
                long timeMs = Values.readLong(in);
                state.visits.addLast(new Visit(partition, offset, timeMs, (String) Values.read(in)));
            }
            return state;
        }

        @Override
        public TypeSerializerSnapshot<HistoryState> snapshotConfiguration() {
            return new Snapshot();
        }

        /** For savepoints. */
        public static final class Snapshot extends SimpleTypeSerializerSnapshot<HistoryState> {
            public Snapshot() {
                super(Serializer::new);
            }
        }
    }
}
