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

/** Holds what both feature functions share: how they are called, their state, their rows, and consent. */
abstract class FeatureFunction extends ProcessTableFunction<Row>
        implements SpecializedFunction, TrailingState.Output {

    private static final int EVENTS = 0;
    private static final int FEATURES = 1;
    private static final int CAP = 2;
    private static final int ENTITY = 0;
    private static final int FIRST_COLUMN = 2;      // after the entity and the row time
    private static final int PLACE_COLUMNS = 3;     // after the features' own: partition, offset, and a consent's record

    final String features;
    final int cap;
    final boolean keyed;    // the last column is the entity's key_of, and a part of the key
    transient StringBuilder json;
    private transient Counter eventsCapped;
    private transient Counter valuesCapped;
    private transient Counter entitiesNew;
    private transient Counter entitiesGone;
    private transient Consents consents;

    FeatureFunction(String features, int cap, boolean keyed) {
        this.features = features;
        this.cap = cap;
        this.keyed = keyed;
    }

    @Override
    public void open(FunctionContext context) throws Exception {
        json = new StringBuilder();
        eventsCapped = context.getMetricGroup().counter("events_capped");
        valuesCapped = context.getMetricGroup().counter("values_capped");
        entitiesNew = context.getMetricGroup().counter("entities_new");
        entitiesGone = context.getMetricGroup().counter("entities_gone");
        consents = Consents.open(context);
    }

    @Override
    public void close() {
        Consents.close(consents);
    }

    /**
     * Return the type of the state: a class {@code kept} with the fields {@code changes} and {@code value}.
     *
     * <p>Flink compares the state before and after each call, field by field. {@code changes} always differs, so Flink needn't
     * serialize {@code value} to see that the state has changed.
     */
    abstract DataType state();

    static <S extends Durable<S>> DataType state(Class<?> kept, Class<S> value, Durable.Serializer<S> serializer) {
        return DataTypes.STRUCTURED(kept,
            DataTypes.FIELD("changes", DataTypes.BIGINT().notNull().bridgedTo(long.class)),
            DataTypes.FIELD("value", DataTypes.RAW(value, serializer)));
    }

    abstract UserDefinedFunction with(String features, int cap, boolean keyed);

    @Override
    public UserDefinedFunction specialize(SpecializedContext context) {
        CallContext call = context.getCallContext();
        return with(call.getArgumentValue(FEATURES, String.class).orElseThrow(),
            call.getArgumentValue(CAP, Integer.class).orElse(Integer.MAX_VALUE),
            call.getTableSemantics(EVENTS).orElseThrow().partitionByColumns().length > 1);
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

    /** Return whether an event counts. A visitor's was checked upstream, but a record about its visitor may have come since. */
    boolean counts(Row event, int columns, long timeMs, Origin origin) {
        if (!isVisitors(event, columns)) {
            return true;
        }
        int partition = partition(event, columns);
        long offset = offset(event, columns);
        if (consents.verdict(event.getFieldAs(ENTITY), partition, offset, timeMs) != Person.Verdict.COUNTS) {
            return false;
        }
        origin.add(partition, offset, timeMs);
        return true;
    }

    /** Take a record of topic {@code consent} and return its visitor; null if the row is an event. */
    Person told(Row event, int columns) {
        if (!isVisitors(event, columns)) {
            return null;
        }
        byte[] control = event.getFieldAs(FIRST_COLUMN + columns + 2);
        return control == null ? null : consents.take(event.getFieldAs(ENTITY), partition(event, columns), offset(event, columns));
    }

    /** Count entities that came and went since the job began to run: each is a state of its own. */
    void came() {
        entitiesNew.inc();
    }

    void gone() {
        entitiesGone.inc();
    }

    static int partition(Row event, int columns) {
        return event.getFieldAs(FIRST_COLUMN + columns);
    }

    static long offset(Row event, int columns) {
        return event.getFieldAs(FIRST_COLUMN + columns + 1);
    }

    private boolean isVisitors(Row event, int columns) {
        int keys = keyed ? 1 : 0;
        return consents != null && event.getArity() == FIRST_COLUMN + columns + PLACE_COLUMNS + keys;
    }

    /** Obey a visitor. A row without a payload says: what the online store holds for events before its time must go. */
    void obey(Context context, Person person, Personal state) {
        long goneBeforeMs = consents.obey(context, person, state);
        if (state != null && goneBeforeMs == Person.ALL) {
            gone();
        }
        if (goneBeforeMs != Person.NEVER) {
            collect(Row.of(goneBeforeMs, 0L, null));
        }
    }

    static Object[] values(Row event, int count) {
        Object[] values = new Object[count];
        for (int i = 0; i < count; i++) {
            values[i] = event.getField(FIRST_COLUMN + i);
        }
        return values;
    }

    /** Return the event time that has passed: the timer's, or the watermark if that is later. */
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
