package liveshelf;

import java.io.DataInput;
import java.io.DataOutput;
import java.io.IOException;
import java.util.ArrayDeque;
import java.util.HashMap;
import java.util.Map;

/**
 * The running values of one column in one frame.
 *
 * <p>A value is added as its event enters the frame, and taken away as it leaves. Nulls don't count.
 */
abstract class Part {

    private static final char ROWS = 'r';

    abstract void add(Object value);

    /** Add a value, unless that would make more than {@code most} distinct ones. Return false if it wasn't added. */
    boolean addUpTo(Object value, int most) {
        add(value);
        return true;
    }

    /**
     * Take away the oldest value of a frame that holds {@code held} events. Return false if that can't be done exactly: the
     * caller then adds up the frame again.
     */
    abstract boolean remove(Object value, int held);

    /** Add what another part of the kind holds, as if its values came next. Kinds that are always exact don't need it. */
    void merge(Part other) {
        throw new UnsupportedOperationException("kind '" + kind() + "'");
    }

    abstract Part empty();

    abstract Part copy();

    /** Return the kind's name in state, so that state can be read without its plan. */
    abstract char kind();

    abstract void write(DataOutput out) throws IOException;

    abstract void read(DataInput in) throws IOException;

    static void writeAll(DataOutput out, Part[] parts) throws IOException {
        Values.writeLong(out, parts.length);
        for (Part each : parts) {
            out.writeByte(each.kind());
            each.write(out);
        }
    }

    static Part[] readAll(DataInput in) throws IOException {
        Part[] parts = new Part[(int) Values.readLong(in)];
        for (int i = 0; i < parts.length; i++) {
            char kind = (char) in.readByte();
            parts[i] = kind == ROWS ? rows(in) : ofKind(kind);
            if (kind != ROWS) {
                parts[i].read(in);
            }
        }
        return parts;
    }

    /** Read a count of events as release 0.1.0 wrote it, as a kind of its own. Now it is a sum. */
    private static Part rows(DataInput in) throws IOException {
        Sums events = new Sums(false);
        events.count = Values.readLong(in);
        return events;
    }

    static Part[] copyAll(Part[] parts) {
        Part[] copy = new Part[parts.length];
        for (int i = 0; i < parts.length; i++) {
            copy[i] = parts[i].copy();
        }
        return copy;
    }

    private static Part ofKind(char kind) throws IOException {
        return switch (kind) {
            case 's' -> new Sums(false);
            case 'q' -> new Sums(true);
            case 'x' -> new Extremes();
            case 'd' -> new Distinct();
            case 'e' -> new Ends();
            case 'l' -> new Latest(0);
            default -> throw new IOException("state is broken: no part is of kind '" + kind + "'");
        };
    }

    /** Count, sum and sum of squares. Whole numbers are exact; others are added up again when one leaves. */
    static final class Sums extends Part {
        final boolean squared;
        long count;
        long whole;
        double real;
        double squares;
        boolean isReal;

        Sums(boolean squared) {
            this.squared = squared;
        }

        @Override
        void add(Object value) {
            if (value == null) {
                return;
            }
            count++;
            if (value instanceof Long number) {
                whole += number;
            } else if (value instanceof Double number) {
                real += number;
                isReal = true;
            }
            if (squared) {
                double number = ((Number) value).doubleValue();
                squares += number * number;
            }
        }

        @Override
        boolean remove(Object value, int held) {
            if (value == null) {
                return true;
            }
            if (squared || value instanceof Double) {
                return false;
            }
            count--;
            whole -= value instanceof Long number ? number : 0;
            return true;
        }

        @Override
        void merge(Part other) {
            Sums more = (Sums) other;
            count += more.count;
            whole += more.whole;
            real += more.real;
            squares += more.squares;
            isReal |= more.isReal;
        }

        boolean unmerge(Sums other) {
            if (squared || other.isReal) {
                return false;
            }
            count -= other.count;
            whole -= other.whole;
            return true;
        }

        Object sum() {
            return isReal ? (Object) real : (Object) whole;
        }

        private double total() {
            return isReal ? real : whole;
        }

        Object mean() {
            return count == 0 ? null : (Object) (total() / count);
        }

        Object std() {
            return count < 2 ? null : (Object) Math.sqrt(Math.max(0, (squares - total() * total() / count) / (count - 1)));
        }

        @Override
        Part empty() {
            return new Sums(squared);
        }

        @Override
        Sums copy() {
            Sums copy = new Sums(squared);
            copy.merge(this);
            return copy;
        }

        @Override
        char kind() {
            return squared ? 'q' : 's';
        }

        @Override
        void write(DataOutput out) throws IOException {
            Values.writeLong(out, count);
            Values.writeLong(out, whole);
            out.writeBoolean(isReal);
            if (isReal) {
                out.writeDouble(real);
            }
            if (squared) {
                out.writeDouble(squares);
            }
        }

        @Override
        void read(DataInput in) throws IOException {
            count = Values.readLong(in);
            whole = Values.readLong(in);
            isReal = in.readBoolean();
            real = isReal ? in.readDouble() : 0;
            squares = squared ? in.readDouble() : 0;
        }
    }

