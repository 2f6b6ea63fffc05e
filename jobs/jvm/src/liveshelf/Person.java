package liveshelf;

import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;

/**
 * One visitor's consent: what all records about the visitor mean together. Pure, and never changed once it is made.
 *
 * <p>The rule is that of {@code jobs/contract/consent.py}. The order in which records arrive changes nothing: they stand by
 * their time, and of equal times the denial counts. It answers two questions. Was an event allowed when it happened? An event
 * that wasn't counts nowhere. Has the visitor been forgotten since, by a withdrawal or an erasure? Then the event counts in
 * aggregates that hold no person (items, categories), and no more in anything of the visitor's own.
 *
 * <p>Of grants, withdrawals and erasures the earliest and the newest {@code KEPT} are kept, so a visitor takes the same memory
 * however often they speak.
 */
final class Person {

    enum Verdict { COUNTS, FORGOTTEN, SUPPRESSED }

    static final long NEVER = Long.MIN_VALUE;
    static final long ALL = 4_102_444_800_000L;     // 2100: no event is later
    private static final int MOST = ConsentRecord.KEPT + 1;
    private static final long[] NONE = {};
    private static final Times NO_TIMES = new Times(NONE, false);

    /** Times in ascending order. Some between the first and the second were dropped if they are {@code merged}. */
    private record Times(long[] each, boolean merged) {

        /** Add a time: a union, so neither order nor repetition matter. Return the same object if nothing changes. */
        Times with(long time) {
            int found = Arrays.binarySearch(each, time);
            if (found >= 0) {
                return this;
            }
            long[] more = inserted(each, -found - 1, time);
            if (more.length <= MOST) {
                return new Times(more, merged);
            }
            return merged && found == -2 ? this : new Times(removed(more, 1, 1), true);
        }

        long last() {
            return each.length == 0 ? NEVER : each[each.length - 1];
        }

        long lastUntil(long time) {
            int found = Arrays.binarySearch(each, time);
            int until = found >= 0 ? found : -found - 2;
            return until < 0 ? NEVER : each[until];
        }

        boolean hasGapAt(long time) {
            return merged && each[0] <= time && time < each[1];
        }
    }

    static final Person UNKNOWN = new Person(NONE, NO_TIMES, NO_TIMES, Map.of());

    private final long[] grants;        // in pairs: the time of each, ascending, and when that was recorded first
    private final Times withdrawals;
    private final Times erasures;
    private final Map<Integer, Long> before;

    private Person(long[] grants, Times withdrawals, Times erasures, Map<Integer, Long> before) {
        this.grants = grants;
        this.withdrawals = withdrawals;
        this.erasures = erasures;
        this.before = before;
    }

    /** Return the visitor with one more record; the same object if it changes nothing. */
    Person with(ConsentRecord record) {
        long[] granted = grants;
        if (record.grants()) {      // two grants: the one stands by its time, the other only reaches back
            granted = granted(granted, record.atMs(), record.recordedMs());
            granted = granted(granted, record.sinceMs(), record.recordedMs());
        }
        Times withdrawn = record.withdraws() ? withdrawals.with(record.atMs()) : withdrawals;
        Times erased = record.erases() ? erasures.with(record.atMs()) : erasures;
        Map<Integer, Long> places = before;
        if (!record.grants() && !record.before().isEmpty()) {
            places = new HashMap<>(before);
            for (Map.Entry<Integer, Long> each : record.before().entrySet()) {
                places.merge(each.getKey(), each.getValue(), Math::max);
            }
        }
        boolean same = granted == grants && withdrawn == withdrawals && erased == erasures && places.equals(before);
        return same ? this : new Person(granted, withdrawn, erased, Map.copyOf(places));
    }

