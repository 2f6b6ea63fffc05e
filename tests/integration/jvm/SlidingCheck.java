package liveshelf;

import java.nio.charset.StandardCharsets;
import java.util.Scanner;
import java.util.TreeSet;
import org.apache.flink.core.memory.DataInputDeserializer;
import org.apache.flink.core.memory.DataOutputSerializer;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.ArrayNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.ObjectNode;

/**
 * Drives one entity's slides without Flink. Each line of stdin is a case: {"features": …, "steps": […]}.
 *
 * <p>A step is [time, [value, …]] for an event, a number for event time that has passed, or "checkpoint". The answer to a case
 * is a line {"rows": [[time, [value, …]], …], "timers": [time, …], "unused": …}; the last two are of the state at the end.
 */
public class SlidingCheck {

    private static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] arguments) throws Exception {
        Scanner lines = new Scanner(System.in, StandardCharsets.UTF_8);
        while (lines.hasNextLine()) {
            System.out.println(run(JSON.readTree(lines.nextLine())));
        }
    }

    private static JsonNode run(JsonNode test) throws Exception {
        ObjectNode answer = JSON.createObjectNode();
        ArrayNode rows = answer.putArray("rows");
        SlidingState.Serializer serializer = new SlidingState.Serializer();
        SlidingLayout layout = new SlidingLayout(test.get("features").asText());
        SlidingState state = new SlidingState();
        for (JsonNode step : test.get("steps")) {
            if (step.isTextual()) {
                DataOutputSerializer out = new DataOutputSerializer(64);
                serializer.serialize(state.copy(), out);
                state = serializer.deserialize(new DataInputDeserializer(out.getCopyOfBuffer()));
            } else if (step.isArray()) {
                state.add(layout, step.get(0).asLong(), TrailingCheck.values(step.get(1)));
            } else {
                state.advance(layout, step.asLong() + 1, new StringBuilder(), (time, seq, payload) ->
                    rows.addArray().add(time).add(TrailingCheck.json(payload)));
            }
        }
        ArrayNode timers = answer.putArray("timers");
        new TreeSet<>(state.timers(layout)).forEach(timers::add);
        return answer.put("unused", state.next(layout) == SlidingState.NEVER);
    }
}
