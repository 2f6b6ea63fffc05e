package liveshelf;

import java.nio.charset.StandardCharsets;
import java.util.Scanner;
import org.apache.flink.core.memory.DataInputDeserializer;
import org.apache.flink.core.memory.DataOutputSerializer;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.ArrayNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.ObjectNode;

/**
 * Drives one entity's state without Flink. Each line of stdin is a case: {"features": …, "steps": […]}.
 *
 * <p>A step is [time, partition, offset, [value, …]] for an event that comes, a number for event time that has passed, or
 * {"cap": n} for a start from a checkpoint. The first start is from nothing, or from the bytes that "state" holds in base64.
 *
 * <p>The answer to a case is a line {"rows": [[time, seq, [value, …]], …], "events": n, "values": n, "bytes": n}. "events" and
 * "values" count what the cap left out. "bytes" is the size of the state at the end.
 */
public class TrailingCheck {

    private static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] arguments) throws Exception {
        Scanner lines = new Scanner(System.in, StandardCharsets.UTF_8);
        while (lines.hasNextLine()) {
            System.out.println(run(JSON.readTree(lines.nextLine())));
        }
    }

    private static JsonNode run(JsonNode test) throws Exception {
        Told told = new Told();
        TrailingState.Serializer serializer = new TrailingState.Serializer();
        TrailingState state = test.has("state")
            ? serializer.deserialize(new DataInputDeserializer(test.get("state").binaryValue())) : new TrailingState();
        DataOutputSerializer out = new DataOutputSerializer(64);
        Layout layout = null;
        StringBuilder json = new StringBuilder();
        for (JsonNode step : test.get("steps")) {
            if (step.isObject()) {
                layout = new Layout(test.get("features").asText(), step.get("cap").asInt());
                out.clear();
                serializer.serialize(state.copy(), out);
                state = serializer.deserialize(new DataInputDeserializer(out.getCopyOfBuffer()));
            } else if (step.isArray()) {
                state.add(step.get(0).asLong(), step.get(1).asInt(), step.get(2).asLong(), values(step.get(3)));
            } else {
                state.advance(layout, step.asLong(), json, told);
            }
        }
        out.clear();
        serializer.serialize(state, out);
        return told.all.put("bytes", out.length());
    }

    static Object[] values(JsonNode given) {
        Object[] values = new Object[given.size()];
        for (int i = 0; i < values.length; i++) {
            JsonNode each = given.get(i);
            values[i] = each.isNull() ? null : each.isTextual() ? each.asText()
                : each.isIntegralNumber() ? (Object) each.asLong() : (Object) each.asDouble();
        }
        return values;
    }

    static JsonNode json(String payload) {
        try {
            return JSON.readTree(payload);
        } catch (Exception broken) {
            throw new IllegalStateException(payload, broken);
        }
    }

    private static final class Told implements TrailingState.Output {
        final ObjectNode all = JSON.createObjectNode().put("events", 0L).put("values", 0L);
        private final ArrayNode rows = all.putArray("rows");

        @Override
        public void row(long eventTimeMs, long seq, String payload) {
            rows.addArray().add(eventTimeMs).add(seq).add(json(payload));
        }

        @Override
        public void capped(long events, long values) {
            all.put("events", all.get("events").asLong() + events).put("values", all.get("values").asLong() + values);
        }
    }
}
