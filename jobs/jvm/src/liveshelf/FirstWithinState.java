package liveshelf;

import java.io.IOException;
import java.util.Arrays;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/**
 * The ids that counted, of one bucket: of each 64 bits of its digest, and the time of the event that counted.
 *
 * <p>16 bytes an id, found by looking at all of them: as keys of Flink's own, each took 245. Among a hundred million ids two
 * have the same 64 bits (and bucket) with a chance of one in 250,000,000.
 */
public final class FirstWithinState implements Durable<FirstWithinState> {

    private static final int ROOM = 4;      // for so many more ids, when there is no place left

    private int size;
    private long[] ids;
    private long[] timesMs;
    private boolean sawFirst;   // needn't be kept: it is asked for after each row

    public FirstWithinState() {
        this(0, new long[ROOM], new long[ROOM]);
    }

    private FirstWithinState(int size, long[] ids, long[] timesMs) {
        this.size = size;
        this.ids = ids;
        this.timesMs = timesMs;
    }

    /**
     * Find out whether the event is the first with its id within the horizon, by event time; it is remembered then.
     *
     * <p>An id whose time is a horizon before the watermark is forgotten: no event on time can be within it any more.
     */
    void see(long id, long timeMs, long horizonMs, long watermarkMs) {
        boolean first = true;
        int kept = 0;
        for (int i = 0; i < size; i++) {
            boolean same = ids[i] == id;
            if (same && timeMs < timesMs[i] + horizonMs) {
                first = false;
            }
            boolean passed = timesMs[i] + horizonMs <= watermarkMs || same && first;
            if (!passed) {
                ids[kept] = ids[i];
                timesMs[kept] = timesMs[i];
                kept++;
            }
        }
        size = kept;
        if (first) {
            if (size == ids.length) {
                resize(size + Math.max(ROOM, size / 4));
            }
            ids[size] = id;
            timesMs[size] = timeMs;
            size++;
        } else if (size + 2 * Math.max(ROOM, size / 4) < ids.length) {
            resize(size + ROOM);
        }
        sawFirst = first;
    }

    /** Of the row that was seen last. */
    boolean sawFirst() {
        return sawFirst;
    }

    private void resize(int room) {
        ids = Arrays.copyOf(ids, room);
        timesMs = Arrays.copyOf(timesMs, room);
    }

    @Override
    public FirstWithinState copy() {
        return new FirstWithinState(size, ids.clone(), timesMs.clone());
    }

    @Override
    public void write(DataOutputView out) throws IOException {
        Values.writeLong(out, size);
        for (int i = 0; i < size; i++) {
            out.writeLong(ids[i]);
            out.writeLong(timesMs[i]);
        }
    }

    /** Writes and reads it. */
    public static final class Serializer extends Durable.Serializer<FirstWithinState> {

        @Override
        public FirstWithinState createInstance() {
            return new FirstWithinState();
        }

        @Override
        FirstWithinState read(DataInputView in) throws IOException {
            int size = (int) Values.readLong(in);
            FirstWithinState state = new FirstWithinState(size, new long[size], new long[size]);
            for (int i = 0; i < size; i++) {
                state.ids[i] = in.readLong();
                state.timesMs[i] = in.readLong();
            }
            return state;
        }

        @Override
        public TypeSerializerSnapshot<FirstWithinState> snapshotConfiguration() {
            return new Snapshot();
        }

        /** For savepoints. */
        public static final class Snapshot extends SimpleTypeSerializerSnapshot<FirstWithinState> {
            public Snapshot() {
                super(Serializer::new);
            }
        }
    }
}
