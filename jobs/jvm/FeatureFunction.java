package liveshelf;

import java.time.Duration;
import java.util.EnumSet;
import java.util.LinkedHashMap;
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
    private static final int FIRST_COLUMN = 2;      // after the entity and the row time

    final String features;
    transient StringBuilder json;

    FeatureFunction(String features) {
        this.features = features;
    }

    @Override
    public void open(FunctionContext context) {
        json = new StringBuilder();
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

    abstract UserDefinedFunction with(String features);

    @Override
    public UserDefinedFunction specialize(SpecializedContext context) {
        CallContext call = context.getCallContext();
        return with(call.getArgumentValue(FEATURES, String.class).orElseThrow());
    }

    @Override
    public void row(long eventTimeMs, long seq, String payload) {
        collect(Row.of(eventTimeMs, seq, payload));
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
                StaticArgument.scalar("features", DataTypes.STRING(), false))
            .stateTypeStrategies(states)
            .outputTypeStrategy(TypeStrategies.explicit(DataTypes.ROW(
                DataTypes.FIELD("event_time_ms", DataTypes.BIGINT()),
                DataTypes.FIELD("seq", DataTypes.BIGINT()),
                DataTypes.FIELD("payload", DataTypes.STRING()))))
            .build();
    }
}
