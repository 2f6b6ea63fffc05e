package liveshelf;

import java.util.ArrayList;
import java.util.List;

/**
 * One feature of an operator: a function over a column in a frame.
 *
 * <p>An operator gets its features as text, in the order of the payload: {@code "sum is_view range 300000; last_20 item_id
 * session 1800000"}. {@code jobs/features/sql.py} writes it.
 */
record Feature(String function, String column, String frame, long ms) {

    static List<Feature> parse(String text) {
        List<Feature> features = new ArrayList<>();
        for (String each : text.split(";")) {
            String[] words = each.strip().split(" ");
            if (words.length != 4) {
                throw new IllegalArgumentException("not a feature: '" + each + "'; write 'function column frame milliseconds'");
            }
            features.add(new Feature(words[0], words[1], words[2], Long.parseLong(words[3])));
        }
        return features;
    }

    /** Return an empty part of the kind that knows the feature's value. */
    Part newPart() {
        if (function.startsWith("last_")) {
            return new Part.Latest(Integer.parseInt(function.substring("last_".length())));
        }
        return switch (function) {
            case "sum", "mean", "count", "is_single" -> new Part.Sums(false);
            case "std" -> new Part.Sums(true);
            case "min", "max", "span" -> new Part.Extremes();
            case "count_distinct" -> new Part.Distinct();
            case "first", "last" -> new Part.Ends();
            default -> throw new IllegalArgumentException("unknown function '" + function + "'");
        };
    }

    /** Return the name of the feature's part in its frame. Features of one family over one column share a part. */
    String part() {
        String family = switch (function) {
            case "sum", "mean", "count" -> "sums";
            case "min", "max", "span" -> "extremes";
            case "first", "last" -> "ends";
            default -> function;
        };
        return family + " " + (family.equals("is_single") ? "" : column);
    }

    /** Append the value to a JSON array. */
    void append(StringBuilder json, Part part) {
        if (function.startsWith("last_")) {
            array(json, (Part.Latest) part);
            return;
        }
        switch (function) {
            case "sum" -> value(json, ((Part.Sums) part).sum());
            case "count" -> json.append(((Part.Sums) part).count);
            case "mean" -> value(json, ((Part.Sums) part).mean());
            case "std" -> value(json, ((Part.Sums) part).std());
            case "min" -> value(json, ((Part.Extremes) part).min);
            case "max" -> value(json, ((Part.Extremes) part).max);
            case "span" -> value(json, ((Part.Extremes) part).span());
            case "count_distinct" -> json.append(((Part.Distinct) part).counts.size());
            case "first" -> value(json, ((Part.Ends) part).first);
            case "last" -> value(json, ((Part.Ends) part).last);
            default -> json.append(((Part.Sums) part).count == 1 ? 1 : 0);
        }
    }

    private static void array(StringBuilder json, Part.Latest latest) {
        String before = "[";
        for (Object each : latest.values) {
            json.append(before);
            value(json, each == Part.Latest.NOTHING ? null : each);
            before = ",";
        }
        json.append(latest.values.isEmpty() ? "[]" : "]");
    }

    static void value(StringBuilder json, Object value) {
        if (value instanceof String text) {
            quoted(json, text);
        } else {
            json.append(value);
        }
    }

    private static void quoted(StringBuilder json, String text) {
        json.append('"');
        for (int i = 0; i < text.length(); i++) {
            char each = text.charAt(i);
            if (each == '"' || each == '\\') {
                json.append('\\').append(each);
            } else if (each < ' ') {
                json.append(String.format("\\u%04x", (int) each));
            } else {
                json.append(each);
            }
        }
        json.append('"');
    }
}
