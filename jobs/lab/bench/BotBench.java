package liveshelf;

import java.lang.management.ManagementFactory;
import java.util.List;
import java.util.Random;
import org.apache.flink.core.memory.DataOutputSerializer;

/**
 * {@code BotBench FEATURES CAP N…}: one visitor with N events in the longest window, for each N; of a second full window a line
 * "N, µs an event, bytes of state, µs to copy it".
 */
public class BotBench {

    public static void main(String[] arguments) throws Exception {
        for (int i = 2; i < arguments.length; i++) {
            Layout layout = new Layout(arguments[0], Integer.parseInt(arguments[1]));
            for (int again = 0; again < 10; again++) {      // for the compiler
                measure(layout, 1_000);
            }
            System.out.println(arguments[i] + " " + measure(layout, Integer.parseInt(arguments[i])));
        }
    }

    private static String measure(Layout layout, int count) throws Exception {
        TrailingState state = new TrailingState();
        StringBuilder json = new StringBuilder();
        long[] rows = new long[1];
        Random chance = new Random(7);
        long begin = 0;
        int measured = Math.min(count, 20_000);
        for (int number = 0; number < count + measured; number++) {
            begin = number == count ? cpuNanos() : begin;
            long time = (long) number * layout.horizonMs / count;
            state.add(time, 0, number, values(layout.columns, number, time, chance));
            state.advance(layout, time, json, (at, seq, payload) -> rows[0]++);
        }
        double micros = (cpuNanos() - begin) / 1e3 / measured;
        DataOutputSerializer out = new DataOutputSerializer(1 << 16);
        state.write(out);
        long before = cpuNanos();
        for (int again = 0; again < 20; again++) {
            rows[0] += state.copy().newest();
        }
        return String.format("%.2f %d %.0f", micros, out.length(), (cpuNanos() - before) / 20e3);
    }

    /** Of this thread: the machine may have other work. */
    private static long cpuNanos() {
        return ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime();
    }

    static Object[] values(List<String> columns, int number, long time, Random chance) {
        Object[] values = new Object[columns.size()];
        for (int i = 0; i < values.length; i++) {
            values[i] = switch (columns.get(i)) {
                case "event_time_s" -> time / 1000.0;
                case "rating" -> chance.nextInt(10) / 2.0;
                case "event_id" -> "e" + number;
                case "item_id" -> "item-" + chance.nextInt(1_000_000);
                case "category", "event_type" -> "c" + chance.nextInt(8);
                case "price_minor", "viewed_price_minor", "purchase_value_minor", "cart_delta_minor", "dwell_ms" ->
                    (Object) (long) chance.nextInt(10_000);
                case "event_time_ms" -> time;
                default -> (long) chance.nextInt(2);
            };
        }
        return values;
    }
}
