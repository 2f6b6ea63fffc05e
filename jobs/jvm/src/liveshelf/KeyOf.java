package liveshelf;

import org.apache.flink.table.functions.FunctionContext;
import org.apache.flink.table.functions.ScalarFunction;

/**
 * Gives the number that stands beside an id in the key of its state: {@code key_of(id)}.
 *
 * <p>Flink hashes the whole key. So ids that Flink's hash alone would put into one place lie apart.
 */
public class KeyOf extends ScalarFunction {

    private transient KeyedHash hash;

    @Override
    public void open(FunctionContext context) throws Exception {
        hash = KeyedHash.open(context);
    }

    public Long eval(String id) {
        return id == null ? null : hash.of(id).getLong();
    }
}
