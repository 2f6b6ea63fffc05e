package liveshelf;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Says where each feature of an operator finds its value. Features of one frame and family share a part. */
final class Layout {

    /** One frame: its length or a session's gap, and its parts with the column that each of them reads. */
    static final class Frame {
        final boolean session;
        final long ms;
        final List<Part> empty = new ArrayList<>();
        final List<Integer> columns = new ArrayList<>();
        private final List<String> names = new ArrayList<>();

        private Frame(boolean session, long ms) {
            this.session = session;
            this.ms = ms;
        }

        private int part(Feature feature, int column) {
            int known = names.indexOf(feature.part());
            if (known >= 0) {
                return known;
            }
            names.add(feature.part());
            empty.add(feature.newPart());
            columns.add(column);
            return names.size() - 1;
        }

        Part[] fresh() {
            Part[] parts = new Part[empty.size()];
            for (int i = 0; i < parts.length; i++) {
                parts[i] = empty.get(i).empty();
            }
            return parts;
        }

        /** Add an event to a session. Return how many of its values weren't kept, because of the cap of distinct values. */
        int add(Part[] parts, Object[] values, int cap) {
            int left = 0;
            for (int i = 0; i < parts.length; i++) {
                left += parts[i].addUpTo(values[columns.get(i)], cap) ? 0 : 1;
            }
            return left;
        }
    }

    final List<Frame> frames = new ArrayList<>();
    final List<String> columns = new ArrayList<>();
    final long horizonMs;
    final int cap;      // events that a window holds, and distinct values that a session counts
    private final List<Feature> features;
    private final int[] frameOf;
    private final int[] partOf;

    Layout(String text, int cap) {
        this.cap = cap;
        features = Feature.parse(text);
        frameOf = new int[features.size()];
        partOf = new int[features.size()];
        Map<String, Integer> known = new LinkedHashMap<>();
        long longest = 0;
        for (int i = 0; i < features.size(); i++) {
            Feature feature = features.get(i);
            int column = placeIn(columns, feature.column());
            frameOf[i] = known.computeIfAbsent(feature.frame() + feature.ms(), name -> {
                frames.add(new Frame(feature.frame().equals("session"), feature.ms()));
                return frames.size() - 1;
            });
            partOf[i] = frames.get(frameOf[i]).part(feature, column);
            longest = Math.max(longest, feature.ms());
        }
        horizonMs = longest;
    }

    /** Return the value's place in the list. Add the value if it isn't there. */
    static <T> int placeIn(List<T> list, T value) {
        if (!list.contains(value)) {
            list.add(value);
        }
        return list.indexOf(value);
    }

    Part[][] fresh() {
        Part[][] all = new Part[frames.size()][];
        for (int i = 0; i < all.length; i++) {
            all[i] = frames.get(i).fresh();
        }
        return all;
    }

    /** Return the values that windows read, and null for the others: events stay in state as long as the longest window. */
    Object[] ofWindows(Object[] values) {
        Object[] kept = new Object[values.length];
        for (Frame frame : frames) {
            if (!frame.session) {
                for (int column : frame.columns) {
                    kept[column] = values[column];
                }
            }
        }
        return kept;
    }

    /** Return the features' values as a JSON array. */
    String payload(Part[][] parts, StringBuilder json) {
        json.setLength(0);
        for (int i = 0; i < partOf.length; i++) {
            json.append(i == 0 ? '[' : ',');
            features.get(i).append(json, parts[frameOf[i]][partOf[i]]);
        }
        return json.append(']').toString();
    }
}
