package liveshelf;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/**
 * One entity's slides, each until it has left the longest window, and the windows' running values.
 *
 * <p>A slide enters all windows at its end, and leaves each window that window's length later. A row is made only then.
 * Flink's {@code HOP} makes a row of every entity at every slide: 1,440 a day for each event, for 24 h by 1 min.
 */
public final class SlidingState implements Durable<SlidingState> {

    static final long NEVER = Long.MAX_VALUE;

    /** A distinct value and the slide in which it was seen last. It counts until that slide leaves. */
    private static final class Seen {
        final Object value;
        Slide in;

        Seen(Object value, Slide in) {
            this.value = value;
            this.in = in;
        }
    }

    /** What happened in one slide that ends at {@code end}. */
    private static final class Slide {
        final long end;
        final Part.Sums[] sums;
        Set<Object>[] values;   // while it is open
        Seen[][] seen;          // once it has entered the windows

        Slide(long end, Part.Sums[] sums) {
            this.end = end;
            this.sums = sums;
        }
    }

    final Origin origin;     // known where the entity is a visitor
    long wakesAt = NEVER;
    private TreeMap<Long, Slide> open = new TreeMap<>();
    private List<Slide> entered = new ArrayList<>();
    private int[] from = new int[0];              // by window: the first of `entered` that is in it
    private Part.Sums[][] sums = new Part.Sums[0][];      // by window and summed column
    private long[][] distinct = new long[0][];    // by window and distinct column
    private Map<Object, Seen>[] last = maps(0);   // by distinct column

    SlidingState() {
        this(new Origin());
    }

    private SlidingState(Origin origin) {
        this.origin = origin;
    }

    /** Return the state as consent sees it. All of it goes or nothing: a slide doesn't tell which events it is made of. */
    Personal with(SlidingLayout layout) {
        return new Personal() {

            @Override
            public boolean forget(Person person, boolean required) {
                return person.forgets(origin);
            }

            @Override
            public Set<Long> timers() {
                return SlidingState.this.timers(layout);
            }
        };
    }

    /** Return the times of all timers that may be set: the last instants before slides enter or leave. */
    Set<Long> timers(SlidingLayout layout) {
        Set<Long> times = new HashSet<>();
        open.keySet().forEach(end -> times.add(end - 1));
        for (Slide slide : entered) {
            for (long windowMs : layout.windowsMs) {
                times.add(slide.end + windowMs - 1);
            }
        }
        return times;
    }

    /** Put an event into its slide. An event exactly at the end of a slide belongs to the next one. */
    void add(SlidingLayout layout, long timeMs, Object[] values) {
        long end = (Math.floorDiv(timeMs, layout.slideMs) + 1) * layout.slideMs;
        Slide slide = open.get(end);
        if (slide == null) {
            slide = new Slide(end, layout.freshSums());
            slide.values = sets(layout.distinct.length);
            open.put(end, slide);
        }
        for (int i = 0; i < layout.summed.length; i++) {
            slide.sums[i].add(values[layout.summed[i]]);
        }
        for (int i = 0; i < layout.distinct.length; i++) {
            if (values[layout.distinct[i]] != null) {
                slide.values[i].add(values[layout.distinct[i]]);
            }
        }
    }

    /** Return when the next slide enters or leaves, or NEVER. */
    long next(SlidingLayout layout) {
        long next = open.isEmpty() ? NEVER : open.firstKey();
        for (int w = 0; w < from.length; w++) {
            if (from[w] < entered.size()) {
                next = Math.min(next, entered.get(from[w]).end + layout.windowsMs[w]);
            }
        }
        return next;
    }

    /** Let slides enter and leave up to a time. Make a row for each moment at which one does. */
    void advance(SlidingLayout layout, long upTo, StringBuilder json, TrailingState.Output out) {
        int windows = layout.windowsMs.length;
        if (from.length == 0) {
            from = new int[windows];
            sums = new Part.Sums[windows][];
            Arrays.setAll(sums, w -> layout.freshSums());
            distinct = new long[windows][layout.distinct.length];
            last = maps(layout.distinct.length);
        }
        for (long at = next(layout); at <= upTo; at = next(layout)) {
            for (int w = windows - 1; w >= 0; w--) {
                while (from[w] < entered.size() && entered.get(from[w]).end + layout.windowsMs[w] == at) {
                    leave(layout, w, w == windows - 1);
                }
            }
            Slide slide = open.remove(at);
            if (slide != null) {
                enter(layout, slide);
            }
            forget();
            out.row(at, 0, layout.payload(sums, distinct, json));
        }
    }

