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
import org.apache.flink.metrics.Counter;
import org.apache.flink.metrics.MetricGroup;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonFactory;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonParser;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonToken;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.StreamReadConstraints;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.catalog.DataTypeFactory;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.functions.FunctionContext;
import org.apache.flink.table.functions.ScalarFunction;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.inference.TypeInference;

/**
 * Turns bytes into an event, or into a refusal with its reason.
 *
 * <p>The rules are those of {@code jobs/contract/events.py}. Fields, limits and reasons come from {@code event_contract.json}
 * in the same jar.
 *
 * <p>It costs about 3 µs an event. In SQL, 21 {@code JSON_VALUE} calls cost 42 µs and can't tell "5" from 5. A hop to Python
 * costs 25 µs, and 5 to 10 ms of latency.
 *
 * <p>Returns ROW&lt;refusal, refusal_field, each field of the contract&gt;. A refused event has event_time_ms 0, so that its
 * clock can't move the watermark.
 */
public class ParseEvent extends ScalarFunction {

    private static final int HEADER = 2;
    private static final int MAX_WHOLE_DIGITS = 4300;   // what Python's decoder reads of a whole number

    record Field(String name, int slot, char kind, boolean required, double minimum, double maximum,
                         int maxLength, Set<String> choices, boolean freeText, boolean names, boolean mayBeEmpty,
                         List<String> reserved) {}

    private transient JsonFactory json;
    private transient boolean escapes;
    private transient Map<String, Field> fields;
    private transient List<Field> inOrder;
    private transient List<Field> required;
    private transient List<Field> requiredOfHeartbeat;
    private transient Map<String, List<Field>> requiredByType;
    private transient List<String> reasons;
    private transient String blanks;
    private transient Set<String> wordsForNothing;
    private transient String objectBegins;
    private transient String objectEnds;
    private transient int maxBytes;
    private transient String heartbeat;
    private transient Map<String, Counter> counters;
    private transient byte[] lastValue;
    private transient RowData lastRow;

    /** The record that this thread parsed last. The planner makes a function for each use: five a record in the features job. */
    private static final ThreadLocal<Parsed> LAST = ThreadLocal.withInitial(() -> new Parsed(null, 0, null));

    private record Parsed(byte[] value, long maxSkewMs, RowData row) {}

    @Override
    public void open(FunctionContext context) {
        read();
        MetricGroup group = context.getMetricGroup();
        counters = new HashMap<>();
        for (String name : List.of("read", "accepted")) {
            counters.put(name, group.counter("events_" + name));
        }
        for (String reason : reasons) {
            counters.put(reason, group.counter("events_refused_" + reason));
        }
    }

    /** The planner reads one row several times (once per column); the same array gives the same row. */
    public RowData eval(byte[] value, Long maxSkewMs) {
        if (value == null || value != lastValue) {
            Parsed last = LAST.get();
            if (value == null || value != last.value || maxSkewMs != last.maxSkewMs) {
                last = new Parsed(value, maxSkewMs, parse(value, maxSkewMs));
                LAST.set(last);
            }
            lastRow = last.row;
            lastValue = value;
            count(lastRow);
        }
        return lastRow;
    }

    /** The watermark's copy of this function has no counters: it sees each record a second time. */
    private void count(RowData row) {
        if (counters != null) {
            counters.get("read").inc();
            counters.get(row.isNullAt(0) ? "accepted" : row.getString(0).toString()).inc();
        }
    }

    private RowData parse(byte[] value, long maxSkewMs) {
        GenericRowData row = new GenericRowData(HEADER + fields.size());
        String[] refusal = check(value, row, maxSkewMs);
        if (refusal != null) {
            row = new GenericRowData(HEADER + fields.size());
            row.setField(0, StringData.fromString(refusal[0]));
            row.setField(1, StringData.fromString(refusal[1]));
            row.setField(fields.get("event_time_ms").slot, 0L);
        }
        return row;
    }

    private String[] check(byte[] value, GenericRowData row, long maxSkewMs) {
        Map<String, String> bad = new HashMap<>();
        String broken = object(value, (parser, name, token) -> readField(parser, name, token, row, bad));
        if (broken != null) {
            return refuse(broken, "");
        }
        for (Field field : inOrder) {   // the contract's order decides which of several faults is named
            String reason = bad.get(field.name);
            if (reason != null) {
                return refuse(reason, field.name);
            }
        }
        return missing(row, maxSkewMs);
    }

    private static final class NotJson extends java.io.IOException {}

    /** Takes a field of an object: its name, and the first token of its value. It must read the whole value. */
    interface Taker {
        void take(JsonParser parser, String name, JsonToken token) throws java.io.IOException;
    }

