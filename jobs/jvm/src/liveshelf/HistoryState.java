package liveshelf;

import java.io.IOException;
import java.util.ArrayDeque;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/** One visitor's last events in order of arrival, as the ranker reads them ({@code jobs/rankings/session.py}). */
public final class HistoryState implements Durable<HistoryState> {

    /** An event: where it lies, when it happened, and its packed fields. */
    record Visit(int partition, long offset, long timeMs, String packed) {}

    private static final char RECORD_SEPARATOR = '\u001e';
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

    String packed(StringBuilder text) {
        text.setLength(0);
        for (Visit visit : visits) {
            if (text.length() > 0) {
                text.append(RECORD_SEPARATOR);
            }
            text.append(visit.packed);
        }
        return text.toString();
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

        @Override
        public HistoryState createInstance() {
            return new HistoryState();
        }

        @Override
        HistoryState read(DataInputView in) throws IOException {
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