    /** Smallest and largest. */
    static final class Extremes extends Part {
        Object min;
        Object max;

        @Override
        void add(Object value) {
            if (value != null) {
                min = min == null || Values.compare(value, min) < 0 ? value : min;
                max = max == null || Values.compare(value, max) > 0 ? value : max;
            }
        }

        @Override
        boolean remove(Object value, int held) {
            return value == null || !(value.equals(min) || value.equals(max));
        }

        @Override
        void merge(Part other) {
            add(((Extremes) other).min);
            add(((Extremes) other).max);
        }

        Object span() {
            if (min == null) {
                return null;
            }
            return min instanceof Long least ? (Object) ((Long) max - least) : (Object) ((Double) max - (Double) min);
        }

        @Override
        Part empty() {
            return new Extremes();
        }

        @Override
        Part copy() {
            Extremes copy = new Extremes();
            copy.min = min;
            copy.max = max;
            return copy;
        }

        @Override
        char kind() {
            return 'x';
        }

        @Override
        void write(DataOutput out) throws IOException {
            Values.write(out, min);
            Values.write(out, max);
        }

        @Override
        void read(DataInput in) throws IOException {
            min = Values.read(in);
            max = Values.read(in);
        }
    }

    /** Each distinct value, and how often it is there. */
    static final class Distinct extends Part {
        final Map<Object, Long> counts = new HashMap<>();

        @Override
        void add(Object value) {
            if (value != null) {
                counts.merge(value, 1L, Long::sum);
            }
        }

        @Override
        boolean addUpTo(Object value, int most) {
            while (counts.size() > most) {      // after a restart with a smaller cap
                counts.remove(counts.keySet().iterator().next());
            }
            if (value != null && counts.size() == most && !counts.containsKey(value)) {
                return false;
            }
            add(value);
            return true;
        }

        @Override
        boolean remove(Object value, int held) {
            if (value != null) {
                counts.compute(value, (same, count) -> count == 1 ? null : count - 1);
            }
            return true;
        }

        @Override
        Part empty() {
            return new Distinct();
        }

        @Override
        Part copy() {
            Distinct copy = new Distinct();
            copy.counts.putAll(counts);
            return copy;
        }

        @Override
        char kind() {
            return 'd';
        }

        @Override
        void write(DataOutput out) throws IOException {
            Values.writeLong(out, counts.size());
            for (Map.Entry<Object, Long> each : counts.entrySet()) {
                Values.write(out, each.getKey());
                Values.writeLong(out, each.getValue());
            }
        }

        @Override
        void read(DataInput in) throws IOException {
            for (long left = Values.readLong(in); left > 0; left--) {
                counts.put(Values.read(in), Values.readLong(in));
            }
        }
    }

    /** The first and the last that isn't null. */
    static final class Ends extends Part {
        Object first;
        Object last;

        @Override
        void add(Object value) {
            if (value != null) {
                first = first == null ? value : first;
                last = value;
            }
        }

        @Override
        boolean remove(Object value, int held) {
            return value == null;
        }

        @Override
        void merge(Part other) {
            Ends next = (Ends) other;
            first = first == null ? next.first : first;
            last = next.last == null ? last : next.last;
        }

        @Override
        Part empty() {
            return new Ends();
        }

        @Override
        Part copy() {
            Ends copy = new Ends();
            copy.first = first;
            copy.last = last;
            return copy;
        }

        @Override
        char kind() {
            return 'e';
        }

        @Override
        void write(DataOutput out) throws IOException {
            Values.write(out, first);
            Values.write(out, last);
        }

        @Override
        void read(DataInput in) throws IOException {
            first = Values.read(in);
            last = Values.read(in);
        }
    }

    /** The values of the last n events, nulls among them. */
    static final class Latest extends Part {
        static final Object NOTHING = new Object();  // a deque takes no null
        private int n;
        final ArrayDeque<Object> values = new ArrayDeque<>();

        Latest(int n) {
            this.n = n;
        }

        @Override
        void add(Object value) {
            if (values.size() == n) {
                values.removeFirst();
            }
            values.addLast(value == null ? NOTHING : value);
        }

        @Override
        boolean remove(Object value, int held) {
            if (values.size() == held) {    // else the oldest is none of the last n
                values.removeFirst();
            }
            return true;
        }

        @Override
        Part empty() {
            return new Latest(n);
        }

        @Override
        Part copy() {
            Latest copy = new Latest(n);
            copy.values.addAll(values);
            return copy;
        }

        @Override
        char kind() {
            return 'l';
        }

        @Override
        void write(DataOutput out) throws IOException {
            Values.writeLong(out, n);
            Values.writeLong(out, values.size());
            for (Object each : values) {
                Values.write(out, each == NOTHING ? null : each);
            }
        }

        @Override
        void read(DataInput in) throws IOException {
            n = (int) Values.readLong(in);
            for (long left = Values.readLong(in); left > 0; left--) {
                add(Values.read(in));
            }
        }
    }
}
