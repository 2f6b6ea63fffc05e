package liveshelf;

import java.util.List;
import java.util.Map;

/**
 * What is known of one visitor's consent: the records of topic {@code consent} in order of arrival (pure).
 *
 * <p>Two questions are apart. Was an event allowed when it happened? That is decided by the newest record up to its time,
 * and an event that wasn't counts nowhere. Has the visitor been forgotten since, by a withdrawal or an erasure? Then the
 * event counts in aggregates that hold no person (items, categories), and no more in anything of the visitor's own.
 */
record Person(List<Entry> entries) {

    enum Verdict { COUNTS, FORGOTTEN, SUPPRESSED }

    static final String GRANTED = "granted";
    static final String WITHDRAWN = "withdrawn";
    static final String ERASED = "erased";
    static final long NEVER = Long.MIN_VALUE;
    static final long ALL = 4_102_444_800_000L;     // 2100: no event is later

    /**
     * One record. Of an erasure, {@code before} holds where the events topic ended, by partition, and {@code after} what
     * holds from then on: who had withdrawn still has, and a grant is forgotten like everything else.
     */
    record Entry(String state, String after, long atMs, Map<Integer, Long> before, int partition, long offset) {}

    static final Person UNKNOWN = new Person(List.of());

    /** Whether a visitor of whom nothing is known, or nothing any more, is personalized. */
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

    /** Whether a withdrawal or an erasure came after the event; by its place, too: a producer's clock may be ahead. */
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

    /** Since when the newest record holds; {@code NEVER} without one. */
    long since() {
        return latest() == null ? NEVER : latest().atMs;
    }

    /** Whether state that was made of events since {@code origin} may hold something that must go. */
    boolean forgets(Origin origin) {
        return isWithdrawn() || forgets(origin.partition, origin.offset, origin.timeMs);
    }

    /**
     * What was stored of the visitor for events before this time must go; {@code NEVER} if nothing must.
     *
     * <p>That is the first time at which an event counts: a grant to whom it is granted already takes nothing.
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
        for (int i = entries.size() - 1; i >= -1; i--) {    // of each, newest first, the times that no newer one is about
            long from = i < 0 ? NEVER : entries.get(i).atMs;
            long counting = Math.max(from, denied);
            first = counting < before && allows(i < 0 ? ERASED : entries.get(i).after, required) ? counting : first;
            before = Math.min(before, from);
        }
        return first;
    }
}
