package liveshelf;

import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.catalog.DataTypeFactory;
import org.apache.flink.table.functions.AggregateFunction;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.inference.TypeInference;
import org.apache.flink.table.types.inference.TypeStrategies;

/**
 * Says whether a row is the first with its id within a horizon of event time.
 *
 * <p>{@code first_within(id_digest, event_time_ms, horizon_ms, watermark) OVER (PARTITION BY bucket ORDER BY proc ROWS
 * BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)}. {@code id_digest} has 32 hexadecimal digits. The bucket may be made of
 * the first 16 only. {@code watermark} is null before the first watermark.
 */
public class FirstWithin extends AggregateFunction<Boolean, FirstWithinState> {

    private static final int LAST_HALF = 16;
    private static final DataType WATERMARK = DataTypes.TIMESTAMP_LTZ(3).bridgedTo(Long.class);  // milliseconds

    public void accumulate(FirstWithinState state, String idDigest, Long timeMs, Long horizonMs, Long watermarkMs) {
        long id = Long.parseUnsignedLong(idDigest, LAST_HALF, idDigest.length(), 16);
        state.see(id, timeMs, horizonMs, watermarkMs == null ? Long.MIN_VALUE : watermarkMs);
    }

    @Override
    public Boolean getValue(FirstWithinState state) {
        return state.sawFirst();
    }

    @Override
    public FirstWithinState createAccumulator() {
        return new FirstWithinState();
    }

    @Override
    public TypeInference getTypeInference(DataTypeFactory factory) {
        return TypeInference.newBuilder()
            .typedArguments(DataTypes.STRING(), DataTypes.BIGINT(), DataTypes.BIGINT(), WATERMARK)
            .accumulatorTypeStrategy(TypeStrategies.explicit(
                DataTypes.RAW(FirstWithinState.class, new FirstWithinState.Serializer())))
            .outputTypeStrategy(TypeStrategies.explicit(DataTypes.BOOLEAN()))
            .build();
    }
}