    private static long[] granted(long[] grants, long atMs, long recordedMs) {
        int place = 0;
        while (place < grants.length && grants[place] < atMs) {
            place += 2;
        }
        if (place < grants.length && grants[place] == atMs) {
            if (grants[place + 1] <= recordedMs) {
                return grants;
            }
            long[] earlier = grants.clone();
            earlier[place + 1] = recordedMs;
            return earlier;
        }
        if (grants.length == 2 * MOST && place == 2) {
            return grants;
        }
        long[] more = inserted(grants, place, atMs, recordedMs);
        return more.length > 2 * MOST ? removed(more, 2, 2) : more;
    }

    private static long[] inserted(long[] values, int place, long... added) {
        long[] more = new long[values.length + added.length];
        System.arraycopy(values, 0, more, 0, place);
        System.arraycopy(added, 0, more, place, added.length);
        System.arraycopy(values, place, more, place + added.length, values.length - place);
        return more;
    }

    private static long[] removed(long[] values, int place, int count) {
        long[] less = new long[values.length - count];
        System.arraycopy(values, 0, less, 0, place);
        System.arraycopy(values, place + count, less, place, less.length - place);
        return less;
    }

    Verdict verdict(boolean required, int partition, long offset, long timeMs) {
        if (!allows(required, timeMs)) {
            return Verdict.SUPPRESSED;
        }
        return forgets(partition, offset, timeMs) ? Verdict.FORGOTTEN : Verdict.COUNTS;
    }

    private boolean allows(boolean required, long timeMs) {
        if (withdrawals.hasGapAt(timeMs) || required && erasures.hasGapAt(timeMs)) {
            return false;
        }
        long denied = denied(required, timeMs);
        if (denied == NEVER && !required) {
            return true;
        }
        for (int i = 0; i < grants.length; i += 2) {
            if (grants[i] > denied && (grants[i + 1] <= timeMs
                    || grants[i] <= timeMs && denied(required, grants[i + 1]) == NEVER)) {
                return true;
            }
        }
        return false;
    }

    /** Return the newest time up to {@code timeMs} that only a newer grant lifts. Where consent is assumed, an erasure doesn't. */
    private long denied(boolean required, long timeMs) {
        long withdrawn = withdrawals.lastUntil(timeMs);
        return required ? Math.max(withdrawn, erasures.lastUntil(timeMs)) : withdrawn;
    }

    private long lastDenial() {
        return Math.max(withdrawals.last(), erasures.last());
    }

    private long lastGrant() {
        return grants.length == 0 ? NEVER : grants[grants.length - 2];
    }

    /** Return whether a withdrawal or an erasure came after the event, by time or by place: a producer's clock may be ahead. */
    boolean forgets(int partition, long offset, long timeMs) {
        return timeMs < lastDenial() || offset < before.getOrDefault(partition, NEVER);
    }

    /** Return whether the newest record is a withdrawal. */
    boolean isWithdrawn() {
        return withdrawals.last() > erasures.last() && withdrawals.last() >= lastGrant();
    }

    /** Return the time since which the newest record holds; {@code NEVER} if there is none. */
    long since() {
        if (lastDenial() >= lastGrant()) {
            return lastDenial();
        }
        long recorded = grants[grants.length - 1];
        return denied(true, recorded) == NEVER ? lastGrant() : recorded;
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
        long lifted = denied(required, Long.MAX_VALUE);
        if (lifted == NEVER && (!required || grants.length == 0)) {
            return lastDenial();
        }
        if (lifted == NEVER) {
            return grants[0];
        }
        long first = Long.MAX_VALUE;
        for (int i = 0; i < grants.length; i += 2) {
            first = grants[i] > lifted ? Math.min(first, grants[i + 1]) : first;
        }
        return first == Long.MAX_VALUE ? since() : Math.max(first, lastDenial());
    }

    /** Return what the newest record says: "granted", "withdrawn", "erased", or "unknown" if there is none. */
    String said() {
        if (this == UNKNOWN) {
            return "unknown";
        }
        return isWithdrawn() ? "withdrawn" : lastDenial() >= lastGrant() ? "erased" : "granted";
    }
}
