package liveshelf;

import java.io.IOException;
import java.util.Arrays;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/**
 * The ids of one bucket that counted: 64 bits of each id's digest, and the time of the event that counted.
 *
 * <p>An id takes 16 bytes, and is found by looking at all of them. As a key of Flink's own state it took 245. The chance that
 * two of a hundred million ids have the same bucket and the same 64 bits is one in 250,000,000.
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
     * Find out whether an event is the first with its id within the horizon of event time. If it is, remember it.
     *
     * <p>An id whose time is a horizon before the watermark is forgotten: no event on time can repeat it any more.
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

    /** Return the answer about the event that was seen last. */
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

        private static final long serialVersionUID = 346071190268353438L;

        @Override
        int version() {
            return 2;
        }

        @Override
        int oldest() {
            return 2;
        }

        @Override
        public FirstWithinState createInstance() {
            return new FirstWithinState();
        }

        @Override
        FirstWithinState read(int version, DataInputView in) throws IOException {
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
