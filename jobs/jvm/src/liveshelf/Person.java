package liveshelf;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * One visitor's consent: the records of topic {@code consent}, the newest last. Pure.
 *
 * <p>It answers two questions. Was an event allowed when it happened? The newest record up to its time decides, and an event
 * that wasn't allowed counts nowhere. Has the visitor been forgotten since, by a withdrawal or an erasure? Then the event
 * counts in aggregates that hold no person (items, categories), and no more in anything of the visitor's own.
 */
record Person(List<Entry> entries) {

    enum Verdict { COUNTS, FORGOTTEN, SUPPRESSED }

    static final String GRANTED = "granted";
    static final String WITHDRAWN = "withdrawn";
    static final String ERASED = "erased";
    static final long NEVER = Long.MIN_VALUE;
    static final long ALL = 4_102_444_800_000L;     // 2100: no event is later

    /**
     * One record and its place.
     *
     * <p>An erasure's {@code before} holds where the events topic ended, by partition. {@code after} is the state from then on:
     * a withdrawal still holds after an erasure, and a grant is forgotten like everything else.
     */
    record Entry(String state, String after, long atMs, Map<Integer, Long> before, int partition, long offset) {}

    /**
     * A visitor of whom these records are known, which stand in order of arrival within each partition.
     *
     * <p>A visitor's records lie in several partitions if partitions were added to the topic. What is read first from them is
     * chance then, so time decides between partitions: the newest that a partition has shown up to the record.
     */
    static Person of(List<Entry> entries) {
        Map<Integer, Long> newestMs = new HashMap<>();
        List<Dated> dated = new ArrayList<>();
        for (Entry entry : entries) {
            dated.add(new Dated(newestMs.merge(entry.partition, entry.atMs, Math::max), entry));
        }
        dated.sort(Comparator.comparingLong(Dated::newestMs).thenComparingInt(each -> each.entry.partition));
        return new Person(dated.stream().map(Dated::entry).toList());
    }

    private record Dated(long newestMs, Entry entry) {}

    static final Person UNKNOWN = new Person(List.of());

    /** Return whether a visitor in this state is personalized. An erased one is like one of whom nothing is known. */
    private static boolean allows(String state, boolean required) {
        return GRANTED.equals(state) || !required && !WITHDRAWN.equals(state);
    }

    Verdict verdict(boolean required, int partition, long offset, long timeMs) {
        String state = ERASED;
        for (Entry entry : entries) {
            state = entry.atMs <= timeMs ? entry.after : state;
        }
        if (!allows(state, required)) {
            return Verdict.SUPPRESSED;
        }
        return forgets(partition, offset, timeMs) ? Verdict.FORGOTTEN : Verdict.COUNTS;
    }

    /** Return whether a withdrawal or an erasure came after the event, by time or by place: a producer's clock may be ahead. */
    boolean forgets(int partition, long offset, long timeMs) {
        for (Entry entry : entries) {
            if (!GRANTED.equals(entry.state)
                    && (timeMs < entry.atMs || offset < entry.before.getOrDefault(partition, NEVER))) {
                return true;
            }
        }
        return false;
    }

    private Entry latest() {
        return entries.isEmpty() ? null : entries.get(entries.size() - 1);
    }

    boolean isWithdrawn() {
        return latest() != null && WITHDRAWN.equals(latest().state);
    }

    /** Return the time since which the newest record holds; {@code NEVER} if there is none. */
    long since() {
        return latest() == null ? NEVER : latest().atMs;
    }

    /** Return whether state that was made of events since {@code origin} may hold something that must go. */
    boolean forgets(Origin origin) {
        return isWithdrawn() || forgets(origin.partition, origin.offset, origin.timeMs);
    }

    /**
     * Return the time before which what was stored of the visitor must go; {@code NEVER} if nothing must.
     *
     * <p>It is the first time at which an event counts. So a grant to a visitor who has granted already takes nothing away.
     */
    long goneBefore(boolean required) {
        if (isWithdrawn()) {
            return ALL;
        }
        long denied = NEVER;
        for (Entry entry : entries) {
            denied = GRANTED.equals(entry.state) ? denied : Math.max(denied, entry.atMs);
        }
        long first = since();
        long before = Long.MAX_VALUE;
        for (int i = entries.size() - 1; i >= -1; i--) {    // newest first; each decides about the times before the newer ones
            long from = i < 0 ? NEVER : entries.get(i).atMs;
            long counting = Math.max(from, denied);
            first = counting < before && allows(i < 0 ? ERASED : entries.get(i).after, required) ? counting : first;
            before = Math.min(before, from);
        }
        return first;
    }
}
