package liveshelf;

import org.apache.flink.table.functions.FunctionContext;
import org.apache.flink.table.functions.UserDefinedFunction;
import org.apache.flink.table.types.DataType;
import org.apache.flink.types.Row;

/**
 * An entity's features as of each of its events: over its session, and over windows that end with the event.
 *
 * <p>{@code trailing_features(events => TABLE t PARTITION BY entity, features => '…', cap => 5000,
 * on_time => DESCRIPTOR(ts), uid => '…')}
 * over a table of entity, row time and the columns of {@link Layout} in their order, gives a row an event:
 * ROW&lt;event_time_ms, seq, payload&gt;, where {@code payload} is a JSON array in the order of {@code features}.
 *
 * <p>A window holds the newest {@code cap} of its events by time and arrival: older ones leave it as if their time were over.
 * A session counts up to {@code cap} distinct values. It may change from one start of a job to the next.
 *
 * <p>Why it is here and not SQL: a chain of OVER windows (one a frame, four for a session) took a map access, two timers
 * and a copy of the row for each; see the README's decisions for the measurement.
 */
public class TrailingFeatures extends FeatureFunction {

    private transient Layout layout;

    public TrailingFeatures() {
        this(null, 0);
    }

    private TrailingFeatures(String features, int cap) {
        super(features, cap);
    }

    /** An entity's state, as Flink stores it. */
    public static class Kept {
        public long changes;
        public TrailingState value;

        private TrailingState changing() {
            changes++;
            value = value == null ? new TrailingState() : value;
            return value;
        }
    }

    @Override
    DataType state() {
        return state(Kept.class, TrailingState.class, new TrailingState.Serializer());
    }

    @Override
    UserDefinedFunction with(String features, int cap) {
        return new TrailingFeatures(features, cap);
    }

    @Override
    public void open(FunctionContext context) throws Exception {
        super.open(context);
        layout = new Layout(features, cap);
    }

    /** An event waits for its turn; one timer an entity wakes it at the first. */
    public void eval(Context context, Kept state, Row event, String features, Integer cap) {
        TimeContext<Long> time = context.timeContext(Long.class);
        Person person = told(event, layout.columns.size());
        if (person != null) {
            obey(context, state, person);
            return;
        }
        TrailingState now = state.changing();
        if (!counts(event, layout.columns.size(), time.time(), now.origin)) {
            if (now.isUnused()) {
                context.clearAllState();
            }
            return;
        }
        now.add(time.time(), values(event, layout.columns.size()));
        if (time.time() < now.wakesAt) {
            now.wakesAt = time.time();
            time.registerOnTime(now.wakesAt);
        }
    }

    /** Timers go too: a checkpoint would hold the visitor's id as long as one is left. */
    private void obey(Context context, Kept state, Person person) {
        boolean forgotten = state.value != null && person.forgets(state.value.origin);
        if (forgotten) {
            state.value.timers().forEach(context.timeContext(Long.class)::clearTimer);
        }
        if (forgotten || state.value == null) {
            context.clearAllState();
        }
        goneBefore(person, forgotten);
    }

    public void onTimer(OnTimerContext context, Kept state) {
        if (state.value == null) {
            return;     // a timer that outlived its state
        }
        TimeContext<Long> time = context.timeContext(Long.class);
        TrailingState now = state.changing();
        long upTo = upTo(time);
        now.advance(layout, upTo, json, this);
        if (now.isWaiting()) {
            wake(now, time);
        } else if (now.newest() + layout.horizonMs < upTo) {
            context.clearAllState();    // a new event would begin a session and find every window empty
        } else {
            now.wakesAt = TrailingState.NEVER;
            end(now, time, upTo);
        }
    }

    private static void wake(TrailingState now, TimeContext<Long> time) {
        if (now.wakesAt != now.next()) {
            now.wakesAt = now.next();
            time.registerOnTime(now.wakesAt);
        }
    }

    /** One timer an entity, however many events: it is moved on when it comes too early. */
    private void end(TrailingState now, TimeContext<Long> time, long upTo) {
        if (now.endsAt <= upTo || now.endsAt == TrailingState.NEVER) {
            now.endsAt = now.newest() + layout.horizonMs + 1;
            time.registerOnTime(now.endsAt);
        }
    }
}
