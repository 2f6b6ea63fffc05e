package liveshelf;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/**
 * One entity's state: the events that wait for their turn in event time, the frames as of the newest event whose turn has
 * come, and the events that are still in one of the windows.
 */
public final class TrailingState implements Durable<TrailingState>, Personal {

    static final long NEVER = Long.MAX_VALUE;

    /** An event: its time and the values of the layout's columns. */
    private record Event(long time, Object[] values) {}

    /**
     * An event whose turn hasn't come, and its place in the topic.
     *
     * <p>Events stand by time, then partition, then offset. The order in which they come here says nothing: with a
     * parallelism above 1, the shuffle of the deduplication may change it.
     */
    private record Waiting(int partition, long offset, Event event) implements Comparable<Waiting> {

        @Override
        public int compareTo(Waiting other) {
            int order = Long.compare(event.time, other.event.time);
            order = order == 0 ? Integer.compare(partition, other.partition) : order;
            return order == 0 ? Long.compare(offset, other.offset) : order;
        }
    }

    /** The receiver of rows. */
    interface Output {
        void row(long eventTimeMs, long seq, String payload);

        /** Hear what the cap did: so many events left a window before their time, so many values aren't in a session. */
        default void capped(long events, long values) {}
    }

    final Origin origin;     // known where the entity is a visitor
    long wakesAt = NEVER;    // the earliest timer that was set for an event
    long endsAt = NEVER;     // the timer after which nothing of the entity may be left
    private long seq;        // events so far
    private long newest;     // their latest time; means nothing while seq is 0
    private List<Waiting> waiting = new ArrayList<>();
    private List<Event> recent = new ArrayList<>();
    private int[] from = new int[0];    // by frame: the first of `recent` that is in its window
    private Part[][] frames;
    private Blocks[][] blocks;          // as frames, of those parts that needed any; only a help, not kept

    TrailingState() {
        this(new Origin());
    }

    private TrailingState(Origin origin) {
        this.origin = origin;
    }

    /** All of the state goes or nothing: running values don't tell which events they are made of. */
    @Override
    public boolean forget(Person person, boolean required) {
        return person.forgets(origin);
    }

    @Override
    public List<Long> timers() {
        List<Long> times = new ArrayList<>(List.of(wakesAt, endsAt));
        waiting.forEach(each -> times.add(each.event.time));
        return times;
    }

    boolean isUnused() {
        return seq == 0 && waiting.isEmpty();
    }

    /** Let an event wait for its turn. */
    void add(long time, int partition, long offset, Object[] values) {
        Waiting each = new Waiting(partition, offset, new Event(time, values));
        int place = Collections.binarySearch(waiting, each);
        waiting.add(place < 0 ? -place - 1 : place + 1, each);
    }

    boolean isWaiting() {
        return !waiting.isEmpty();
    }

    long next() {
        return waiting.get(0).event.time;
    }

    long newest() {
        return newest;
    }

    /** Count the events up to a time, in their order. Make a row for each. */
    void advance(Layout layout, long upTo, StringBuilder json, Output out) {
        if (frames == null) {
            frames = layout.fresh();
            from = new int[frames.length];
        }
        long values = 0;
        long events = 0;
        int done = 0;
        while (done < waiting.size() && waiting.get(done).event.time <= upTo) {
            int end = done + 1;
            long time = waiting.get(done).event.time;
            while (end < waiting.size() && waiting.get(end).event.time == time) {
                end++;
            }
            List<Waiting> peers = waiting.subList(done, end);
            events += moveWindows(layout, time, peers);
            for (Waiting each : peers) {
                values += countInSessions(layout, each.event);
                seq++;
                newest = time;
                out.row(time, seq, layout.payload(frames, json));
            }
            done = end;
        }
        waiting.subList(0, done).clear();
        out.capped(events, values);
    }

