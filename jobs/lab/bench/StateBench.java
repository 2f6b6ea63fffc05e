package liveshelf;

import java.lang.management.ManagementFactory;
import java.lang.reflect.Constructor;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.apache.flink.api.common.typeutils.TypeSerializer;
import org.apache.flink.core.memory.DataOutputSerializer;
import org.apache.flink.runtime.state.VoidNamespace;
import org.apache.flink.runtime.state.VoidNamespaceSerializer;
import org.apache.flink.runtime.state.heap.CopyOnWriteStateMap;
import org.apache.flink.runtime.state.heap.StateMap;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RawValueData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.data.binary.BinaryRawValueData;
import org.apache.flink.table.data.binary.BinaryRowData;
import org.apache.flink.table.data.writer.BinaryRowWriter;
import org.apache.flink.table.runtime.typeutils.RawValueDataSerializer;

/**
 * {@code StateBench KIND FEATURES CAP ENTITIES EVENTS SLIDES}: hold the state of so many entities as Flink's heap backend
 * does, and print "bytes of heap an entity, bytes of it in a checkpoint".
 *
 * <p>An entity has its key, its place in Flink's map, a timer, and the state with EVENTS events of the last day. Flink keeps
 * what a checkpoint has written of a state beside the state until it changes, so each is serialized once, too. A
 * checkpoint holds the key twice: with the state, and with the timer.
 */
public class StateBench {

    private static final long DAY_MS = 86_400_000;
    private static final int VISIT = 10;            // events, as in clicks.py
    private static final long PAUSE_MS = 20_000;
    private static final int FRAME = 5;             // bytes that a checkpoint has beside a key: its length, and the namespace
    private static final Random CHANCE = new Random(7);

    /** What stands for a timer in Flink's queue and its set: key, namespace, time and place. */
    private record Timer(BinaryRowData key, VoidNamespace namespace, long time, int place) {}

    // Fields, so that nothing of it is garbage when the heap is measured.
    private static final Map<Timer, Timer> TIMERS = new HashMap<>();
    private static final List<Timer> QUEUE = new ArrayList<>();
    private static StateMap<BinaryRowData, VoidNamespace, GenericRowData> map;
    private static Layout trailing;
    private static SlidingLayout sliding;

    public static void main(String[] arguments) throws Exception {
        String kind = arguments[0];
        int entities = Integer.parseInt(arguments[3]);
        int events = Integer.parseInt(arguments[4]);
        int slides = Integer.parseInt(arguments[5]);
        trailing = kind.equals("trailing") ? new Layout(arguments[1], Integer.parseInt(arguments[2])) : null;
        sliding = kind.equals("sliding") ? new SlidingLayout(arguments[1]) : null;
        map = map();
        hold(kind, 0, entities, events, slides);    // what the JVM itself takes has come by then
        long before = heap();
        long written = hold(kind, entities, 2 * entities, events, slides);
        System.out.println((heap() - before) / entities + " " + written / entities);
        if (map.size() != 2 * entities) {
            throw new IllegalStateException("states are missing");
        }
    }

    /** Make states of entities, and return the bytes that a checkpoint writes of them. */
    private static long hold(String kind, int from, int to, int events, int slides) throws Exception {
        long written = 0;
        for (int entity = from; entity < to; entity++) {
            BinaryRowData key = key();
            Object state = switch (kind) {
                case "trailing" -> trailing(trailing, events);
                case "sliding" -> sliding(sliding, events, slides);
                case "history" -> history(events);
                default -> ids(events);
            };
            BinaryRawValueData<Object> raw = new BinaryRawValueData<>(state);
            written += written(raw, kind) + key.getSizeInBytes() + FRAME;
            map.put(key, VoidNamespace.INSTANCE, GenericRowData.of((long) events + 1_000, raw));
            if (trailing != null || sliding != null) {
                written += key.getSizeInBytes() + FRAME + Long.BYTES;
                Timer timer = new Timer(key, VoidNamespace.INSTANCE, entity, entity);
                TIMERS.put(timer, timer);
                QUEUE.add(timer);
            }
        }
        return written;
    }

