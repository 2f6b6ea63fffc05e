package liveshelf;

import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;

/** Says where each feature of a sliding operator finds its value: by window and column. */
final class SlidingLayout {

    final long slideMs;
    final List<String> columns = new ArrayList<>();
    final long[] windowsMs;     // shortest first
    final int[] summed;         // columns
    final int[] distinct;       // columns
    private final List<Part.Sums> emptySums = new ArrayList<>();
    private final List<Feature> features;
    private final int[] windowOf;
    private final int[] placeOf;

    SlidingLayout(String text) {
        features = Feature.parse(text);
        slideMs = Long.parseLong(features.get(0).frame().substring("every_".length()));
        TreeSet<Long> windows = new TreeSet<>();
        features.forEach(feature -> windows.add(feature.ms()));
        windowsMs = windows.stream().mapToLong(Long::longValue).toArray();
        List<Integer> sumColumns = new ArrayList<>();
        List<Integer> distinctColumns = new ArrayList<>();
        List<String> sumNames = new ArrayList<>();
        windowOf = new int[features.size()];
        placeOf = new int[features.size()];
        for (int i = 0; i < features.size(); i++) {
            Feature feature = features.get(i);
            int column = Layout.placeIn(columns, feature.column());
            windowOf[i] = windows.headSet(feature.ms()).size();
            if (feature.function().equals("count_distinct")) {
                placeOf[i] = Layout.placeIn(distinctColumns, column);
            } else if (!feature.function().equals("is_single") && feature.newPart() instanceof Part.Sums sums) {
                placeOf[i] = Layout.placeIn(sumNames, feature.part());
                if (placeOf[i] == emptySums.size()) {
                    emptySums.add(sums);
                    sumColumns.add(column);
                }
            } else {
                throw new IllegalArgumentException(feature.function() + " can't slide");
            }
        }
        summed = sumColumns.stream().mapToInt(Integer::intValue).toArray();
        distinct = distinctColumns.stream().mapToInt(Integer::intValue).toArray();
    }

    Part.Sums[] freshSums() {
        return emptySums.stream().map(Part.Sums::empty).toArray(Part.Sums[]::new);
    }

    /** Return the features' values as a JSON array. */
    String payload(Part.Sums[][] sums, long[][] counts, StringBuilder json) {
        json.setLength(0);
        for (int i = 0; i < placeOf.length; i++) {
            json.append(i == 0 ? '[' : ',');
            if (features.get(i).function().equals("count_distinct")) {
                json.append(counts[windowOf[i]][placeOf[i]]);
            } else {
                features.get(i).append(json, sums[windowOf[i]][placeOf[i]]);
            }
        }
        return json.append(']').toString();
    }
}
