package liveshelf;

import java.util.EnumSet;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.catalog.DataTypeFactory;
import org.apache.flink.table.functions.ProcessTableFunction;
import org.apache.flink.table.types.inference.StaticArgument;
import org.apache.flink.table.types.inference.StaticArgumentTrait;
import org.apache.flink.table.types.inference.TypeInference;
import org.apache.flink.table.types.inference.TypeStrategies;
import org.apache.flink.types.Row;

/**
 * Gives each of the lists that a row from Python holds: {@code each_of(answers => TABLE t)} reads rows of visitor_id and
 * lists, and gives rows of visitor_id and list.
 *
 * <p>The lists are one text, joined by RECORD SEPARATOR (U+001E), because an ARRAY costs more on its way through Arrow than
 * the model. A null holds no list. As a process table function it is one operator, where a join with a table function would
 * be two: the sink keeps the place in the graph by which savepoints of earlier releases find it.
 */
public class EachOf extends ProcessTableFunction<Row> {

    private static final char SEPARATOR = '\u001e';

    public void eval(Row row) {
        String visitor = row.getFieldAs(0);
        String lists = row.getFieldAs(1);
        if (lists == null) {
            return;
        }
        int from = 0;
        for (int at = lists.indexOf(SEPARATOR); at >= 0; at = lists.indexOf(SEPARATOR, from)) {
            collect(Row.of(visitor, lists.substring(from, at)));
            from = at + 1;
        }
        collect(Row.of(visitor, lists.substring(from)));
    }

    @Override
    public TypeInference getTypeInference(DataTypeFactory factory) {
        return TypeInference.newBuilder()
            .staticArguments(StaticArgument.table(
                "answers", Row.class, false, EnumSet.of(StaticArgumentTrait.ROW_SEMANTIC_TABLE)))
            .outputTypeStrategy(TypeStrategies.explicit(DataTypes.ROW(
                DataTypes.FIELD("visitor_id", DataTypes.STRING()),
                DataTypes.FIELD("list", DataTypes.STRING()))))
            .build();
    }
}
