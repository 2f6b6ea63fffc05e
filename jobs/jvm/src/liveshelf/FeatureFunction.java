package liveshelf;

import java.time.Duration;
import java.util.EnumSet;
import java.util.LinkedHashMap;
import org.apache.flink.metrics.Counter;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.catalog.DataTypeFactory;
import org.apache.flink.table.functions.FunctionContext;
import org.apache.flink.table.functions.ProcessTableFunction;
import org.apache.flink.table.functions.SpecializedFunction;
import org.apache.flink.table.functions.UserDefinedFunction;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.inference.CallContext;
import org.apache.flink.table.types.inference.StateTypeStrategy;
import org.apache.flink.table.types.inference.StaticArgument;
import org.apache.flink.table.types.inference.StaticArgumentTrait;
import org.apache.flink.table.types.inference.TypeInference;
import org.apache.flink.table.types.inference.TypeStrategies;
import org.apache.flink.types.Row;

/** What both feature functions share: how they are called, their state and their rows. */
abstract class FeatureFunction extends ProcessTableFunction<Row>
        implements SpecializedFunction, TrailingState.Output {

    private static final int FEATURES = 1;
    private static final int CAP = 2;
    private static final int ENTITY = 0;
    private static final int FIRST_COLUMN = 2;      // after the entity and the row time
    private static final int PLACE_COLUMNS = 3;     // after the features' own: partition, offset, and a consent's record

    final String features;
    final int cap;
    transient StringBuilder json;
    private transient Counter eventsCapped;
    private transient Counter valuesCapped;
    private transient Consents consents;

    FeatureFunction(String features, int cap) {
        this.features = features;
        this.cap = cap;
    }

    @Override
    public void open(FunctionContext context) throws Exception {
        json = new StringBuilder();
        eventsCapped = context.getMetricGroup().counter("events_capped");
        valuesCapped = context.getMetricGroup().counter("values_capped");
        consents = Consents.open(context);
    }

    @Override
    public void close() {
        Consents.close(consents);
    }

    /**
     * The type of the state: {@code kept} has the fields {@code changes} and {@code value}. Flink compares the state before
     * and after each call, field by field: {@code changes} always differs, so it needn't serialize {@code value} to know.
     */
    abstract DataType state();

    static <S extends Durable<S>> DataType state(Class<?> kept, Class<S> value, Durable.Serializer<S> serializer) {
        return DataTypes.STRUCTURED(kept,
            DataTypes.FIELD("changes", DataTypes.BIGINT().notNull().bridgedTo(long.class)),
            DataTypes.FIELD("value", DataTypes.RAW(value, serializer)));
    }

    abstract UserDefinedFunction with(String features, int cap);

    @Override
    public UserDefinedFunction specialize(SpecializedContext context) {
        CallContext call = context.getCallContext();
        return with(call.getArgumentValue(FEATURES, String.class).orElseThrow(),
            call.getArgumentValue(CAP, Integer.class).orElse(Integer.MAX_VALUE));
    }

    @Override
    public void row(long eventTimeMs, long seq, String payload) {
        collect(Row.of(eventTimeMs, seq, payload));
    }

    @Override
    public void capped(long events, long values) {
        eventsCapped.inc(events);
        valuesCapped.inc(values);
    }

    /** Whether a visitor's event may (still) count; the check before was made upstream, and this key's records pass here. */
    boolean counts(Row event, int columns, long timeMs, Origin origin) {
        if (!isVisitors(event, columns)) {
            return true;
        }
        int partition = event.getFieldAs(FIRST_COLUMN + columns);
        long offset = event.getFieldAs(FIRST_COLUMN + columns + 1);
        if (consents.verdict(event.getFieldAs(ENTITY), partition, offset, timeMs) != Person.Verdict.COUNTS) {
            return false;
        }
        origin.add(partition, offset, timeMs);
        return true;
    }

    /** The visitor as a record of topic {@code consent} leaves it; null for an event. */
    Person told(Row event, int columns) {
        if (!isVisitors(event, columns)) {
            return null;
        }
        byte[] control = event.getFieldAs(FIRST_COLUMN + columns + 2);
        return control == null ? null : consents.take(event.getFieldAs(ENTITY), control,
            event.<Integer>getFieldAs(FIRST_COLUMN + columns), event.<Long>getFieldAs(FIRST_COLUMN + columns + 1));
    }

    private boolean isVisitors(Row event, int columns) {
        return consents != null && event.getArity() == FIRST_COLUMN + columns + PLACE_COLUMNS;
    }

    /** A row without a payload: what the online store holds for events before a time must go. */
    void goneBefore(Person person, boolean forgotten) {
        long timeMs = forgotten ? Person.ALL : person.goneBefore(consents.required);
        if (timeMs != Person.NEVER) {
            collect(Row.of(timeMs, 0L, null));
        }
    }

    static Object[] values(Row event, int count) {
        Object[] values = new Object[count];
        for (int i = 0; i < count; i++) {
            values[i] = event.getField(FIRST_COLUMN + i);
        }
        return values;
    }

    /** The time that has passed: the timer's, or the watermark when that is later. */
    static long upTo(TimeContext<Long> time) {
        Long watermark = time.currentWatermark();
        return watermark == null ? time.time() : Math.max(time.time(), watermark);
    }

    @Override
    public TypeInference getTypeInference(DataTypeFactory factory) {
        LinkedHashMap<String, StateTypeStrategy> states = new LinkedHashMap<>();
        states.put("state", StateTypeStrategy.of(TypeStrategies.explicit(state()), Duration.ZERO));   // cleared, not expired
        return TypeInference.newBuilder()
            .staticArguments(
                StaticArgument.table("events", Row.class, false,
                    EnumSet.of(StaticArgumentTrait.SET_SEMANTIC_TABLE, StaticArgumentTrait.REQUIRE_ON_TIME)),
                StaticArgument.scalar("features", DataTypes.STRING(), false),
                StaticArgument.scalar("cap", DataTypes.INT(), true))
            .stateTypeStrategies(states)
            .outputTypeStrategy(TypeStrategies.explicit(DataTypes.ROW(
                DataTypes.FIELD("event_time_ms", DataTypes.BIGINT()),
                DataTypes.FIELD("seq", DataTypes.BIGINT()),
                DataTypes.FIELD("payload", DataTypes.STRING()))))
            .build();
    }
}
