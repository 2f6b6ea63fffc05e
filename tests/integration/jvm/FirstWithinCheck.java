package liveshelf;

import java.util.Scanner;
import org.apache.flink.core.memory.DataInputDeserializer;
import org.apache.flink.core.memory.DataOutputSerializer;

/**
 * One bucket's state, without Flink. The first argument is the horizon; a line of stdin: an id, an event's time and the
 * watermark. A line out: whether the event counts, and the bytes of the state, which is written and read after each.
 */
public class FirstWithinCheck {

    public static void main(String[] arguments) throws Exception {
        long horizonMs = Long.parseLong(arguments[0]);
        FirstWithinState.Serializer serializer = new FirstWithinState.Serializer();
        DataOutputSerializer out = new DataOutputSerializer(64);
        FirstWithinState state = new FirstWithinState();
        Scanner numbers = new Scanner(System.in);
        while (numbers.hasNextLong()) {
            state.see(numbers.nextLong(), numbers.nextLong(), horizonMs, numbers.nextLong());
            boolean first = state.sawFirst();
            out.clear();
            serializer.serialize(state.copy(), out);
            state = serializer.deserialize(new DataInputDeserializer(out.getCopyOfBuffer()));
            System.out.println(first + " " + out.length());
        }
    }
}
