package liveshelf;

import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonParser;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonToken;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;

/**
 * What one record of topic {@code consent} says: the states that it grants or ends, when, and when that was recorded.
 *
 * <p>The rules are those of {@code jobs/contract/consent_record.py}. Limits come from {@code consent_contract.json} in the
 * same jar. A first grant reaches back to {@code sinceMs}. An erasure's {@code before} holds where the events topic ended, by partition.
 */
record ConsentRecord(boolean grants, boolean withdraws, boolean erases, long sinceMs, long atMs, long recordedMs,
                     Map<Integer, Long> before) {

    private static final String RESOURCE = "/consent_contract.json";
    private static final JsonNode CONTRACT = contract();
    private static final List<String> STATES = List.of("granted", "withdrawn", "erased");
    private static final long MAX_TIME_MS = CONTRACT.get("max_time_ms").longValue();
    private static final long MAX_AHEAD_MS = CONTRACT.get("max_ahead_ms").longValue();
    private static final long MAX_BEHIND_MS = CONTRACT.get("max_behind_ms").longValue();
    private static final long MAX_OFFSET = CONTRACT.get("max_offset").longValue();
    private static final Pattern PARTITION = Pattern.compile(CONTRACT.get("partition").textValue());
    static final int KEPT = CONTRACT.get("kept").intValue();

    private static JsonNode contract() {
        try (InputStream in = ConsentRecord.class.getResourceAsStream(RESOURCE)) {
            return new ObjectMapper().readTree(in);
        } catch (IOException broken) {
            throw new IllegalStateException(RESOURCE + " in liveshelf's jar can't be read", broken);
        }
    }

    /** A record that can't be read counts as a withdrawal from its Kafka timestamp on. */
    static ConsentRecord unreadable(long recordedMs) {
        return new ConsentRecord(false, true, false, recordedMs, recordedMs, recordedMs, Map.of());
    }

    /** Reads keys and values. It isn't safe for several threads. */
    static final class Reader {

        private final ParseEvent json = new ParseEvent().read();
        private boolean good;
        private String state;
        private Long atMs;
        private Long sinceMs;
        private Boolean withdrawn;
        private Map<Integer, Long> before;

        /** Return the visitor whom a record is about; null if its key names nobody. */
        String visitor(byte[] key) {
            if (key == null) {
                return null;
            }
            String visitor;
            try {
                visitor = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(key)).toString();
            } catch (CharacterCodingException invalid) {
                return null;
            }
            boolean quoted = visitor.length() > 1 && visitor.startsWith("\"") && visitor.endsWith("\"");
            return quoted || json.refusalOfVisitor(visitor) != null ? null : visitor;
        }

        /** Return what a record says; null if it can't be read. */
        ConsentRecord record(byte[] value, long recordedMs) {
            good = true;
            state = null;
            atMs = null;
            sinceMs = null;
            withdrawn = null;
            before = null;
            Map<String, Boolean> fields = new HashMap<>();      // of a name that comes twice, the last one counts
            String broken = json.object(value, (parser, name, token) -> {
                good = true;
                take(parser, name, token);
                fields.put(name, good);
            });
            if (broken != null || fields.containsValue(false) || state == null || atMs == null) {
                return null;
            }
            boolean grants = state.equals("granted");
            boolean says = withdrawn != null && withdrawn;
            if (says && grants || atMs < 1 || atMs > MAX_TIME_MS || atMs > recordedMs + MAX_AHEAD_MS
                    || atMs < recordedMs - MAX_BEHIND_MS
                    || sinceMs != null && (!grants || sinceMs < 1 || sinceMs > atMs)) {
                return null;
            }
            long heldMs = Math.min(atMs, recordedMs);
            return new ConsentRecord(grants, says || state.equals("withdrawn"), state.equals("erased"),
                sinceMs == null ? heldMs : Math.min(sinceMs, heldMs), heldMs, recordedMs, before == null ? Map.of() : Map.copyOf(before));
        }

        private void take(JsonParser parser, String name, JsonToken token) throws IOException {
            switch (name) {
                case "state":
                    state = token == JsonToken.VALUE_STRING ? parser.getText() : null;
                    good = token == JsonToken.VALUE_NULL || state != null && STATES.contains(state);
                    break;
                case "at_ms":
                    atMs = whole(parser, token);
                    good = token == JsonToken.VALUE_NULL || atMs != null;
                    break;
                case "since_ms":
                    sinceMs = whole(parser, token);
                    good = token == JsonToken.VALUE_NULL || sinceMs != null;
                    break;
                case "withdrawn":
                    withdrawn = token == JsonToken.VALUE_TRUE ? Boolean.TRUE : null;
                    good = token == JsonToken.VALUE_NULL || token.isBoolean();
                    break;
                case "before":
                    before = null;
                    if (token == JsonToken.START_OBJECT) {
                        readBefore(parser);
                        return;
                    }
                    good = token == JsonToken.VALUE_NULL;
                    break;
                default:
            }
            json.skip(parser, token);
        }

        private void readBefore(JsonParser parser) throws IOException {
            before = new HashMap<>();
            Map<String, Boolean> places = new HashMap<>();
            while (json.next(parser) == JsonToken.FIELD_NAME) {
                String partition = parser.currentName();
                JsonToken token = json.next(parser);
                Long offset = whole(parser, token);
                boolean fits = offset != null && offset >= 0 && offset <= MAX_OFFSET && PARTITION.matcher(partition).matches();
                places.put(partition, fits);
                if (fits) {
                    before.put(Integer.valueOf(partition), offset);
                }
                json.skip(parser, token);
            }
            good = !places.containsValue(false);
        }

        /** Return a whole number that a long holds, else null. */
        private static Long whole(JsonParser parser, JsonToken token) throws IOException {
            boolean fits = token == JsonToken.VALUE_NUMBER_INT && parser.getNumberType() != JsonParser.NumberType.BIG_INTEGER;
            return fits ? parser.getLongValue() : null;
        }
    }
}
