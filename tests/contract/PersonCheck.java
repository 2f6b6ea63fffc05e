package liveshelf;

import java.nio.charset.StandardCharsets;
import java.util.Scanner;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;

/**
 * The jobs' rule for a case a line of stdin: {required, records: [value, …], events: [[partition, offset, time], …]}.
 * A line out: what becomes of each event, and before which time what was stored must go.
 */
public class PersonCheck {

    public static void main(String[] arguments) throws Exception {
        ObjectMapper json = new ObjectMapper();
        Scanner lines = new Scanner(System.in, StandardCharsets.UTF_8);
        while (lines.hasNextLine()) {
            JsonNode test = json.readTree(lines.nextLine());
            Consents consents = new Consents(test.get("required").asBoolean(), null);
            for (int again = 0; again < 2; again++) {       // taking a record twice changes nothing
                for (int offset = 0; offset < test.get("records").size(); offset++) {
                    byte[] value = test.get("records").get(offset).asText().getBytes(StandardCharsets.UTF_8);
                    consents.apply("v", value, 0, offset);
                }
            }
            StringBuilder verdicts = new StringBuilder();
            for (JsonNode event : test.get("events")) {
                verdicts.append(consents.verdict("v", event.get(0).asInt(), event.get(1).asLong(), event.get(2).asLong()))
                    .append(' ');
            }
            System.out.println(verdicts.toString().toLowerCase() + consents.of("v").goneBefore(consents.required));
        }
    }
}
