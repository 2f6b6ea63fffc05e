package liveshelf;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonParser;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.core.JsonToken;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.ArrayNode;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.node.JsonNodeFactory;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.catalog.DataTypeFactory;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.data.TimestampData;
import org.apache.flink.table.functions.FunctionContext;
import org.apache.flink.table.functions.ScalarFunction;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.inference.TypeInference;

/**
 * Turns a record of item facts into the item and its values, or into a refusal with its reason.
 *
 * <p>The rules are those of {@code jobs/contract/items.py}. The contracts come as an argument, because a shop may have
 * topics of its own. A text that names nothing, a depth and a size are judged as {@code ParseEvent} does.
 *
 * <p>Returns ROW&lt;refusal, refusal_field, item_id, payload, time_ms&gt;. The payload is a JSON array of the values that
 * the contract's {@code payload} names; it is null for a tombstone and for a refusal. The time is the record's: SQL has no
 * cast of it to milliseconds.
 */
public class ParseFact extends ScalarFunction {

    private record Field(ParseEvent.Field limits, char kind) {}

    private record Contract(Map<String, Field> fields, List<String> inOrder, List<String> payload) {}

    private transient ParseEvent json;
    private transient ObjectMapper mapper;
    private transient Map<String, Contract> contracts;
    private transient byte[] lastValue;
    private transient byte[] lastKey;
    private transient GenericRowData lastRow;

    @Override
    public void open(FunctionContext context) {
        json = new ParseEvent().read();
        mapper = new ObjectMapper();
    }

    /** The planner reads one row several times (once per column); the same key and value give the same row. */
    public RowData eval(String topic, byte[] key, byte[] value, TimestampData time, String contractsAsJson) {
        if (key == null || key != lastKey || value != lastValue) {
            if (contracts == null) {
                contracts = read(contractsAsJson);
            }
            lastRow = parse(contracts.get(topic), key, value);
            lastRow.setField(4, time.getMillisecond());
            lastKey = key;
            lastValue = value;
        }
        return lastRow;
    }

