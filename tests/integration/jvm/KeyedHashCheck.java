package liveshelf;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.data.binary.BinaryRowData;
import org.apache.flink.table.data.writer.BinaryRowWriter;

/**
 * Hashes of ids. The first argument is the secret; a line of stdin is an id.
 *
 * <p>A line out: Flink's hash of a key of this id, its hash of a key with the number beside the id, and the 16 bytes of which
 * that number is the first half.
 */
public class KeyedHashCheck {

    public static void main(String[] arguments) throws Exception {
        KeyedHash hash = new KeyedHash(arguments[0]);
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String id = lines.readLine(); id != null; id = lines.readLine()) {
            byte[] bytes = new byte[16];
            hash.of(id.split("\t")).get(bytes);
            long number = ByteBuffer.wrap(bytes).getLong();
            System.out.println(plain(id).hashCode() + " " + keyed(number, id).hashCode() + " " + HexFormat.of().formatHex(bytes));
        }
    }

    private static BinaryRowData plain(String id) {
        BinaryRowData row = new BinaryRowData(1);
        BinaryRowWriter writer = new BinaryRowWriter(row);
        writer.writeString(0, StringData.fromString(id));
        writer.complete();
        return row;
    }

    private static BinaryRowData keyed(long number, String id) {
        BinaryRowData row = new BinaryRowData(2);
        BinaryRowWriter writer = new BinaryRowWriter(row);
        writer.writeLong(0, number);
        writer.writeString(1, StringData.fromString(id));
        writer.complete();
        return row;
    }
}
