package liveshelf;

import java.nio.ByteBuffer;
import java.util.HexFormat;
import org.apache.flink.table.functions.FunctionContext;
import org.apache.flink.table.functions.ScalarFunction;

/**
 * Gives the 32 hexadecimal digits that stand for an id in state: {@code digest_of(id)} or {@code digest_of(whose, id)}.
 *
 * <p>Null if one of the ids is null.
 */
public class DigestOf extends ScalarFunction {

    private transient KeyedHash hash;

    @Override
    public void open(FunctionContext context) throws Exception {
        hash = KeyedHash.open(context);
    }

    public String eval(String id) {
        return id == null ? null : digits(hash.of(id));
    }

    public String eval(String whose, String id) {
        return whose == null || id == null ? null : digits(hash.of(whose, id));
    }

    private static String digits(ByteBuffer hash) {
        HexFormat hex = HexFormat.of();
        return hex.toHexDigits(hash.getLong()) + hex.toHexDigits(hash.getLong());
    }
}
