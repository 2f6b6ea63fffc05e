package liveshelf;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;

/**
 * Asks the jobs' rule about consent. The first line of stdin holds the events: [[partition, offset, time], …]. Each other line
 * is a case: {"required": …, "records": [[key, value, recorded], …]}, with keys and values in base64, in any order.
 *
 * <p>The answer is a line about visitor v: what becomes of each event (c, f, s), before which time what was stored must go,
 * what the newest record says, since when, and how many records weren't understood.
 */
public class PersonCheck {

    public static void main(String[] arguments) throws Exception {
        ObjectMapper json = new ObjectMapper();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        JsonNode events = json.readTree(lines.readLine());
        StringBuilder answers = new StringBuilder();
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            JsonNode test = json.readTree(line);
            Consents consents = new Consents(test.get("required").asBoolean(), null);
            for (JsonNode record : test.get("records")) {
                consents.apply(bytes(record.get(0)), bytes(record.get(1)), record.get(2).asLong());
            }
            long unread = consents.unread();
            for (JsonNode record : test.get("records")) {       // taking a record twice changes nothing
                consents.apply(bytes(record.get(0)), bytes(record.get(1)), record.get(2).asLong());
            }
            for (JsonNode event : events) {
                Person.Verdict verdict = consents.verdict("v", event.get(0).asInt(), event.get(1).asLong(), event.get(2).asLong());
                answers.append(Character.toLowerCase(verdict.name().charAt(0)));
            }
            Person person = consents.of("v");
            answers.append(' ').append(person.goneBefore(consents.required)).append(' ').append(person.said()).append(' ')
                .append(person.since()).append(' ').append(unread).append('\n');
        }
        System.out.print(answers);
    }

    private static byte[] bytes(JsonNode text) {
        return text.isNull() ? null : Base64.getDecoder().decode(text.asText());
    }
}