    private void leave(SlidingLayout layout, int w, boolean longest) {
        Slide slide = entered.get(from[w]);
        from[w]++;
        for (int i = 0; i < sums[w].length; i++) {
            if (!sums[w][i].unmerge(slide.sums[i])) {
                sums[w][i] = (Part.Sums) sums[w][i].empty();
                for (Slide still : entered.subList(from[w], entered.size())) {
                    sums[w][i].merge(still.sums[i]);
                }
            }
        }
        for (int i = 0; i < slide.seen.length; i++) {
            for (Seen seen : slide.seen[i]) {
                if (seen.in == slide) {
                    distinct[w][i]--;
                    if (longest) {
                        last[i].remove(seen.value);
                    }
                }
            }
        }
    }

    private void enter(SlidingLayout layout, Slide slide) {
        for (int w = 0; w < sums.length; w++) {
            for (int i = 0; i < sums[w].length; i++) {
                sums[w][i].merge(slide.sums[i]);
            }
        }
        slide.seen = new Seen[slide.values.length][];
        for (int i = 0; i < slide.values.length; i++) {
            slide.seen[i] = new Seen[slide.values[i].size()];
            int place = 0;
            for (Object value : slide.values[i]) {
                Seen seen = last[i].get(value);
                for (int w = 0; w < sums.length; w++) {
                    if (seen == null || slide.end - seen.in.end >= layout.windowsMs[w]) {
                        distinct[w][i]++;
                    }
                }
                if (seen == null) {
                    seen = new Seen(value, slide);
                    last[i].put(value, seen);
                }
                seen.in = slide;
                slide.seen[i][place++] = seen;
            }
        }
        slide.values = null;
        entered.add(slide);
    }

    private void forget() {
        int gone = Arrays.stream(from).min().getAsInt();
        if (gone >= 16 && gone * 2 >= entered.size() || gone == entered.size()) {
            entered = new ArrayList<>(entered.subList(gone, entered.size()));
            for (int w = 0; w < from.length; w++) {
                from[w] -= gone;
            }
        }
    }

    @SuppressWarnings("unchecked")
    private static Set<Object>[] sets(int count) {
        Set<Object>[] sets = new Set[count];
        Arrays.setAll(sets, i -> new HashSet<>());
        return sets;
    }

    @SuppressWarnings("unchecked")
    private static Map<Object, Seen>[] maps(int count) {
        Map<Object, Seen>[] maps = new Map[count];
        Arrays.setAll(maps, i -> new HashMap<>());
        return maps;
    }

    private static Part.Sums[] copyOf(Part.Sums[] sums) {
        return Arrays.copyOf(Part.copyAll(sums), sums.length, Part.Sums[].class);
    }

    @Override
    public SlidingState copy() {
        SlidingState copy = new SlidingState(origin.copy());
        copy.wakesAt = wakesAt;
        open.forEach((end, slide) -> {
            Slide same = new Slide(end, copyOf(slide.sums));
            same.values = sets(slide.values.length);
            Arrays.setAll(same.values, i -> new HashSet<>(slide.values[i]));
            copy.open.put(end, same);
        });
        copy.from = from.clone();
        copy.sums = new Part.Sums[sums.length][];
        Arrays.setAll(copy.sums, w -> copyOf(sums[w]));
        copy.distinct = new long[distinct.length][];
        Arrays.setAll(copy.distinct, w -> distinct[w].clone());
        copy.last = maps(last.length);
        for (Slide slide : entered) {
            Slide same = new Slide(slide.end, slide.sums);  // what has entered doesn't change
            same.seen = new Seen[slide.seen.length][];
            for (int i = 0; i < slide.seen.length; i++) {
                int column = i;
                same.seen[i] = Arrays.stream(slide.seen[i]).filter(seen -> seen.in == slide)
                    .map(seen -> new Seen(seen.value, same)).toArray(Seen[]::new);
                for (Seen seen : same.seen[i]) {
                    copy.last[column].put(seen.value, seen);
                }
            }
            copy.entered.add(same);
        }
        return copy;
    }

