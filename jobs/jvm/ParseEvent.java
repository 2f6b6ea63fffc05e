package liveshelf;

import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonFactory;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonParser;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonProcessingException;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonToken;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.catalog.DataTypeFactory;
import org.apache.flink.table.functions.FunctionContext;
import org.apache.flink.table.functions.ScalarFunction;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.inference.TypeInference;
import org.apache.flink.types.Row;

/**
 * Bytes to an event or a refusal with its reason: the JVM's half of the contract in {@code jobs/events.py}, which it
 * reads from {@code event_contract.json} in its own jar.
 *
 * <p>Why it is here and not SQL or Python: 21 {@code JSON_VALUE} calls cost 42 µs an event and can't tell "5" from 5,
 * a Python hop costs 25 µs and 5 to 10 ms of latency; this costs about 3 µs.
 *
 * <p>Returns ROW&lt;refusal, refusal_field, each field of the contract&gt;; a refused event has event_time_ms 0, so that
 * its clock can't move the watermark.
 */
public class ParseEvent extends ScalarFunction {

    private static final int HEADER = 2;

    private record Field(String name, int slot, char kind, boolean required, double minimum, double maximum,
                         int maxLength, Set<String> choices, boolean freeText) {}

    private final JsonFactory json = new JsonFactory();
    private transient Map<String, Field> fields;
    private transient List<Field> required;
    private transient Map<String, List<Field>> requiredByType;
    private transient int maxBytes;
    private transient String heartbeat;
    private transient byte[] lastValue;
    private transient Row lastRow;

    @Override
    public void open(FunctionContext context) {
        read();
    }

    /** The planner reads one row several times (once per column); the same array gives the same row. */
    public Row eval(byte[] value, Long maxSkewMs) {
        if (value == null || value != lastValue) {
            lastRow = parse(value, maxSkewMs);
            lastValue = value;
        }
        return lastRow;
    }

    private Row parse(byte[] value, long maxSkewMs) {
        Row row = new Row(HEADER + fields.size());
        String[] refusal = check(value, row, maxSkewMs);
        if (refusal != null) {
            row = new Row(HEADER + fields.size());
            row.setField(0, refusal[0]);
            row.setField(1, refusal[1]);
            row.setField(fields.get("event_time_ms").slot, 0L);
        }
        return row;
    }

