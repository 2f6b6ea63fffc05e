package liveshelf;

import java.util.Arrays;
import java.util.TreeMap;
import java.util.function.IntFunction;

/**
 * Parts of a window's events in blocks of 64, to add a window up from few pieces when a value can't be taken away exactly.
 *
 * <p>Blocks begin at multiples of 64 of an entity's events, so sums of fractions round alike in every run: what is added to
 * what depends on the events only, and not on when state was copied or restored. It is never stored: what is missing is
 * added up again.
 */
final class Blocks {

    private static final int SIZE = 64;     // of 5,000 events: at most 2 × 63 values and 78 blocks

    private final TreeMap<Long, Part> full = new TreeMap<>();

    static Blocks[][] of(Part[][] frames) {
        Blocks[][] all = new Blocks[frames.length][];
        for (int i = 0; i < all.length; i++) {
            all[i] = new Blocks[frames[i].length];
            Arrays.setAll(all[i], k -> new Blocks());
        }
        return all;
    }

    /** A part like the given one, of the values at places {@code from} to {@code end}; {@code number} is the one of place 0. */
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