    @Override
    public void write(DataOutputView out) throws IOException {
        origin.write(out);
        Values.writeLong(out, wakesAt);
        Values.writeLong(out, open.size());
        for (Slide slide : open.values()) {
            Values.writeLong(out, slide.end);
            Part.writeAll(out, slide.sums);
            Values.writeLong(out, slide.values.length);
            for (Set<Object> values : slide.values) {
                Values.writeLong(out, values.size());
                for (Object value : values) {
                    Values.write(out, value);
                }
            }
        }
        Values.writeLong(out, from.length);
        for (int w = 0; w < from.length; w++) {
            Values.writeLong(out, from[w]);
            Part.writeAll(out, sums[w]);
            Values.writeLong(out, distinct[w].length);
            for (long count : distinct[w]) {
                Values.writeLong(out, count);
            }
        }
        Values.writeLong(out, last.length);
        Values.writeLong(out, entered.size());
        for (Slide slide : entered) {
            Values.writeLong(out, slide.end);
            Part.writeAll(out, slide.sums);
            for (Seen[] all : slide.seen) {
                Values.writeLong(out, Arrays.stream(all).filter(seen -> seen.in == slide).count());
                for (Seen seen : all) {
                    if (seen.in == slide) {
                        Values.write(out, seen.value);
                    }
                }
            }
        }
    }

    private static Part.Sums[] readSums(DataInputView in) throws IOException {
        Part[] parts = Part.readAll(in);
        return Arrays.copyOf(parts, parts.length, Part.Sums[].class);
    }

    /** Writes and reads it. */
    public static final class Serializer extends Durable.Serializer<SlidingState> {

        private static final long serialVersionUID = 8104697738202617612L;

        @Override
        int version() {
            return 2;
        }

        @Override
        int oldest() {
            return 2;
        }

        @Override
        public SlidingState createInstance() {
            return new SlidingState();
        }

        @Override
        SlidingState read(int version, DataInputView in) throws IOException {
            SlidingState state = new SlidingState(Origin.read(in));
            state.wakesAt = Values.readLong(in);
            for (long left = Values.readLong(in); left > 0; left--) {
                Slide slide = new Slide(Values.readLong(in), readSums(in));
                slide.values = sets((int) Values.readLong(in));
                for (Set<Object> values : slide.values) {
                    for (long more = Values.readLong(in); more > 0; more--) {
                        values.add(Values.read(in));
                    }
                }
                state.open.put(slide.end, slide);
            }
            int windows = (int) Values.readLong(in);
            state.from = new int[windows];
            state.sums = new Part.Sums[windows][];
            state.distinct = new long[windows][];
            for (int w = 0; w < windows; w++) {
                state.from[w] = (int) Values.readLong(in);
                state.sums[w] = readSums(in);
                state.distinct[w] = new long[(int) Values.readLong(in)];
                for (int i = 0; i < state.distinct[w].length; i++) {
                    state.distinct[w][i] = Values.readLong(in);
                }
            }
            state.last = maps((int) Values.readLong(in));
            for (long left = Values.readLong(in); left > 0; left--) {
                state.entered.add(readSlide(in, state.last));
            }
            return state;
        }

        private static Slide readSlide(DataInputView in, Map<Object, Seen>[] last) throws IOException {
            Slide slide = new Slide(Values.readLong(in), readSums(in));
            slide.seen = new Seen[last.length][];
            for (int i = 0; i < last.length; i++) {
                slide.seen[i] = new Seen[(int) Values.readLong(in)];
                for (int k = 0; k < slide.seen[i].length; k++) {
                    Seen seen = new Seen(Values.read(in), slide);
                    slide.seen[i][k] = seen;
                    last[i].put(seen.value, seen);
                }
            }
            return slide;
        }

        @Override
        public TypeSerializerSnapshot<SlidingState> snapshotConfiguration() {
            return new Snapshot();
        }

        /** For savepoints. */
        public static final class Snapshot extends SimpleTypeSerializerSnapshot<SlidingState> {
            public Snapshot() {
                super(Serializer::new);
            }
        }
    }
}