    private String[] check(byte[] value, Row row, long maxSkewMs) {
        if (value == null || value.length == 0) {
            return refuse("empty", "");
        }
        if (value.length > maxBytes) {
            return refuse("too_large", "");
        }
        String text;
        try {
            text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(value)).toString();
        } catch (CharacterCodingException invalid) {
            return refuse("not_utf8", "");
        }
        Map<String, String> bad = new HashMap<>();
        try (JsonParser parser = json.createParser(text)) {
            if (parser.nextToken() != JsonToken.START_OBJECT) {
                drain(parser);
                return refuse("not_an_object", "");
            }
            readFields(parser, row, bad);
            if (parser.nextToken() != null) {
                return refuse("not_json", "");
            }
        } catch (java.io.IOException malformed) {
            return refuse("not_json", "");
        }
        for (Field field : required) {   // the contract's order decides which of several faults is named
            String reason = bad.get(field.name);
            if (reason != null) {
                return refuse(reason, field.name);
            }
        }
        return missing(row, maxSkewMs);
    }

    /** An array or a scalar at top level is only then "not an object" when it is JSON to its end. */
    private static void drain(JsonParser parser) throws java.io.IOException {
        if (parser.currentToken() == null) {
            throw new NotJson();
        }
        parser.skipChildren();
        if (parser.currentToken() == JsonToken.VALUE_STRING) {
            wellFormed(parser.getText());
        }
        if (parser.nextToken() != null) {
            throw new NotJson();
        }
    }

    private static final class NotJson extends java.io.IOException {}

    private void readFields(JsonParser parser, Row row, Map<String, String> bad) throws java.io.IOException {
        while (parser.nextToken() == JsonToken.FIELD_NAME) {
            Field field = fields.get(parser.currentName());
            JsonToken token = parser.nextToken();
            if (field == null) {
                skip(parser, token);
                continue;
            }
            row.setField(field.slot, null);      // of a name that comes twice, the last one counts
            bad.remove(field.name);
            if (token == JsonToken.VALUE_NULL) {
                continue;
            }
            String reason = field.kind == 's' ? string(parser, token, field, row) : number(parser, token, field, row);
            if (reason != null) {
                bad.put(field.name, reason);
            }
        }
    }

    private static void skip(JsonParser parser, JsonToken token) throws java.io.IOException {
        if (token.isStructStart()) {
            int depth = 1;
            while (depth > 0) {
                JsonToken next = parser.nextToken();
                if (next == null) {
                    throw new NotJson();
                }
                depth += next.isStructStart() ? 1 : next.isStructEnd() ? -1 : 0;
            }
        } else {
            parser.getText();
        }
    }

    private static String string(JsonParser parser, JsonToken token, Field field, Row row) throws java.io.IOException {
        if (token != JsonToken.VALUE_STRING) {
            skip(parser, token);
            return "wrong_type";
        }
        String value = parser.getText();
        char refusedBelow = field.freeText ? '\1' : ' ';
        for (int i = 0; i < value.length(); i++) {
            if (value.charAt(i) < refusedBelow) {
                return "control_character";
            }
        }
        if (value.length() > field.maxLength) {
            return "too_long";
        }
        if (field.choices != null && !field.choices.contains(value)) {
            return "unknown_value";
        }
        if (field.required && value.isEmpty()) {
            return "out_of_range";
        }
        row.setField(field.slot, value);
        return null;
    }

    private static String number(JsonParser parser, JsonToken token, Field field, Row row) throws java.io.IOException {
        boolean whole = token == JsonToken.VALUE_NUMBER_INT;
        if (!whole && !(field.kind == 'f' && token == JsonToken.VALUE_NUMBER_FLOAT)) {
            skip(parser, token);
            return "wrong_type";
        }
        double value = parser.getDoubleValue();
        if (!(value >= field.minimum && value <= field.maximum)) {
            return "out_of_range";
        }
        row.setField(field.slot, field.kind == 'f' ? (Object) value : (Object) parser.getLongValue());
        return null;
    }

    private static void wellFormed(String text) throws java.io.IOException {
        if (!StandardCharsets.UTF_8.newEncoder().canEncode(text)) {
            throw new NotJson();
        }
    }

    private String[] missing(Row row, long maxSkewMs) {
        String type = (String) row.getField(fields.get("event_type").slot);
        boolean beat = heartbeat.equals(type);
        for (Field field : required) {
            boolean wanted = beat ? field.name.matches("schema_version|event_type|event_time_ms") : field.required;
            if (wanted && row.getField(field.slot) == null) {
                return refuse("missing_field", field.name);
            }
        }
        for (Field field : requiredByType.getOrDefault(type, List.of())) {
            if (row.getField(field.slot) == null) {
                return refuse("missing_field", field.name);
            }
        }
        long eventTime = (Long) row.getField(fields.get("event_time_ms").slot);
        return eventTime > System.currentTimeMillis() + maxSkewMs ? refuse("future_event_time", "event_time_ms") : null;
    }

    private static String[] refuse(String reason, String field) {
        return new String[] {reason, field};
    }

    private void read() {
        try (InputStream in = ParseEvent.class.getResourceAsStream("/event_contract.json")) {
            JsonNode contract = new ObjectMapper().readTree(in);
            maxBytes = contract.get("max_event_bytes").intValue();
            heartbeat = contract.get("heartbeat").textValue();
            fields = new HashMap<>();
            required = new ArrayList<>();
            for (JsonNode node : contract.get("fields")) {
                Field field = field(node, HEADER + required.size());
                fields.put(field.name, field);
                required.add(field);
            }
            requiredByType = new HashMap<>();
            contract.get("required_by_type").fields().forEachRemaining(entry -> {
                List<Field> names = new ArrayList<>();
                entry.getValue().forEach(name -> names.add(fields.get(name.textValue())));
                requiredByType.put(entry.getKey(), names);
            });
        } catch (java.io.IOException broken) {
            throw new IllegalStateException("event_contract.json in liveshelf's jar can't be read", broken);
        }
    }

    private static Field field(JsonNode node, int slot) {
        Set<String> choices = null;
        if (!node.get("choices").isNull()) {
            choices = new HashSet<>();
            for (JsonNode choice : node.get("choices")) {
                choices.add(choice.textValue());
            }
        }
        return new Field(node.get("name").textValue(), slot, node.get("kind").textValue().charAt(0),
            node.get("required").booleanValue(), node.get("minimum").asDouble(), node.get("maximum").asDouble(),
            node.get("max_length").asInt(), choices, node.get("free_text").booleanValue());
    }

    @Override
    public TypeInference getTypeInference(DataTypeFactory factory) {
        read();
        List<DataTypes.Field> columns = new ArrayList<>();
        columns.add(DataTypes.FIELD("refusal", DataTypes.STRING()));
        columns.add(DataTypes.FIELD("refusal_field", DataTypes.STRING()));
        for (Field field : required) {
            DataType type = field.kind == 's' ? DataTypes.STRING() : field.kind == 'f' ? DataTypes.DOUBLE() : DataTypes.BIGINT();
            columns.add(DataTypes.FIELD(field.name, type));
        }
        DataType row = DataTypes.ROW(columns);
        return TypeInference.newBuilder()
            .typedArguments(DataTypes.BYTES(), DataTypes.BIGINT())
            .outputTypeStrategy(call -> Optional.of(row))
            .build();
    }
}
