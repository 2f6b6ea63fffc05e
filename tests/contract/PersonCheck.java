package liveshelf;

import java.nio.charset.StandardCharsets;
import java.util.Scanner;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;

/**
 * Asks the jobs' rule about consent. Each line of stdin is a case: {"required": …, "records": [[partition, value], …],
 * "events": [[partition, offset, time], …]}, where the records stand in the order in which they are read.
 *
 * <p>The answer is a line: what becomes of each event, and before which time what was stored must go.
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
                    JsonNode record = test.get("records").get(offset);
                    byte[] value = record.get(1).asText().getBytes(StandardCharsets.UTF_8);
                    consents.apply("v", value, record.get(0).asInt(), offset);
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
