package liveshelf;

import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.annotation.FunctionHint;
import org.apache.flink.table.functions.TableFunction;
import org.apache.flink.types.Row;

/**
 * Gives each of the texts that a Python function has joined with RECORD SEPARATOR (U+001E): {@code each_of(joined)}.
 *
 * <p>A row from Python is one text, because an ARRAY costs more on its way through Arrow than the model.
 */
@FunctionHint(output = @DataTypeHint("ROW<one STRING>"))
public class EachOf extends TableFunction<Row> {

    private static final char SEPARATOR = '\u001e';

    public void eval(String joined) {
        if (joined == null) {
            return;
        }
        int from = 0;
        for (int at = joined.indexOf(SEPARATOR); at >= 0; at = joined.indexOf(SEPARATOR, from)) {
            collect(Row.of(joined.substring(from, at)));
            from = at + 1;
        }
        collect(Row.of(joined.substring(from)));
    }
}