    /** Read a JSON object as strictly as Python's check does. Return the reason if the bytes hold none, else null. */
    String object(byte[] value, Taker taker) {
        if (value == null || value.length == 0) {
            return "empty";
        }
        if (value.length > maxBytes) {
            return "too_large";
        }
        String text;
        try {
            text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(value)).toString();
        } catch (CharacterCodingException invalid) {
            return "not_utf8";
        }
        escapes = text.contains("\\u");
        try (JsonParser parser = json.createParser(text)) {
            JsonToken first = next(parser);
            if (first == JsonToken.START_OBJECT) {
                while (next(parser) == JsonToken.FIELD_NAME) {
                    String name = parser.currentName();
                    taker.take(parser, name, next(parser));
                }
            } else {
                skip(parser, first);
            }
            if (next(parser) != null) {
                return "not_json";
            }
            return first == JsonToken.START_OBJECT ? null : "not_an_object";    // only when it is JSON to its end
        } catch (java.io.IOException malformed) {
            return "not_json";
        }
    }

    /** Return the next token. Half a surrogate pair, or a number that no double holds, is no JSON to the Python check. */
    JsonToken next(JsonParser parser) throws java.io.IOException {
        JsonToken token = parser.nextToken();
        boolean text = token == JsonToken.VALUE_STRING || token == JsonToken.FIELD_NAME;
        if (escapes && text && !StandardCharsets.UTF_8.newEncoder().canEncode(parser.getText())) {
            throw new NotJson();
        }
        if (token == JsonToken.VALUE_NUMBER_FLOAT && Double.isInfinite(parser.getDoubleValue())) {
            throw new NotJson();
        }
        if (token == JsonToken.VALUE_NUMBER_INT && parser.getTextLength() > MAX_WHOLE_DIGITS) {
            throw new NotJson();
        }
        return token;
    }

    private void readField(JsonParser parser, String name, JsonToken token, GenericRowData row, Map<String, String> bad)
            throws java.io.IOException {
        Field field = fields.get(name);
        if (field == null) {
            skip(parser, token);
            return;
        }
        row.setField(field.slot, null);      // of a name that comes twice, the last one counts
        bad.remove(field.name);
        if (token == JsonToken.VALUE_NULL) {
            return;
        }
        String reason = field.kind == 's' ? string(parser, token, field, row) : number(parser, token, field, row);
        if (reason != null) {
            bad.put(field.name, reason);
        }
    }

    /** Skip a value whose first token is {@code token}, with all that is in it. */
    void skip(JsonParser parser, JsonToken token) throws java.io.IOException {
        int depth = 0;
        for (JsonToken each = token; each != null; each = next(parser)) {
            depth += each.isStructStart() ? 1 : each.isStructEnd() ? -1 : 0;
            if (depth == 0) {
                return;
            }
        }
        throw new NotJson();
    }

    private String string(JsonParser parser, JsonToken token, Field field, GenericRowData row) throws java.io.IOException {
        if (token != JsonToken.VALUE_STRING) {
            skip(parser, token);
            return "wrong_type";
        }
        String value = parser.getText();
        String reason = refusal(field, value);
        if (reason == null && !countsAsAbsent(field, value)) {
            row.setField(field.slot, StringData.fromString(value));
        }
        return reason;
    }

    /** Return why a text is no visitor's id; null if it is one. */
    String refusalOfVisitor(String id) {
        return refusal(fields.get("visitor_id"), id);
    }

    /** Return why a text is no item's id; null if it is one. */
    String refusalOfItem(String id) {
        String reason = refusal(fields.get("item_id"), id);
        return reason == null && namesNothing(id) ? "out_of_range" : reason;
    }

    String refusal(Field field, String value) {
        char refusedBelow = field.freeText ? '\1' : ' ';
        for (int i = 0; i < value.length(); i++) {
            char each = value.charAt(i);
            if (each < refusedBelow || (!field.freeText && each >= 0x7f && each <= 0x9f)) {
                return "control_character";
            }
        }
        if (value.length() > field.maxLength) {
            return "too_long";
        }
        if (field.choices != null && !field.choices.contains(value)) {
            return "unknown_value";
        }
        for (String beginning : field.reserved) {
            if (value.startsWith(beginning)) {
                return "out_of_range";
            }
        }
        return field.required && countsAsAbsent(field, value) ? "out_of_range" : null;
    }

    boolean countsAsAbsent(Field field, String value) {
        return field.names && namesNothing(value) && !(field.mayBeEmpty && value.isEmpty());
    }

    /** As {@code jobs/contract/nothing.py}: "", blanks, a word for a value that isn't there, an object's text. */
    private boolean namesNothing(String value) {
        int begin = 0;
        int end = value.length();
        while (begin < end && blanks.indexOf(value.charAt(begin)) >= 0) {
            begin++;
        }
        while (end > begin && blanks.indexOf(value.charAt(end - 1)) >= 0) {
            end--;
        }
        String word = value.substring(begin, end);
        return word.isEmpty() || wordsForNothing.contains(word)
            || word.startsWith(objectBegins) && word.endsWith(objectEnds);
    }

    private String number(JsonParser parser, JsonToken token, Field field, GenericRowData row) throws java.io.IOException {
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

    private String[] missing(GenericRowData row, long maxSkewMs) {
        Object found = row.getField(fields.get("event_type").slot);
        String type = found == null ? null : found.toString();
        Field absent = absent(row, heartbeat.equals(type) ? requiredOfHeartbeat : required);
        absent = absent == null ? absent(row, requiredByType.getOrDefault(type, List.of())) : absent;
        if (absent != null) {
            return refuse("missing_field", absent.name);
        }
        long eventTime = (Long) row.getField(fields.get("event_time_ms").slot);
        return eventTime > System.currentTimeMillis() + maxSkewMs ? refuse("future_event_time", "event_time_ms") : null;
    }

    private static Field absent(GenericRowData row, List<Field> fields) {
        for (Field field : fields) {
            if (row.getField(field.slot) == null) {
                return field;
            }
        }
        return null;
    }

    private static String[] refuse(String reason, String field) {
        return new String[] {reason, field};
    }

    /** Read the contract from the jar. */
    ParseEvent read() {
        try (InputStream in = ParseEvent.class.getResourceAsStream("/event_contract.json")) {
            JsonNode contract = new ObjectMapper().readTree(in);
            maxBytes = contract.get("max_event_bytes").intValue();
            heartbeat = contract.get("heartbeat").textValue();
            json = factory(contract.get("max_depth").intValue());
            fields = new HashMap<>();
            inOrder = new ArrayList<>();
            for (JsonNode node : contract.get("fields")) {
                Field field = field(node, HEADER + inOrder.size());
                fields.put(field.name, field);
                inOrder.add(field);
            }
            required = inOrder.stream().filter(Field::required).toList();
            requiredOfHeartbeat = named(contract.get("required_of_heartbeat"));
            requiredByType = new HashMap<>();
            contract.get("required_by_type").fields()
                .forEachRemaining(entry -> requiredByType.put(entry.getKey(), named(entry.getValue())));
            reasons = new ArrayList<>();
            contract.get("reasons").forEach(reason -> reasons.add(reason.textValue()));
            blanks = contract.get("blanks").textValue();
            wordsForNothing = new HashSet<>();
            contract.get("words_for_nothing").forEach(word -> wordsForNothing.add(word.textValue()));
            objectBegins = contract.get("object_for_nothing").get(0).textValue();
            objectEnds = contract.get("object_for_nothing").get(1).textValue();
            return this;
        } catch (java.io.IOException broken) {
            throw new IllegalStateException("event_contract.json in liveshelf's jar can't be read", broken);
        }
    }

    private List<Field> named(JsonNode names) {
        List<Field> list = new ArrayList<>();
        names.forEach(name -> list.add(fields.get(name.textValue())));
        return list;
    }

    /**
     * Return a factory that limits depth only, because the size of an event is limited already.
     *
     * <p>It doesn't keep names in Jackson's symbol table: an event with some hundred names of one hash made that throw
     * IllegalStateException, again at every restart.
     */
    private JsonFactory factory(int maxDepth) {
        StreamReadConstraints limits = StreamReadConstraints.builder().maxNestingDepth(maxDepth)
            .maxNameLength(maxBytes).maxNumberLength(maxBytes).build();
        return JsonFactory.builder().streamReadConstraints(limits)
            .disable(JsonFactory.Feature.CANONICALIZE_FIELD_NAMES).build();
    }

    private static Field field(JsonNode node, int slot) {
        Set<String> choices = null;
        if (!node.get("choices").isNull()) {
            choices = new HashSet<>();
            for (JsonNode choice : node.get("choices")) {
                choices.add(choice.textValue());
            }
        }
        List<String> reserved = new ArrayList<>();
        node.get("reserved").forEach(beginning -> reserved.add(beginning.textValue()));
        return new Field(node.get("name").textValue(), slot, node.get("kind").textValue().charAt(0),
            node.get("required").booleanValue(), node.get("minimum").asDouble(), node.get("maximum").asDouble(),
            node.get("max_length").asInt(), choices, node.get("free_text").booleanValue(),
            node.get("names").booleanValue(), node.get("may_be_empty").booleanValue(), List.copyOf(reserved));
    }

    @Override
    public TypeInference getTypeInference(DataTypeFactory factory) {
        read();
        List<DataTypes.Field> columns = new ArrayList<>();
        columns.add(DataTypes.FIELD("refusal", DataTypes.STRING()));
        columns.add(DataTypes.FIELD("refusal_field", DataTypes.STRING()));
        for (Field field : inOrder) {
            DataType type = field.kind == 's' ? DataTypes.STRING() : field.kind == 'f' ? DataTypes.DOUBLE() : DataTypes.BIGINT();
            columns.add(DataTypes.FIELD(field.name, type));
        }
        DataType row = DataTypes.ROW(columns).bridgedTo(RowData.class);   // Flink's own form: nothing is converted
        return TypeInference.newBuilder()
            .typedArguments(DataTypes.BYTES(), DataTypes.BIGINT())
            .outputTypeStrategy(call -> Optional.of(row))
            .build();
    }
}
