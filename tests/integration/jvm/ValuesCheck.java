package liveshelf;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.HexFormat;
import java.util.Scanner;
import org.apache.flink.core.memory.DataInputDeserializer;
import org.apache.flink.core.memory.DataOutputSerializer;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;

/**
 * Writes and reads single values as states hold them. A line of stdin is [value] or the bytes of a value in hexadecimal.
 *
 * <p>The answer to [value] are its bytes in hexadecimal. The answer to bytes is the value as Java prints it, or the error.
 */
public class ValuesCheck {

    public static void main(String[] arguments) throws Exception {
        Scanner lines = new Scanner(System.in, StandardCharsets.UTF_8);
        while (lines.hasNextLine()) {
            String line = lines.nextLine();
            System.out.println(line.startsWith("[") ? written(line) : read(line));
        }
    }

    private static String written(String line) throws IOException {
        DataOutputSerializer out = new DataOutputSerializer(16);
        Values.write(out, TrailingCheck.values(new ObjectMapper().readTree(line))[0]);
        return HexFormat.of().formatHex(out.getCopyOfBuffer());
    }

    private static String read(String line) {
        try {
            Object value = Values.read(new DataInputDeserializer(HexFormat.of().parseHex(line)));
            return value == null ? "null" : value.getClass().getSimpleName() + " " + value;
        } catch (IOException broken) {
            return broken.getClass().getSimpleName() + " " + broken.getMessage();
        }
    }
}