    private int countInSessions(Layout layout, Event event) {
        int left = 0;
        for (int i = 0; i < frames.length; i++) {
            Layout.Frame frame = layout.frames.get(i);
            if (frame.session) {
                if (seq > 0 && event.time - newest > frame.ms) {
                    frames[i] = frame.fresh();
                }
                left += frame.add(frames[i], event.values, layout.cap);
            }
        }
        return left;
    }

    /** Let all events of one time enter together: a window as of an event holds its peers, as SQL's RANGE does. */
    private long moveWindows(Layout layout, long time, List<Waiting> peers) {
        boolean any = false;
        long early = 0;
        for (int i = 0; i < frames.length; i++) {
            Layout.Frame frame = layout.frames.get(i);
            if (!frame.session) {
                if (!any) {
                    for (Waiting each : peers) {
                        recent.add(new Event(time, layout.ofWindows(each.event.values)));
                    }
                    any = true;
                }
                early += moveWindow(layout, i, time - frame.ms, peers.size());
            }
        }
        if (any) {
            forget(layout);
        }
        return early;
    }

    /** Let old events leave and new ones enter. Return how many the cap put out, of which some may be new. */
    private int moveWindow(Layout layout, int i, long begin, int entering) {
        Layout.Frame frame = layout.frames.get(i);
        int known = recent.size() - entering;
        int before = from[i];
        while (recent.get(from[i]).time < begin) {
            from[i]++;
        }
        int early = Math.max(0, recent.size() - layout.cap - from[i]);
        from[i] += early;
        long number = seq - known;      // of the first of `recent`, among all of the entity's events
        for (int k = 0; k < frames[i].length; k++) {
            int column = frame.columns.get(k);
            boolean exact = true;
            for (int gone = before; gone < Math.min(from[i], known) && exact; gone++) {
                exact = frames[i][k].remove(recent.get(gone).values[column], known - gone);
            }
            if (!exact) {
                frames[i][k] = blocks(i, k).total(frames[i][k], from[i], recent.size(), number,
                    place -> recent.get(place).values[column]);
                continue;
            }
            for (Event event : recent.subList(Math.max(from[i], known), recent.size())) {
                frames[i][k].add(event.values[column]);
            }
        }
        return early;
    }

    /** Return the blocks of a part. Made ahead for all parts, they took a third of the heap of a visitor with one event. */
    private Blocks blocks(int frame, int part) {
        if (blocks == null) {
            blocks = new Blocks[frames.length][];
        }
        if (blocks[frame] == null) {
            blocks[frame] = new Blocks[frames[frame].length];
        }
        if (blocks[frame][part] == null) {
            blocks[frame][part] = new Blocks();
        }
        return blocks[frame][part];
    }

    private void forget(Layout layout) {
        int gone = Integer.MAX_VALUE;
        for (int i = 0; i < frames.length; i++) {
            gone = layout.frames.get(i).session ? gone : Math.min(gone, from[i]);
        }
        if (gone >= 16 && gone * 2 >= recent.size()) {
            recent = new ArrayList<>(recent.subList(gone, recent.size()));
            for (int i = 0; i < from.length; i++) {
                from[i] = Math.max(0, from[i] - gone);
            }
        }
    }

    @Override
    public TrailingState copy() {
        TrailingState copy = new TrailingState(origin.copy());
        copy.wakesAt = wakesAt;
        copy.endsAt = endsAt;
        copy.seq = seq;
        copy.newest = newest;
        copy.waiting = new ArrayList<>(waiting);
        copy.recent = new ArrayList<>(recent);
        copy.from = from.clone();
        if (frames != null) {
            copy.frames = new Part[frames.length][];
            Arrays.setAll(copy.frames, i -> Part.copyAll(frames[i]));
        }
        return copy;
    }