    private GenericRowData parse(Contract contract, byte[] key, byte[] value) {
        if (key == null || key.length == 0) {
            return refuse("no_key", "");
        }
        String item;
        try {
            item = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(key)).toString();
        } catch (CharacterCodingException invalid) {
            return refuse("not_utf8", "key");
        }
        String reason = json.refusalOfItem(item);
        if (reason != null) {
            return refuse(reason, "key");
        }
        if (item.length() > 1 && item.startsWith("\"") && item.endsWith("\"")) {
            return refuse("quoted", "key");
        }
        if (contract == null) {
            return refuse("unknown_value", "topic");
        }
        return value == null ? taken(item, null) : values(contract, item, value);
    }

    private GenericRowData values(Contract contract, String item, byte[] value) {
        Map<String, JsonNode> found = new HashMap<>();      // of a name that comes twice, the last one counts
        Map<String, String> bad = new HashMap<>();
        boolean[] other = {false};
        String broken = json.object(value, (parser, name, token) -> {
            Field field = contract.fields.get(name);
            if (name.equals("item_id")) {
                other[0] = token != JsonToken.VALUE_NULL
                    && !(token == JsonToken.VALUE_STRING && parser.getText().equals(item));
            }
            if (field == null) {
                json.skip(parser, token);
                return;
            }
            found.remove(name);
            bad.remove(name);
            String reason = token == JsonToken.VALUE_NULL ? null : take(parser, token, field, name, found);
            if (reason != null) {
                bad.put(name, reason);
            }
        });
        if (broken != null) {
            return refuse(broken, "");
        }
        if (other[0]) {
            return refuse("contradiction", "item_id");
        }
        for (String name : contract.inOrder) {      // the contract's order decides which of several faults is named
            if (bad.containsKey(name)) {
                return refuse(bad.get(name), name);
            }
        }
        ArrayNode payload = JsonNodeFactory.instance.arrayNode();
        contract.payload.forEach(name -> payload.add(found.get(name)));
        return taken(item, payload.toString());
    }

    private String take(JsonParser parser, JsonToken token, Field field, String name, Map<String, JsonNode> found)
            throws IOException {
        JsonNodeFactory nodes = JsonNodeFactory.instance;
        boolean whole = token == JsonToken.VALUE_NUMBER_INT;
        boolean fits = switch (field.kind) {
            case 's' -> token == JsonToken.VALUE_STRING;
            case 'b' -> token == JsonToken.VALUE_TRUE || token == JsonToken.VALUE_FALSE;
            case 'f' -> whole || token == JsonToken.VALUE_NUMBER_FLOAT;
            default -> whole;
        };
        if (!fits) {
            json.skip(parser, token);
            return "wrong_type";
        }
        if (field.kind == 'b') {
            found.put(name, nodes.booleanNode(token == JsonToken.VALUE_TRUE));
            return null;
        }
        if (field.kind == 's') {
            String text = parser.getText();
            String reason = json.refusal(field.limits, text);
            if (reason == null && !(field.limits.freeText() ? text.isEmpty() : json.countsAsAbsent(field.limits, text))) {
                found.put(name, nodes.textNode(text));
            }
            return reason;
        }
        double number = parser.getDoubleValue();
        if (!(number >= field.limits.minimum() && number <= field.limits.maximum())) {
            return "out_of_range";
        }
        found.put(name, field.kind == 'f' ? nodes.numberNode(number) : nodes.numberNode(parser.getLongValue()));
        return null;
    }

    private static GenericRowData taken(String item, String payload) {
        return GenericRowData.of(null, null, StringData.fromString(item), StringData.fromString(payload), null);
    }

    private static GenericRowData refuse(String reason, String field) {
        return GenericRowData.of(StringData.fromString(reason), StringData.fromString(field), null, null, null);
    }

    private Map<String, Contract> read(String contractsAsJson) {
        Map<String, Contract> byTopic = new HashMap<>();
        try {
            for (JsonNode contract : mapper.readTree(contractsAsJson)) {
                Map<String, Field> fields = new HashMap<>();
                List<String> inOrder = new ArrayList<>();
                for (JsonNode node : contract.get("fields")) {
                    String name = node.get("name").textValue();
                    fields.put(name, field(node, name));
                    inOrder.add(name);
                }
                List<String> payload = new ArrayList<>();
                contract.get("payload").forEach(each -> payload.add(each.textValue()));
                byTopic.put(contract.get("topic").textValue(), new Contract(fields, inOrder, payload));
            }
        } catch (IOException broken) {
            throw new IllegalStateException("the contracts of item facts can't be read", broken);
        }
        return byTopic;
    }

    private static Field field(JsonNode node, String name) {
        boolean freeText = node.get("free_text").booleanValue();
        char kind = node.get("kind").textValue().charAt(0);
        ParseEvent.Field limits = new ParseEvent.Field(name, 0, kind, false, node.get("minimum").asDouble(),
            node.get("maximum").asDouble(), node.get("max_length").asInt(), null, freeText, !freeText, false,
            List.of());
        return new Field(limits, kind);
    }

    @Override
    public TypeInference getTypeInference(DataTypeFactory factory) {
        DataType row = DataTypes.ROW(
            DataTypes.FIELD("refusal", DataTypes.STRING()),
            DataTypes.FIELD("refusal_field", DataTypes.STRING()),
            DataTypes.FIELD("item_id", DataTypes.STRING()),
            DataTypes.FIELD("payload", DataTypes.STRING()),
            DataTypes.FIELD("time_ms", DataTypes.BIGINT())).bridgedTo(RowData.class);
        return TypeInference.newBuilder()
            .typedArguments(DataTypes.STRING(), DataTypes.BYTES(), DataTypes.BYTES(),
                DataTypes.TIMESTAMP_LTZ(3).bridgedTo(TimestampData.class), DataTypes.STRING())
            .outputTypeStrategy(call -> Optional.of(row))
            .build();
    }
}
