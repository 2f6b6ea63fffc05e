package liveshelf;

import java.time.Instant;
import java.util.EnumSet;
import java.util.LinkedHashMap;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.catalog.DataTypeFactory;
import org.apache.flink.table.functions.FunctionContext;
import org.apache.flink.table.functions.ProcessTableFunction;
import org.apache.flink.table.types.inference.StateTypeStrategy;
import org.apache.flink.table.types.inference.StaticArgument;
import org.apache.flink.table.types.inference.StaticArgumentTrait;
import org.apache.flink.table.types.inference.TypeInference;
import org.apache.flink.table.types.inference.TypeStrategies;
import org.apache.flink.types.Row;

/**
 * Gives each visitor's last events whenever one arrives, as far as the visitor has agreed to it.
 *
 * <p>{@code histories(visits => TABLE t PARTITION BY visitor_id, uid => '…')} reads a table of visitor_id, kafka_partition,
 * kafka_offset, event_time_ms, packed, control, event_type and record_time, and of visitor_key ({@link KeyOf}) if that is
 * a part of the key. {@code control} is the value of a record of topic {@code consent}, and null for an event.
 *
 * <p>It gives rows of kafka_partition, kafka_offset, event_time_ms, history, consent, event_type and arrived_ms, the Kafka
 * record's time. The last two are null where no event has come: what is left of a history is ranked again.
 * {@code consent} says what a row means:
 * <ul>
 * <li>null: an event to rank, with its history.
 * <li>{@code no_consent}: an event whose visitor gets the popularity list.
 * <li>{@code withdrawn}: the visitor gets the popularity list without an event. The time is the withdrawal's, the place is
 * that of the visitor's newest event that counted.
 * <li>{@code erased}: lists for events before the row's time must go. The place is as above.
 * </ul>
 */
public class Histories extends ProcessTableFunction<Row> {

    private static final int VISITOR = 0;
    private static final int PARTITION = 1;
    private static final int OFFSET = 2;
    private static final int TIME = 3;
    private static final int PACKED = 4;
    private static final int CONTROL = 5;
    private static final int TYPE = 6;
    private static final int ARRIVED = 7;

    transient Consents consents;

    /** A visitor's state, as Flink stores it; see {@link FeatureFunction#state} for {@code changes}. */
    public static class Kept {
        public long changes;
        public HistoryState value;
    }

    @Override
    public void open(FunctionContext context) throws Exception {
        consents = Consents.open(context);
        consents.count(context.getMetricGroup());
    }

    @Override
    public void close() {
        Consents.close(consents);
    }

    public void eval(Context context, Kept state, Row row) {
        String visitor = row.getFieldAs(VISITOR);
        int partition = row.getFieldAs(PARTITION);
        long offset = row.getFieldAs(OFFSET);
        byte[] control = row.getFieldAs(CONTROL);
        if (control != null) {
            obey(context, state, consents.take(visitor, partition, offset));
            return;
        }
        long timeMs = row.getFieldAs(TIME);
        Person person = consents.of(visitor);
        Person.Verdict verdict = person.verdict(consents.required, partition, offset, timeMs);
        if (verdict == Person.Verdict.COUNTS) {
            state.changes++;
            state.value = state.value == null ? new HistoryState() : state.value;
            state.value.add(new HistoryState.Visit(partition, offset, timeMs, row.getFieldAs(PACKED)));
            collect(answer(row, state.value.packed(), null));
            return;
        }
        if (state.value == null) {
            context.clearAllState();
        }
        if (verdict == Person.Verdict.SUPPRESSED && timeMs >= person.since()) {
            collect(answer(row, "", "no_consent"));
        }
    }

    /** Return the row that has an event ranked. */
    private static Row answer(Row event, String history, String consent) {
        Instant arrived = event.getFieldAs(ARRIVED);
        return Row.of(event.getField(PARTITION), event.getField(OFFSET), event.getField(TIME), history, consent,
            event.getField(TYPE), arrived == null ? null : (Long) arrived.toEpochMilli());
    }

    /** Tell the ranker which list must go, or what is left to rank. */
    private void obey(Context context, Kept state, Person person) {
        HistoryState history = state.value;
        HistoryState.Visit newest = history == null ? null : history.visits.peekLast();
        state.changes++;
        long goneBeforeMs = consents.obey(context, person, history);
        if (person.isWithdrawn()) {
            collect(control(newest, person.since(), "withdrawn"));
        } else if (goneBeforeMs != Person.NEVER && (history == null || history.visits.isEmpty())) {
            collect(control(newest, goneBeforeMs, "erased"));
        } else if (goneBeforeMs != Person.NEVER) {
            HistoryState.Visit last = history.visits.getLast();
            collect(Row.of(last.partition(), last.offset(), last.timeMs(), history.packed(), null, null, null));
        }
    }

    private static Row control(HistoryState.Visit newest, long timeMs, String what) {
        return newest == null
            ? Row.of(-1, -1L, timeMs, "", what, null, null)
            : Row.of(newest.partition(), newest.offset(), timeMs, "", what, null, null);
    }

    @Override
    public TypeInference getTypeInference(DataTypeFactory factory) {
        LinkedHashMap<String, StateTypeStrategy> states = new LinkedHashMap<>();
        // Expires as the job says (`table.exec.state.ttl`), counted from the visitor's last event.
        states.put("state", StateTypeStrategy.of(TypeStrategies.explicit(
            FeatureFunction.state(Kept.class, HistoryState.class, new HistoryState.Serializer()))));
        return TypeInference.newBuilder()
            .staticArguments(StaticArgument.table(
                "visits", Row.class, false, EnumSet.of(StaticArgumentTrait.SET_SEMANTIC_TABLE)))
            .stateTypeStrategies(states)
            .outputTypeStrategy(TypeStrategies.explicit(DataTypes.ROW(
                DataTypes.FIELD("kafka_partition", DataTypes.INT()),
                DataTypes.FIELD("kafka_offset", DataTypes.BIGINT()),
                DataTypes.FIELD("event_time_ms", DataTypes.BIGINT()),
                DataTypes.FIELD("history", DataTypes.STRING()),
                DataTypes.FIELD("consent", DataTypes.STRING()),
                DataTypes.FIELD("event_type", DataTypes.STRING()),
                DataTypes.FIELD("arrived_ms", DataTypes.BIGINT()))))
            .build();
    }
}
