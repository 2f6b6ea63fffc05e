package liveshelf;

import org.apache.flink.table.functions.FunctionContext;
import org.apache.flink.table.functions.UserDefinedFunction;
import org.apache.flink.table.types.DataType;
import org.apache.flink.types.Row;

/**
 * Gives an entity's features as of each of its events: over its session, and over windows that end with the event.
 *
 * <p>{@code trailing_features(events => TABLE t PARTITION BY entity, features => '…', cap => 5000,
 * on_time => DESCRIPTOR(ts), uid => '…')} reads a table of entity, row time, the columns of {@link Layout} in their order,
 * partition and offset. With {@code PARTITION BY (entity_key, entity)} the table's last column is the entity's
 * {@link KeyOf}. It gives a row an event: ROW&lt;event_time_ms, seq, payload&gt;, where {@code payload} is a JSON array
 * in the order of {@code features}.
 *
 * <p>Events stand by time, then partition and offset. A window holds the newest {@code cap} of its events: older ones leave
 * it as if their time were over. A session counts up to {@code cap} distinct values. The cap may change when a job starts.
 *
 * <p>In SQL, a chain of OVER windows (one a frame, four for a session) took a map access, two timers and a copy of the row
 * for each, and ten times as long.
 */
public class TrailingFeatures extends FeatureFunction {

    private transient Layout layout;

    public TrailingFeatures() {
        this(null, 0, false);
    }

    private TrailingFeatures(String features, int cap, boolean keyed) {
        super(features, cap, keyed);
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
    UserDefinedFunction with(String features, int cap, boolean keyed) {
        return new TrailingFeatures(features, cap, keyed);
    }

    @Override
    public void open(FunctionContext context) throws Exception {
        super.open(context);
        layout = new Layout(features, cap);
    }

    /** Let an event wait for its turn. One timer an entity wakes it at the first one's time. */
    public void eval(Context context, Kept state, Row event, String features, Integer cap) {
        TimeContext<Long> time = context.timeContext(Long.class);
        Person person = told(event, layout.columns.size());
        if (person != null) {
            obey(context, person, state.value);
            return;
        }
        boolean isNew = state.value == null;
        TrailingState now = state.changing();
        if (!counts(event, layout.columns.size(), time.time(), now.origin)) {
            if (now.isUnused()) {
                context.clearAllState();
            }
            return;
        }
        if (isNew) {
            came();
        }
        now.add(time.time(), partition(event, layout.columns.size()), offset(event, layout.columns.size()),
            values(event, layout.columns.size()));
        if (time.time() < now.wakesAt) {
            now.wakesAt = time.time();
            time.registerOnTime(now.wakesAt);
        }
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
            gone();
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

    /** Set one timer an entity for its end, however many events. It is moved on when it comes too early. */
    private void end(TrailingState now, TimeContext<Long> time, long upTo) {
        if (now.endsAt <= upTo || now.endsAt == TrailingState.NEVER) {
            now.endsAt = now.newest() + layout.horizonMs + 1;
            time.registerOnTime(now.endsAt);
        }
    }
}
