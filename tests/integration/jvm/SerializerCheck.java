package liveshelf;

import java.io.ByteArrayInputStream;
import java.io.ObjectInputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import org.apache.flink.table.types.logical.RawType;

/**
 * Reads each object that the `_metadata` of a savepoint holds in Java's serialization.
 *
 * <p>For each type of a state of ours it prints a line: the state's class, and the version that its serializer writes.
 */
public class SerializerCheck {

    private static final byte[] MAGIC = {(byte) 0xac, (byte) 0xed, 0, 5};

    public static void main(String[] files) throws Exception {
        for (String file : files) {
            byte[] content = Files.readAllBytes(Path.of(file));
            for (int i = 0; i + MAGIC.length <= content.length; i++) {
                if (Arrays.equals(content, i, i + MAGIC.length, MAGIC, 0, MAGIC.length)) {
                    print(new ObjectInputStream(new ByteArrayInputStream(content, i, content.length - i)).readObject());
                }
            }
        }
    }

    private static void print(Object saved) {
        if (saved instanceof RawType<?> type) {
            Durable.Serializer<?> serializer = (Durable.Serializer<?>) type.getTypeSerializer();
            System.out.println(type.getOriginatingClass().getSimpleName() + " " + serializer.version());
        }
    }
}
