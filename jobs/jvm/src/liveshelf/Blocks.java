package liveshelf;

import java.util.TreeMap;
import java.util.function.IntFunction;

/**
 * Adds up a window from few pieces, for values that can't be taken away exactly: it keeps parts of 64 events each.
 *
 * <p>Blocks begin at multiples of 64 of an entity's events. So the order of additions depends on the events only, not on when
 * state was copied or restored, and sums of fractions round alike in every run. Blocks are never stored: a block that is
 * missing is added up again.
 */
final class Blocks {

    private static final int SIZE = 64;     // of 5,000 events: at most 2 × 63 values and 78 blocks

    private final TreeMap<Long, Part> full = new TreeMap<>();

    /** Return a part like the given one, of the values at places {@code from} to {@code end}. Place 0 is event {@code number}. */
    Part total(Part like, int from, int end, long number, IntFunction<Object> values) {
        full.headMap((number + from) / SIZE).clear();
        Part total = like.empty();
        int place = from;
        while (place < end) {
            long block = (number + place) / SIZE;
            if (block * SIZE == number + place && place + SIZE <= end) {
                int begin = place;
                total.merge(full.computeIfAbsent(block, absent -> sum(like, begin, begin + SIZE, values)));
                place += SIZE;
            } else {
                total.add(values.apply(place++));
            }
        }
        return total;
    }

    private static Part sum(Part like, int begin, int end, IntFunction<Object> values) {
        Part part = like.empty();
        for (int place = begin; place < end; place++) {
            part.add(values.apply(place));
        }
        return part;
    }
}
