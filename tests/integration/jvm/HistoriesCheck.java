package liveshelf;

import java.lang.reflect.Proxy;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.Scanner;
import org.apache.flink.core.memory.DataInputDeserializer;
import org.apache.flink.core.memory.DataOutputSerializer;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.ArrayNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.ObjectNode;
import org.apache.flink.table.functions.ProcessTableFunction;
import org.apache.flink.types.Row;
import org.apache.flink.util.Collector;

/**
 * Drives one visitor's history without Flink. Each line of stdin is a case: {"required": …, "steps": […]}.
 *
 * <p>A step is [partition, offset, time, packed] for an event, {…} for the value of a consent's record, or "checkpoint". The
 * answer to a case is a line {"rows": [[partition, offset, time, history, consent], …], "kept": n}, where n is the number of
 * events in the state at the end, and -1 if there is no state.
 */
public class HistoriesCheck {

    private static final ObjectMapper JSON = new ObjectMapper();

    private final ArrayNode rows = JSON.createArrayNode();
    private final Histories function = new Histories();
    private Histories.Kept kept = new Histories.Kept();
    private boolean cleared;

    public static void main(String[] arguments) throws Exception {
        Scanner lines = new Scanner(System.in, StandardCharsets.UTF_8);
        while (lines.hasNextLine()) {
            System.out.println(new HistoriesCheck().run(JSON.readTree(lines.nextLine())));
        }
    }

    private JsonNode run(JsonNode test) throws Exception {
        function.consents = new Consents(test.get("required").asBoolean(), null);
        function.setCollector(new Rows());
        int records = 0;
        for (JsonNode step : test.get("steps")) {
            if (step.isTextual()) {
                checkpoint();
            } else {
                function.eval(context(), kept, step.isArray() ? event(step) : record(step, records++));
            }
            kept = cleared ? new Histories.Kept() : kept;       // as Flink does after the call
            cleared = false;
        }
        ObjectNode answer = JSON.createObjectNode();
        answer.set("rows", rows);
        return answer.put("kept", kept.value == null ? -1 : kept.value.visits.size());
    }

    private static Row event(JsonNode step) {
        return Row.of("v", step.get(0).asInt(), step.get(1).asLong(), step.get(2).asLong(), step.get(3).asText(), null,
            "view", Instant.ofEpochMilli(step.get(2).asLong()));
    }

    /** What the consents' reader does comes first: a record that is written when it says. */
    private Row record(JsonNode value, long offset) {
        byte[] control = value.toString().getBytes(StandardCharsets.UTF_8);
        function.consents.apply("v".getBytes(StandardCharsets.UTF_8), control, value.get("at_ms").asLong());
        return Row.of("v", 0, offset, null, null, control, null, null);
    }

    private void checkpoint() throws Exception {
        HistoryState.Serializer serializer = new HistoryState.Serializer();
        DataOutputSerializer out = new DataOutputSerializer(64);
        serializer.serialize(kept.value.copy(), out);
        kept.value = serializer.deserialize(new DataInputDeserializer(out.getCopyOfBuffer()));
    }

    /** Flink's context, of which a history uses one method. */
    private ProcessTableFunction.Context context() {
        return (ProcessTableFunction.Context) Proxy.newProxyInstance(HistoriesCheck.class.getClassLoader(),
            new Class<?>[] {ProcessTableFunction.Context.class}, (proxy, method, given) -> {
                if (!method.getName().equals("clearAllState")) {
                    throw new UnsupportedOperationException(method.getName());
                }
                cleared = true;
                return null;
            });
    }

    private final class Rows implements Collector<Row> {

        @Override
        public void collect(Row row) {
            rows.addArray().add((Integer) row.getField(0)).add((Long) row.getField(1)).add((Long) row.getField(2))
                .add((String) row.getField(3)).add((String) row.getField(4));
        }

        @Override
        public void close() {}
    }
}