    private static TrailingState trailing(Layout layout, int events) {
        TrailingState state = new TrailingState();
        StringBuilder json = new StringBuilder();
        int visits = (events + VISIT - 1) / VISIT;
        for (int number = 0; number < events; number++) {
            long time = number / VISIT * (DAY_MS / visits) + number % VISIT * PAUSE_MS;
            state.add(time, 0, number, BotBench.values(layout.columns, number, time, CHANCE));
            state.advance(layout, time, json, (at, seq, payload) -> {});
        }
        return state;
    }

    /** Events of different visitors, spread over so many slides of the day. */
    private static SlidingState sliding(SlidingLayout layout, int events, int slides) {
        SlidingState state = new SlidingState();
        StringBuilder json = new StringBuilder();
        for (int number = 0; number < events; number++) {
            long time = (long) number * slides / events * (DAY_MS / slides);
            Object visitor = String.format("%016x%016x", CHANCE.nextLong(), CHANCE.nextLong());
            state.add(layout, time, new Object[] {1L, 0L, 0L, visitor});
            state.advance(layout, time, json, (at, seq, payload) -> {});
        }
        state.advance(layout, DAY_MS - 1, json, (at, seq, payload) -> {});
        return state;
    }

    private static HistoryState history(int events) {
        HistoryState state = new HistoryState();
        for (int number = 0; number < events; number++) {
            String packed = String.join("\u001f", "1796000000000", "view", "item-" + CHANCE.nextInt(1_000_000), uuid(), "");
            state.add(new HistoryState.Visit(0, number, 1_796_000_000_000L + number, packed));
        }
        return state;
    }

    private static FirstWithinState ids(int events) {
        FirstWithinState state = new FirstWithinState();
        for (int number = 0; number < events; number++) {
            state.see(CHANCE.nextLong(), number, DAY_MS, Long.MIN_VALUE);
        }
        return state;
    }

    private static String uuid() {
        return new java.util.UUID(CHANCE.nextLong(), CHANCE.nextLong()).toString();
    }

    /** Return a key as jobs with a secret have it: 16 bytes of a hash, and the id. */
    private static BinaryRowData key() {
        BinaryRowData key = new BinaryRowData(2);
        BinaryRowWriter writer = new BinaryRowWriter(key);
        byte[] hash = new byte[16];
        CHANCE.nextBytes(hash);
        writer.writeBinary(0, hash);
        writer.writeString(1, StringData.fromString(uuid()));
        writer.complete();
        return key.copy();
    }

    @SuppressWarnings({"unchecked", "rawtypes"})
    private static int written(BinaryRawValueData<Object> raw, String kind) throws Exception {
        TypeSerializer serializer = switch (kind) {
            case "trailing" -> new TrailingState.Serializer();
            case "sliding" -> new SlidingState.Serializer();
            case "history" -> new HistoryState.Serializer();
            default -> new FirstWithinState.Serializer();
        };
        DataOutputSerializer out = new DataOutputSerializer(1 << 10);
        new RawValueDataSerializer<Object>(serializer).serialize((RawValueData<Object>) raw, out);
        return out.length();
    }

    @SuppressWarnings("unchecked")
    private static StateMap<BinaryRowData, VoidNamespace, GenericRowData> map() throws Exception {
        Constructor<?> constructor = CopyOnWriteStateMap.class.getDeclaredConstructors()[0];
        for (Constructor<?> each : CopyOnWriteStateMap.class.getDeclaredConstructors()) {
            constructor = each.getParameterCount() == 1 ? each : constructor;
        }
        constructor.setAccessible(true);
        return (StateMap<BinaryRowData, VoidNamespace, GenericRowData>) constructor.newInstance(
            (Object) VoidNamespaceSerializer.INSTANCE);     // never asked: no snapshot is taken
    }

    private static long heap() {
        for (int again = 0; again < 3; again++) {
            System.gc();
        }
        return ManagementFactory.getMemoryMXBean().getHeapMemoryUsage().getUsed();
    }
}