    @Override
    public void write(DataOutputView out) throws IOException {
        origin.write(out);
        Values.writeLong(out, wakesAt);
        Values.writeLong(out, endsAt);
        Values.writeLong(out, seq);
        Values.writeLong(out, newest);
        writeWaiting(out, waiting);
        writeEvents(out, recent);
        Values.writeLong(out, frames == null ? -1 : frames.length);
        for (int i = 0; frames != null && i < frames.length; i++) {
            Values.writeLong(out, from[i]);
            Part.writeAll(out, frames[i]);
        }
    }

    private static void writeWaiting(DataOutputView out, List<Waiting> waiting) throws IOException {
        Values.writeLong(out, waiting.size());
        for (Waiting each : waiting) {
            Values.writeLong(out, each.partition);
            Values.writeLong(out, each.offset);
            writeEvent(out, each.event);
        }
    }

    private static List<Waiting> readWaiting(DataInputView in) throws IOException {
        List<Waiting> waiting = new ArrayList<>();
        for (long left = Values.readLong(in); left > 0; left--) {
            waiting.add(new Waiting((int) Values.readLong(in), Values.readLong(in), readEvent(in)));
        }
        return waiting;
    }

    /** Give events of version 2, which had no places, places before all others. They keep the order that they had. */
    private static List<Waiting> inOrder(List<Event> events) {
        List<Waiting> waiting = new ArrayList<>();
        for (Event event : events) {
            waiting.add(new Waiting(-1, waiting.size(), event));
        }
        return waiting;
    }

    private static void writeEvents(DataOutputView out, List<Event> events) throws IOException {
        Values.writeLong(out, events.size());
        for (Event event : events) {
            writeEvent(out, event);
        }
    }

    private static List<Event> readEvents(DataInputView in) throws IOException {
        List<Event> events = new ArrayList<>();
        for (long left = Values.readLong(in); left > 0; left--) {
            events.add(readEvent(in));
        }
        return events;
    }

    private static void writeEvent(DataOutputView out, Event event) throws IOException {
        Values.writeLong(out, event.time);
        Values.writeLong(out, event.values.length);
        for (Object value : event.values) {
            Values.write(out, value);
        }
    }

    private static Event readEvent(DataInputView in) throws IOException {
        long time = Values.readLong(in);
        Object[] values = new Object[(int) Values.readLong(in)];
        for (int i = 0; i < values.length; i++) {
            values[i] = Values.read(in);
        }
        return new Event(time, values);
    }

    /** Writes and reads it. */
    public static final class Serializer extends Durable.Serializer<TrailingState> {

        private static final long serialVersionUID = 2610941030054072411L;
        /** Since version 3, a waiting event has its place in the topic. */
        private static final int WITH_PLACES = 3;

        @Override
        int version() {
            return WITH_PLACES;
        }

        @Override
        int oldest() {
            return 2;
        }

        @Override
        public TrailingState createInstance() {
            return new TrailingState();
        }

        @Override
        TrailingState read(int version, DataInputView in) throws IOException {
            TrailingState state = new TrailingState(Origin.read(in));
            state.wakesAt = Values.readLong(in);
            state.endsAt = Values.readLong(in);
            state.seq = Values.readLong(in);
            state.newest = Values.readLong(in);
            state.waiting = version < WITH_PLACES ? inOrder(readEvents(in)) : readWaiting(in);
            state.recent = readEvents(in);
            int count = (int) Values.readLong(in);
            if (count >= 0) {
                state.frames = new Part[count][];
                state.from = new int[count];
                for (int i = 0; i < count; i++) {
                    state.from[i] = (int) Values.readLong(in);
                    state.frames[i] = Part.readAll(in);
                }
            }
            return state;
        }

        @Override
        public TypeSerializerSnapshot<TrailingState> snapshotConfiguration() {
            return new Snapshot();
        }

        /** For savepoints. */
        public static final class Snapshot extends SimpleTypeSerializerSnapshot<TrailingState> {
            public Snapshot() {
                super(Serializer::new);
            }
        }
    }
}
