package liveshelf;

import org.apache.flink.table.functions.FunctionContext;
import org.apache.flink.table.functions.UserDefinedFunction;
import org.apache.flink.table.types.DataType;
import org.apache.flink.types.Row;

/**
 * Gives an entity's features over windows that slide: a row at the end of each slide in which one of them changed.
 *
 * <p>It is called as {@link TrailingFeatures} is. The frame of {@code "sum is_view every_60000 300000"} is a window of 300,000 ms
 * that slides by 60,000. There is no cap, because slides hold no events. An event enters at the end of its slide, whatever
 * the order in which the slide's events come.
 */
public class SlidingFeatures extends FeatureFunction {

    private transient SlidingLayout layout;

    public SlidingFeatures() {
        this(null, 0, false);
    }

    private SlidingFeatures(String features, int cap, boolean keyed) {
        super(features, cap, keyed);
    }

    /** An entity's state, as Flink stores it. */
    public static class Kept {
        public long changes;
        public SlidingState value;

        private SlidingState changing() {
            changes++;
            value = value == null ? new SlidingState() : value;
            return value;
        }
    }

    @Override
    DataType state() {
        return state(Kept.class, SlidingState.class, new SlidingState.Serializer());
    }

    @Override
    UserDefinedFunction with(String features, int cap, boolean keyed) {
        return new SlidingFeatures(features, cap, keyed);
    }

    @Override
    public void open(FunctionContext context) throws Exception {
        super.open(context);
        layout = new SlidingLayout(features);
    }

    public void eval(Context context, Kept state, Row event, String features, Integer cap) {
        TimeContext<Long> time = context.timeContext(Long.class);
        Person person = told(event, layout.columns.size());
        if (person != null) {
            obey(context, person, state.value == null ? null : state.value.with(layout));
            return;
        }
        boolean isNew = state.value == null;
        SlidingState now = state.changing();
        if (!counts(event, layout.columns.size(), time.time(), now.origin)) {
            if (now.next(layout) == SlidingState.NEVER) {
                context.clearAllState();
            }
            return;
        }
        if (isNew) {
            came();
        }
        now.add(layout, time.time(), values(event, layout.columns.size()));
        wake(now, time);
    }

    public void onTimer(OnTimerContext context, Kept state) {
        if (state.value == null) {
            return;     // a timer that outlived its state
        }
        TimeContext<Long> time = context.timeContext(Long.class);
        SlidingState now = state.changing();
        long upTo = upTo(time);
        now.advance(layout, upTo == Long.MAX_VALUE ? upTo - 1 : upTo + 1, json, this);
        if (now.next(layout) == SlidingState.NEVER) {
            gone();
            context.clearAllState();
        } else {
            now.wakesAt = now.wakesAt - 1 <= upTo ? SlidingState.NEVER : now.wakesAt;
            wake(now, time);
        }
    }

    /** Set one timer an entity: at the last instant before the next change. */
    private void wake(SlidingState now, TimeContext<Long> time) {
        long next = now.next(layout);
        if (next < now.wakesAt) {
            now.wakesAt = next;
            time.registerOnTime(next - 1);
        }
    }
}
